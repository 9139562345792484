"""What a person hands to a model to see what it says: single files, in this process.

    FILE.jpg .png .bmp .webp …   one picture
    FOLDER                       all pictures in it, or in its sub-folders
    FILE.npy                     one sample, or several along the first axis
    FILE.npz                     the same, one array an input, called like it
    FILE.wav                     16-bit PCM, one channel, as −1 to 1, for a model of one signal

What is given is raw, as for `edgekit.data`: the preprocessing of the build is applied to it.
"""

from __future__ import annotations

import math
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.dataset import ArrayFacts, typed
from edgekit.core.errors import DataError
from edgekit.core.files import readable_bytes
from edgekit.core.preprocess_reference import apply, output_spec
from edgekit.core.preprocessing import (
    Cast,
    CenterCrop,
    Color,
    Normalize,
    Preprocessing,
    Quantize,
    Resize,
    ResizeShortSide,
    ToLayout,
)
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.data.arrays import BROKEN, LABEL_KEYS, NAMELESS_KEYS
from edgekit.data.check import check_dtype
from edgekit.data.images import decode
from edgekit.data.listing import SUFFIXES, list_images
from edgekit.data.writer import check_finite

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

ALLOWED = "a picture, a .npy, .npz or .wav file, or a folder of pictures"
MOST_BYTES = 10**9  # of prepared samples: they are kept in memory
PCM_BYTES = 2
_FULL_SCALE = 32768.0


@dataclass(frozen=True)
class Inputs:
    """Samples as the source model takes them.

    Attributes:
        names: what each sample is called, for people.
        arrays: by input name, (samples, …), in the signature's types.
        notes: what was done to them that one may not expect, in words.
    """

    names: tuple[str, ...]
    arrays: Mapping[str, Array]
    notes: tuple[str, ...]


def read_inputs(
    references: Sequence[str], signature: Signature, preprocessing: Preprocessing
) -> Inputs:
    """Read, prepare and check everything that was given, in its order.

    Raises:
        DataError: a file that is none of the above, or whose content is not what the model takes;
            says what it takes.
    """
    import numpy as np

    names: list[str] = []
    columns: dict[str, list[Array]] = {spec.name: [] for spec in signature.inputs}
    notes: dict[str, None] = {}
    size = 0
    for reference in references:
        for name, sample in _samples(reference, signature, preprocessing):
            for spec in signature.inputs:
                prepared, note = _prepared(name, sample[spec.name], spec, preprocessing)
                columns[spec.name].append(prepared)
                size += prepared.nbytes
                if note:
                    notes[note] = None
            names.append(name)
            if size > MOST_BYTES:
                raise DataError(
                    f"the first {len(names)} samples take {readable_bytes(size)}; "
                    f"at most {readable_bytes(MOST_BYTES)} are taken at once",
                    hint="give fewer; edgekit profile BUILD --on DEVICE --evaluate DATA takes "
                    "whole data sets",
                )
    arrays = {name: np.stack(rows) for name, rows in columns.items()}
    return Inputs(tuple(names), arrays, tuple(notes))


def takes(signature: Signature, preprocessing: Preprocessing) -> str:
    """What each input takes before preprocessing, in words: type and shape without the batch."""
    return ", ".join(f"{s.name} {_taken(s, preprocessing)}" for s in signature.inputs)


def _samples(
    reference: str, signature: Signature, preprocessing: Preprocessing
) -> Iterator[tuple[str, dict[str, Array]]]:
    """Each raw sample of `reference`, an array an input, and its name."""
    path = Path(reference)
    if path.is_dir():
        for file in list_images(path, None).files:
            yield from _single(f"{reference.rstrip('/')}/{file}", decode(path / file), signature)
        return
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "does not exist"
        raise DataError(f"the input {reference!r} {what}", hint=f"an input is {ALLOWED}")
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        yield from _single(reference, decode(path), signature)
    elif suffix == ".wav":
        yield from _single(reference, _sound(path, signature), signature)
    elif suffix in (".npy", ".npz"):
        arrays = _loaded(path, signature)
        yield from _split(reference, arrays, signature, preprocessing)
    else:
        raise DataError(f"the input {reference!r} is not {ALLOWED}")


def _single(
    name: str, array: Array, signature: Signature
) -> Iterator[tuple[str, dict[str, Array]]]:
    (spec, *more) = signature.inputs
    if more:
        raise _too_few(name, signature)
    yield name, {spec.name: array}


