"""What MediaPipe Tasks reads of an image classifier, written into its ``.tflite``.

Formats: mediapipe/tasks/metadata/metadata_schema.fbs (version 1.5.0) and TFLite's schema.fbs. What
ImageClassifier takes: mediapipe/tasks/cc/vision/utils/image_tensor_specs.cc and
components/processors beside it.

The model's own bytes stay as they are and in one piece: a new root table is put before them, which
points at the old parts and at the metadata, and a zip with the labels goes behind, where MediaPipe
looks for it. So nothing that was verified is written anew, and a model of any size costs no memory.
The package ``mediapipe`` writes the same, but is 650 MB with what it needs.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.errors import DataError, InputError
from edgekit.core.preprocess_reference import apply
from edgekit.core.preprocessing import Cast, Normalize, Preprocessing, Quantize, Resize
from edgekit.core.tensor import Signature, TensorSpec

ENTRY = "TFLITE_METADATA"
LABEL_FILE = "labels.txt"
# Everything that is written here has been in the format since 1.0.0.
MIN_PARSER_VERSION = "1.0.0"
# Of what computes it: MediaPipe knows the CPU and the GPU. Files for NPUs hold positions in
# themselves, too, which a byte before them would make wrong.
DELEGATES = ("xnnpack", "gpu")
ALIGNMENT = 64  # of what stands before the model: a multiple of that of every buffer in it
LARGEST = 2**31 - 2**20  # of a flatbuffer, with room for what is put before it

# Fields of TFLite's Model, Buffer and Metadata, and the values of unions and enumerations.
VERSION, OPERATOR_CODES, SUBGRAPHS, DESCRIPTION, BUFFERS, METADATA_BUFFER, METADATA, SIGNATURES = (
    range(8)
)
BUFFER_OFFSET = 1
IMAGE_PROPERTIES, NORMALIZATION_OPTIONS, RGB, AXIS_LABELS = 2, 1, 1, 2


class InexpressibleError(Exception):
    """MediaPipe Tasks cannot do what the model needs; the message says what."""


@dataclass(frozen=True)
class Pictures:
    """The input of an image classifier: RGB, (pixel − mean) / std, one value for all channels."""

    height: int
    width: int
    mean: float
    std: float


@dataclass(frozen=True)
class Wrapping:
    """What goes before and behind the bytes of a model, and the words for a person."""

    head: bytes
    tail: bytes
    note: str


def wrapping(
    source: Path,
    signature: Signature,
    preprocessing: Preprocessing,
    *,
    delegate: str,
    labels: Sequence[str],
    said: dict[str, str],
) -> Wrapping:
    """What makes the file `source` one that ImageClassifier reads.

    Args:
        delegate: what computes it.
        labels: the classes, in the order of the scores.
        said: name, description, version, author and license; each may be empty.

    Raises:
        InexpressibleError: MediaPipe would compute something else, or refuse it.
        InputError: the file cannot be read, or is no TFLite file.
    """
    if delegate not in DELEGATES:
        raise InexpressibleError(f"it computes on the CPU and the GPU only, not with {delegate}")
    pictures = pictures_of(signature, preprocessing)
    check_scores(signature, len(labels))
    metadata = metadata_of(pictures, signature, said)
    with _opened(source) as model:
        try:
            head = head_of(model, metadata)
        except InputError as exc:
            raise InputError(
                f"{str(source)!r} {exc.message}",
                hint="run edgekit convert again; what did not change comes from the cache",
            ) from exc
        tail = zipped(labels, at=len(head) + len(model))
    return Wrapping(
        head,
        tail,
        f"MediaPipe Tasks' ImageClassifier reads it as it is: labels, mean {pictures.mean:g} and "
        f"std {pictures.std:g} are in the file. Pictures of another size than {pictures.height}×"
        f"{pictures.width} are scaled by MediaPipe's own code, whose pixels differ a little",
    )


def pictures_of(signature: Signature, preprocessing: Preprocessing) -> Pictures:
    """The one input as ImageClassifier takes it. Raises InexpressibleError."""
    if len(signature.inputs) != 1:
        raise InexpressibleError(f"it takes one input, and this has {len(signature.inputs)}")
    (spec,) = signature.inputs
    if spec.dtype not in ("float32", "uint8"):
        raise InexpressibleError(f"it takes float32 and uint8, and the input is {spec.dtype}")
    if spec.open or len(spec.shape) != 4 or None in spec.shape:
        raise InexpressibleError(f"it takes pictures of one size, and the input is {spec.sizes}")
    for op in preprocessing.operations:
        if not isinstance(op, Resize | Normalize | Cast | Quantize) or (
            isinstance(op, Resize) and op.method != "bilinear"
        ):
            raise InexpressibleError(f"of preprocessing it has no {_words(op)}")
    batch, height, width, channels = spec.shape
    if (batch, channels) != (1, 3) or height is None or width is None:
        raise InexpressibleError(f"it takes 1×height×width×3, and the input is {spec.sizes}")
    mean, std = _normalization(preprocessing)
    if spec.dtype == "uint8":
        mean, std = 0.0, 1.0  # pixels go in as they are; what is written is not looked at
    elif not any(isinstance(op, Resize) for op in preprocessing.operations):
        raise InexpressibleError("without a resize nothing says that the input is made of pixels")
    _check_pixels(spec, preprocessing, mean, std)
    return Pictures(height, width, mean, std)


def _words(op: Any) -> str:
    return f"{op.op} by the {op.method} pixel" if isinstance(op, Resize) else str(op.op)


def _normalization(preprocessing: Preprocessing) -> tuple[float, float]:
    found = [op for op in preprocessing.operations if isinstance(op, Normalize)]
    if not found:
        return 0.0, 1.0
    if len(found) > 1:
        raise InexpressibleError("it normalizes once, and the preprocessing does it twice")
    if len(set(found[0].mean)) > 1 or len(set(found[0].std)) > 1:
        raise InexpressibleError("it has one mean and one std, not one a channel")
    return found[0].mean[0], found[0].std[0]


def _check_pixels(spec: TensorSpec, preprocessing: Preprocessing, mean: float, std: float) -> None:
    """Raise InexpressibleError unless each of the 256 pixel values becomes (value − mean) / std."""
    picture = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    rest = tuple(op for op in preprocessing.operations if not isinstance(op, Resize))
    try:
        made = apply(Preprocessing(operations=rest), picture)
        if spec.quantization is not None and made.dtype != spec.dtype:
            scale, zero_point = spec.quantization.scale[0], spec.quantization.zero_point[0]
            last = Quantize(scale=scale, zero_point=zero_point, dtype="uint8")
            made = apply(Preprocessing(operations=(*rest, last)), picture)
    except DataError as exc:
        raise InexpressibleError(str(exc)) from exc
    if made.dtype != spec.dtype:
        raise InexpressibleError(f"the preprocessing gives {made.dtype}, the input is {spec.dtype}")
    wanted = (picture.astype(np.float64) - mean) / std
    if not np.allclose(made.astype(np.float64), wanted, rtol=1e-5, atol=1e-5 / std):
        text = "the pixels as they are" if spec.dtype == "uint8" else "(pixel − mean) / std"
        raise InexpressibleError(f"it gives {spec.dtype} inputs {text}, and here it is another sum")


def check_scores(signature: Signature, labels: int) -> None:
    """Raise InexpressibleError unless the one output is a score for each of the `labels`."""
    if len(signature.outputs) != 1:
        raise InexpressibleError(f"it takes one output, and this has {len(signature.outputs)}")
    (spec,) = signature.outputs
    if spec.dtype not in ("float32", "uint8"):
        raise InexpressibleError(f"it reads float32 and uint8, and the output is {spec.dtype}")
    if spec.dtype == "uint8" and (spec.quantization is None or len(spec.quantization.scale) > 1):
        raise InexpressibleError("it reads uint8 scores that have one scale")
    if spec.open or spec.shape[-1:] != (labels,) or set(spec.shape[:-1]) - {1}:
        raise InexpressibleError(f"there are {labels} labels, and the output is {spec.sizes}")


def metadata_of(pictures: Pictures, signature: Signature, said: dict[str, str]) -> bytes:
    """The flatbuffer ``ModelMetadata``."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)

    def text(value: str) -> int | None:
        return int(builder.CreateString(value)) if value else None

    def table(**fields: tuple[int, str, int | None]) -> int:
        return _table(builder, list(fields.values()))

    def offsets(*places: int) -> int:
        builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return int(builder.EndVector())

    def floats(value: float) -> int:
        builder.StartVector(4, 1, 4)
        builder.PrependFloat32(value)
        return int(builder.EndVector())

    size = table(
        width=(0, "Uint32", pictures.width),
        height=(1, "Uint32", pictures.height),
    )
    image = table(color_space=(0, "Int8", RGB), default_size=(1, "UOffsetTRelative", size))
    content = table(
        content_properties_type=(0, "Uint8", IMAGE_PROPERTIES),
        content_properties=(1, "UOffsetTRelative", image),
    )
    normalization = table(
        mean=(0, "UOffsetTRelative", floats(pictures.mean)),
        std=(1, "UOffsetTRelative", floats(pictures.std)),
    )
    unit = table(
        options_type=(0, "Uint8", NORMALIZATION_OPTIONS),
        options=(1, "UOffsetTRelative", normalization),
    )
    labels = table(
        name=(0, "UOffsetTRelative", text(LABEL_FILE)),
        description=(1, "UOffsetTRelative", text("The classes, in the order of the scores.")),
        type=(2, "Int8", AXIS_LABELS),
    )
    taken = table(
        name=(0, "UOffsetTRelative", text(signature.inputs[0].name or "image")),
        description=(1, "UOffsetTRelative", text("The picture to classify, RGB.")),
        content=(3, "UOffsetTRelative", content),
        process_units=(4, "UOffsetTRelative", offsets(unit)),
    )
    given = table(
        # MediaPipe uses it without asking whether it is there.
        name=(0, "UOffsetTRelative", text(signature.outputs[0].name or "scores")),
        description=(1, "UOffsetTRelative", text("A score for each class.")),
        associated_files=(6, "UOffsetTRelative", offsets(labels)),
    )
    graph = table(
        input_tensor_metadata=(2, "UOffsetTRelative", offsets(taken)),
        output_tensor_metadata=(3, "UOffsetTRelative", offsets(given)),
    )
    model = table(
        name=(0, "UOffsetTRelative", text(said["name"])),
        description=(1, "UOffsetTRelative", text(said["description"])),
        version=(2, "UOffsetTRelative", text(said["version"])),
        subgraph_metadata=(3, "UOffsetTRelative", offsets(graph)),
        author=(4, "UOffsetTRelative", text(said["author"])),
        license=(5, "UOffsetTRelative", text(said["license"])),
        min_parser_version=(7, "UOffsetTRelative", text(MIN_PARSER_VERSION)),
    )
    builder.Finish(model, file_identifier=b"M001")
    return bytes(builder.Output())


