"""What the typed classes for apps have in common, in whatever language they are written."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgekit.bundles.manifest import BundledArtifact
from edgekit.bundles.readme import takes_pictures
from edgekit.core.errors import InputError
from edgekit.core.preprocessing import (
    CenterCrop,
    Color,
    Preprocessing,
    Resize,
    ResizeShortSide,
)
from edgekit.core.tensor import TensorSpec

PICTURE_STEPS = (Resize, ResizeShortSide, CenterCrop, Color)
RUNTIME = {"tflite": "LiteRT", "executorch": "ExecuTorch"}
MAX_NAME = 60


@dataclass(frozen=True)
class Given:
    """What the app gives for an input, before preprocessing; `shape` without the batch.

    `picture`: RGB, uint8. None in the shape is a size that is free.
    """

    dtype: str
    shape: tuple[int | None, ...]
    picture: bool

    @property
    def words(self) -> str:
        sizes = " x ".join("any" if size is None else str(size) for size in self.shape) or "scalar"
        if self.picture and None in self.shape[:2]:
            return "a picture of any size"
        if self.picture:
            return f"a picture of {self.shape[1]} by {self.shape[0]} pixels"
        return f"{self.dtype}, {sizes}"


def given(spec: TensorSpec, preprocessing: Preprocessing) -> Given:
    """What becomes the input `spec` by `preprocessing`, worked out from the end."""
    dtype = "float32" if spec.quantization else spec.dtype
    opened = {each.axis for each in spec.open}
    shape = [None if axis in opened else size for axis, size in enumerate(spec.shape)][1:]
    for op in reversed(preprocessing.operations):
        if op.op == "layout":
            shape = shape[1:] + shape[:1]
            continue
        dtype = "uint8" if isinstance(op, PICTURE_STEPS) else "float32"
        if isinstance(op, Color):
            shape[2:] = [3]
        elif isinstance(op, PICTURE_STEPS):
            shape[:2] = [None, None]
    picture = takes_pictures(spec, preprocessing) or (
        dtype == "uint8" and len(shape) == 3 and shape[2] == 3
    )
    return Given(dtype, tuple(shape), picture)


def all_given(artifact: BundledArtifact) -> list[Given]:
    """The same of each input; the first alone is preprocessed."""
    return [
        given(spec, preprocessing_of(artifact, index))
        for index, spec in enumerate(artifact.signature.inputs)
    ]


def preprocessing_of(artifact: BundledArtifact, index: int) -> Preprocessing:
    """What is done to the input at `index`."""
    return artifact.preprocessing if index == 0 else Preprocessing()


def check_artifact(
    artifact: BundledArtifact,
    *,
    runs: Collection[tuple[str, str]],
    types: Mapping[str, Collection[str]],
    app: str,
    api: str,
    opened: Collection[str] = ("executorch",),
) -> None:
    """Refuse what no class can be made for, naming what is in the way.

    Args:
        runs: the pairs of format and delegate that such an app runs.
        types: the dtypes of tensors that the runtime takes and gives, by format.
        app: what kind of app, as in "Android app".
        api: what of the runtime is called, as in "Java classes".
        opened: the formats whose runtime takes several sizes of an input.

    Raises:
        InputError: its format or delegate does not run there, or the runtime has no such tensors.
    """
    name, delegate = artifact.variant, artifact.recipe.delegate
    if (artifact.format, delegate) not in runs:
        known = ", ".join(f"{form} with {which}" for form, which in runs)
        raise InputError(
            f"{name} is {artifact.format} with {delegate}, which no {app} runs; {known} do",
            hint="name another with --variant, or convert for a phone",
        )
    if len(artifact.files) != 1:
        raise InputError(f"{name} has {len(artifact.files)} files; an app opens one")
    runtime = f"{RUNTIME[artifact.format]}'s {api}"
    for spec in (*artifact.signature.inputs, *artifact.signature.outputs):
        if spec.dtype not in types[artifact.format]:
            raise InputError(
                f"{name}: {spec.name!r} is {spec.dtype}; {runtime} have "
                f"{', '.join(types[artifact.format])}",
                hint="convert with float inputs and outputs, or name another with --variant",
            )
        if None in spec.shape or (spec.open and artifact.format not in opened):
            raise InputError(
                f"{name}: {spec.name!r} is {spec.sizes}; {runtime} take one size",
                hint="convert with one: --dim NAME=SIZE",
            )
    for spec in artifact.signature.inputs:
        if spec.shape[:1] != (1,) or any(each.axis == 0 for each in spec.open):
            raise InputError(
                f"{name}: input {spec.name!r} is {spec.sizes}; an app feeds one sample, so the "
                "first dimension has to be 1",
                hint="convert with a batch of 1",
            )


def class_scores(artifact: BundledArtifact) -> TensorSpec | None:
    """The output that the labels speak of, for which there is a best class; None without labels."""
    found = artifact.signature.score_output()
    if artifact.labels is None or found is None or found.open:
        return None
    return found if found.shape[0] == 1 and (found.shape[1] or 0) > 1 else None


def is_real(spec: TensorSpec) -> bool:
    """Whether an app sees real numbers where the model has `spec`."""
    return spec.dtype == "float32" or spec.quantization is not None


def least_shape(spec: TensorSpec) -> list[int | None]:
    """The shape with the least size of what takes a range."""
    opened = {each.axis: each.least for each in spec.open}
    return [opened.get(axis, size) for axis, size in enumerate(spec.shape)]


def input_unit(spec: TensorSpec, bytes_: str = "whole numbers from 0 to 255") -> str:
    """What the numbers of an input are; `bytes_` says it of uint8."""
    if spec.quantization:
        return "scale x (stored - zero point) is the real number"
    if spec.dtype == "bool":
        return "true or false"
    if spec.dtype == "uint8":
        return bytes_
    return "real numbers" if spec.dtype == "float32" else "whole numbers"


def output_unit(
    spec: TensorSpec, *, scores: bool, bytes_: str = "whole numbers from 0 to 255"
) -> str:
    """The same of an output; `scores` if labels speak of it."""
    if scores:
        unit = "a score a class, in the order of the labels"
        return f"{unit}; scale x (stored - zero point)" if spec.quantization else unit
    return input_unit(spec, bytes_)


def float32(value: float) -> str:
    """`value` rounded to float32, as a decimal number that is exactly that."""
    (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    # The digits of `value` itself a compiler would round once, and we round twice (float64,
    # float32). Nine digits lead back to every float32.
    return f"{rounded:.9g}"


def class_name(*parts: str, taken: Collection[str]) -> str:
    """``DigitsInt8Io`` for ``digits`` and ``int8-io``; none of `taken`."""
    text = [word for part in parts for word in words(part)]
    name = "".join(word[0].upper() + word[1:] for word in text)[:MAX_NAME] or "Model"
    if not name[0].isalpha():
        name = f"Model{name}"
    return f"{name}Model" if name in taken else name


def class_names(model: str, variants: Sequence[str], name_of: Callable[..., str]) -> list[str]:
    """``Digits`` for a single variant; ``DigitsInt8``, ``DigitsFloat32`` for several."""
    if len(variants) == 1:
        return [name_of(model)]
    names: list[str] = []
    for variant in variants:
        name = base = name_of(model, variant)
        count = 1
        while name in names:
            count += 1
            name = f"{base}{count}"
        names.append(name)
    return names


def member_names(
    names: Iterable[str], *, keywords: Collection[str], reserved: Collection[str] = ()
) -> list[str]:
    """A name of a member for each, all different: ``servingDefaultX0`` for ``serving_default_x:0``.

    No name is another's with ``Shape`` behind it either, since an output has a member of that name.
    """
    made: list[str] = []
    taken: set[str] = set()
    for named in names:
        text = words(named)
        name = "".join([*text[:1], *(word[0].upper() + word[1:] for word in text[1:])])
        name = name[:1].lower() + name[1:MAX_NAME]
        if not name or not name[0].isalpha():
            name = f"tensor{name[:1].upper()}{name[1:]}"
        if name in keywords or name in reserved:
            name += "_"
        base, count = name, 1
        while name in taken or f"{name}Shape" in taken:
            count += 1
            name = f"{base}{count}"
        taken |= {name, f"{name}Shape"}
        made.append(name)
    return made


def words(text: str) -> list[str]:
    """Runs of ASCII letters and digits."""
    return re.findall(r"[A-Za-z0-9]+", text)