def _too_few(name: str, signature: Signature) -> DataError:
    keys = ", ".join(f"{spec.name}=…" for spec in signature.inputs)
    return DataError(
        f"{name} is one array, the model takes {len(signature.inputs)} inputs: "
        f"{', '.join(spec.name for spec in signature.inputs)}",
        hint=f"give a .npz with an array an input: numpy.savez('sample.npz', {keys})",
    )


def _loaded(path: Path, signature: Signature) -> dict[str, Array]:
    """The arrays of a file by input name."""
    import numpy as np

    wanted = [spec.name for spec in signature.inputs]
    try:
        if path.suffix.lower() == ".npy":
            if len(wanted) > 1:
                raise _too_few(str(path), signature)
            return {wanted[0]: _numbers(np.load(path, allow_pickle=False), str(path))}
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files if name not in LABEL_KEYS}
    except BROKEN as exc:
        detail = (str(exc) or type(exc).__name__).splitlines()[0][:200]
        raise DataError(
            f"{str(path)!r} cannot be read: {detail}",
            hint="it must be a whole file as numpy.save or numpy.savez writes it, of plain numbers",
        ) from exc
    if len(wanted) == 1 and len(found) == 1 and next(iter(found)) in NAMELESS_KEYS:
        found = {wanted[0]: next(iter(found.values()))}
    if set(found) != set(wanted):
        raise DataError(
            f"{str(path)!r} has the arrays {', '.join(found) or 'none'}; "
            f"the model takes {', '.join(wanted)}",
            hint="use the model's input names as keys",
        )
    return {name: _numbers(array, f"{path}: {name}") for name, array in found.items()}


def _numbers(array: Array, what: str) -> Array:
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise DataError(f"{what} holds {array.dtype}, not numbers that a model takes")
    return array


def _split(
    reference: str, arrays: dict[str, Array], signature: Signature, preprocessing: Preprocessing
) -> Iterator[tuple[str, dict[str, Array]]]:
    """`arrays` as one sample where they have the shape of one, else as samples."""
    specs = signature.inputs
    if all(_fits(arrays[s.name].shape, arrays[s.name].dtype.name, s, preprocessing) for s in specs):
        yield reference, arrays
        return
    for spec in specs:
        array = arrays[spec.name]
        if array.ndim and _fits(array.shape[1:], array.dtype.name, spec, preprocessing):
            continue
        raise _misfit(f"{reference}: {spec.name}" if len(specs) > 1 else reference, array, spec,
                      preprocessing)  # fmt: skip
    counts = {len(array) for array in arrays.values()}
    if len(counts) != 1 or 0 in counts:
        sizes = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise DataError(f"{reference}: no samples, or not equally many of each input: {sizes}")
    (count,) = counts
    for index in range(count):
        name = f"{reference}[{index}]" if count > 1 else reference
        yield name, {key: array[index] for key, array in arrays.items()}


def _fits(
    shape: tuple[int, ...], dtype: str, spec: TensorSpec, preprocessing: Preprocessing
) -> bool:
    try:
        made = output_spec(preprocessing, shape=shape, dtype=dtype).shape
    except DataError:
        return False
    return made[1:] == spec.shape[1:]


def _prepared(
    name: str, array: Array, spec: TensorSpec, preprocessing: Preprocessing
) -> tuple[Array, str]:
    """One sample as the model takes it, without the batch, and a note on its type."""
    import numpy as np

    if not _fits(array.shape, array.dtype.name, spec, preprocessing):
        raise _misfit(name, array, spec, preprocessing)
    check_finite(array[None], 0, name)
    try:
        made = apply(preprocessing, array)
    except DataError as exc:
        raise DataError(f"{name}: {exc.message}", hint=exc.hint) from exc
    if made.dtype == np.float64:
        made = made.astype(np.float32)
    least, most = (float(made.min()), float(made.max())) if made.size else (0.0, 0.0)
    facts = ArrayFacts(shape=made.shape, dtype=made.dtype.name, minimum=least, maximum=most)
    note = check_dtype(facts, spec, name)
    if facts.dtype == "uint8" and spec.dtype.startswith("float"):
        # Without the range, which is each picture's own, so that it is said once.
        note = f"{spec.name}: uint8 is given to the model as {spec.dtype}, not scaled"
    return typed(made, spec), note