def _table(builder: Any, fields: Sequence[tuple[int, str, int | None]]) -> int:
    """Write a table of (slot, how it is stored, value); None is left out. Its place."""
    builder.StartObject(max(slot for slot, _, _ in fields) + 1)
    for slot, kind, value in fields:
        if value is not None:
            getattr(builder, f"Prepend{kind}")(value)
            builder.Slot(slot)
    return int(builder.EndObject())


def head_of(model: bytes | mmap.mmap, metadata: bytes) -> bytes:
    """A root table for `model` that has `metadata`, to be put right before it.

    Raises:
        InexpressibleError: the file has such metadata, more than one graph, or is no plain one.
        InputError: it is damaged.
    """
    import flatbuffers

    if len(model) > LARGEST:
        raise InexpressibleError("the file is too large for metadata, 2 GiB")
    try:
        old = _Old(model)
        known = old.names()
        parts = {slot: old.place(slot) for slot in range(8) if slot != VERSION}
        buffers, entries = old.elements(BUFFERS), old.elements(METADATA)
        graphs = old.elements(SUBGRAPHS)
        if any(old.field(buffer, BUFFER_OFFSET) is not None for buffer in buffers):
            raise InexpressibleError("its weights lie outside of its flatbuffer")
        version = old.field(old.root, VERSION)
        number = struct.unpack_from("<I", model, version)[0] if version is not None else 0
    except (struct.error, UnicodeDecodeError) as exc:
        raise InputError(f"is damaged: {exc}") from exc
    if ENTRY in known:
        raise InexpressibleError("the file has metadata of its own, which stays")
    if len(graphs) != 1:
        raise InexpressibleError(f"it takes one graph, and the file has {len(graphs)}")

    builder = flatbuffers.Builder(len(metadata) + 8 * len(buffers) + 1024)
    # Its length will be a multiple of that. The builder counts from its end, which is where `model`
    # begins: a place in there is a negative one.
    builder.Prep(ALIGNMENT, 0)

    def vector(places: list[int]) -> int:
        builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return int(builder.EndVector())

    builder.StartVector(1, len(metadata), 16)  # as the schema has it
    builder.head -= len(metadata)
    builder.Bytes[builder.head : builder.head + len(metadata)] = metadata
    data = builder.EndVector()
    buffer = _table(builder, [(0, "UOffsetTRelative", data)])
    name = builder.CreateString(ENTRY)
    entry = _table(builder, [(0, "UOffsetTRelative", name), (1, "Uint32", len(buffers))])
    made: dict[int, int | None] = {
        slot: None if place is None else -place for slot, place in parts.items()
    }
    made[BUFFERS] = vector([*(-place for place in buffers), buffer])
    made[METADATA] = vector([*(-place for place in entries), entry])
    fields = [(slot, "UOffsetTRelative", place) for slot, place in sorted(made.items())]
    root = _table(builder, [(VERSION, "Uint32", number), *fields])
    builder.Finish(root, file_identifier=b"TFL3")
    head = bytes(builder.Output())
    assert len(head) % ALIGNMENT == 0
    return head