def _misfit(name: str, array: Array, spec: TensorSpec, preprocessing: Preprocessing) -> DataError:
    given = f"{name} is {array.dtype} {_sizes(array.shape)}"
    wanted = f"the model's input {spec.name} takes {_taken(spec, preprocessing)}"
    return DataError(f"{given}; {wanted}", hint=_hint(array, spec, preprocessing))


def _hint(array: Array, spec: TensorSpec, preprocessing: Preprocessing) -> str:
    have, wanted = array.shape, spec.shape[1:]
    if preprocessing.operations:
        return "the preprocessing of the build is applied to what is given; give it raw"
    if len(have) == len(wanted) == 3:
        if (have[1], have[2], have[0]) == wanted:
            return "channels come first here: give x.transpose(1, 2, 0)"
        if (have[2], have[0], have[1]) == wanted:
            return "channels come last here: give x.transpose(2, 0, 1)"
        if array.dtype.name == "uint8":
            return "the build scales no pictures: convert with --preprocess resize=…, or give .npy"
    if (*have, 1) == wanted:
        return "the channel axis is missing: x[..., None]"
    if have and math.prod(have) == math.prod(size or 0 for size in wanted):
        return f"the number of values is right: x.reshape({', '.join(map(str, wanted))})"
    if spec.open:
        return "artifacts are run at the largest size: fill the sample up to it"
    return "one sample has this shape, several have their number in front"


def _taken(spec: TensorSpec, preprocessing: Preprocessing) -> str:
    """Type and shape of what becomes `spec` by the operations, worked out from the end."""
    dtype = "float32" if spec.quantization else spec.dtype
    shape: list[Any] = list(spec.shape[1:])
    least = ""
    for operation in reversed(preprocessing.operations):
        if isinstance(operation, ToLayout):
            shape = shape[1:] + shape[:1]
        elif isinstance(operation, Color):
            shape[2:] = [3]
        elif isinstance(operation, Resize | ResizeShortSide | CenterCrop):
            shape[:2] = ["height", "width"]
            least = ""
        if isinstance(operation, CenterCrop):
            least = f", at least {operation.height}×{operation.width}"
        if isinstance(operation, Resize | ResizeShortSide | CenterCrop | Color):
            dtype = "uint8"
        elif isinstance(operation, Normalize | Cast | Quantize):
            dtype = "float32"
    return f"{dtype} {_sizes(shape)}{least}"


def _sound(path: Path, signature: Signature) -> Array:
    """The samples of a .wav as float32, from −1 to 1, in the shape of the only input."""
    import numpy as np

    spec = signature.inputs[0]
    sides = [size for size in spec.shape[1:] if size != 1]
    if len(signature.inputs) > 1 or len(sides) > 1:
        raise DataError(
            f"{str(path)!r} is sound; the model takes {takes(signature, Preprocessing())}, which "
            "is not one signal",
            hint="give the features that it was trained on as .npy",
        )
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError) as exc:
        raise DataError(
            f"{str(path)!r} is not a whole .wav file of plain PCM: {exc or 'it ends too early'}",
            hint="ffmpeg -i IN -ac 1 -c:a pcm_s16le OUT.wav makes one",
        ) from exc
    if width != PCM_BYTES or channels != 1:
        raise DataError(
            f"{str(path)!r} has {channels} channel{'s' if channels > 1 else ''} of {8 * width} "
            "bits; sound is taken as one channel of 16 bits",
            hint="ffmpeg -i IN -ac 1 -c:a pcm_s16le OUT.wav makes one",
        )
    signal = np.frombuffer(data, "<i2").astype(np.float32) / np.float32(_FULL_SCALE)
    wanted = math.prod(size or 0 for size in spec.shape[1:])
    if len(signal) != wanted:
        raise DataError(
            f"{str(path)!r} has {len(signal)} samples ({len(signal) / rate:.2f} s at {rate} Hz); "
            f"the model's input {spec.name} takes {wanted}",
            hint="cut it or fill it up with silence, at the rate that the model was trained with",
        )
    return signal.reshape([size or 1 for size in spec.shape[1:]])


def _sizes(shape: Sequence[Any]) -> str:
    return "×".join(map(str, shape)) or "a single number"