class _Old:
    """The tables of a model that are pointed at; every place is one in the file."""

    def __init__(self, model: bytes | mmap.mmap) -> None:
        self.model = model
        if model[4:8] != b"TFL3":
            raise InputError("is no .tflite file: it does not say TFL3")
        self.root = self._offset(0)
        size = self._number("H", self._vtable(self.root))
        if size > 4 + 2 * 8:
            raise InexpressibleError("the file is of a newer format than is known here")

    def field(self, table: int, slot: int) -> int | None:
        """Where a field of the table is; None if it has none."""
        vtable = self._vtable(table)
        at = 4 + 2 * slot
        if at + 2 > self._number("H", vtable):
            return None
        offset = self._number("H", vtable + at)
        return table + offset if offset else None

    def place(self, slot: int) -> int | None:
        """Where what a field of the root points at is."""
        at = self.field(self.root, slot)
        return None if at is None else self._offset(at)

    def elements(self, slot: int) -> list[int]:
        """Where the tables of a vector are."""
        start = self.place(slot)
        if start is None:
            return []
        count = self._number("I", start)
        return [self._offset(start + 4 + 4 * index) for index in range(count)]

    def names(self) -> list[str]:
        """Of the entries of metadata."""
        found = []
        for entry in self.elements(METADATA):
            at = self.field(entry, 0)
            if at is not None:
                start = self._offset(at)
                length = self._number("I", start)
                found.append(bytes(self.model[start + 4 : start + 4 + length]).decode())
        return found

    def _vtable(self, table: int) -> int:
        return table - self._number("i", table)

    def _offset(self, at: int) -> int:
        return at + self._number("I", at)

    def _number(self, code: str, at: int) -> int:
        if at < 0:  # struct would count from the end
            raise struct.error(f"something lies before its beginning, at {at}")
        return int(struct.unpack_from("<" + code, self.model, at)[0])


def zipped(labels: Sequence[str], *, at: int) -> bytes:
    """A zip, not compressed as MediaPipe wants it, to be put at the place `at` of a file."""
    out = _Shifted(at)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        entry = zipfile.ZipInfo(LABEL_FILE)  # its time is 1980: equal builds give equal bytes
        entry.external_attr = 0o644 << 16
        entry.create_system = 3  # Unix, wherever it is made
        archive.writestr(entry, "".join(f"{label}\n" for label in labels))
    return out.getvalue()


class _Shifted(io.BytesIO):
    """Begins at the place `first`: a zip tells where in the whole file its parts are."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first

    def tell(self) -> int:
        return super().tell() + self._first

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        moved = offset - self._first if whence == io.SEEK_SET else offset
        return super().seek(moved, whence) + self._first


@contextmanager
def _opened(source: Path) -> Iterator[mmap.mmap]:
    try:
        with (
            open(source, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            yield content
    except (OSError, ValueError) as exc:  # ValueError: it is empty
        raise InputError(f"cannot read {str(source)!r}: {exc}") from exc
