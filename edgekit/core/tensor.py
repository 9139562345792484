"""What goes into and comes out of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from edgekit.core.errors import ConversionError
from edgekit.core.noun import Noun


class Quantization(Noun):
    """Affine quantization: real = scale × (stored − zero_point).

    One scale for a whole tensor, or one per slice along `axis`.
    """

    scale: tuple[float, ...] = Field(min_length=1)
    zero_point: tuple[int, ...] = Field(min_length=1)
    axis: int | None = None


class OpenAxis(Noun):
    """An axis that takes any size from `least` to `largest`.

    Axes of the same `name` have the same size. An output's may have none: its size then follows
    from those of the inputs in some other way (half of one, say).
    """

    axis: int
    name: str
    least: int
    largest: int


class TensorSpec(Noun):
    """One named input or output.

    `shape` has the batch in it; None is a dimension that has no size yet. `dtype` is numpy's name.
    The size of an axis in `open` is the largest that it takes.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    quantization: Quantization | None = None
    open: tuple[OpenAxis, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {self.sizes}"

    @property
    def sizes(self) -> str:
        """The shape in words: ``1×16..128``; ``scalar``."""
        ranges = {each.axis: f"{each.least}..{each.largest}" for each in self.open}
        sizes = ("?" if size is None else str(size) for size in self.shape)
        return "×".join(ranges.get(axis, size) for axis, size in enumerate(sizes)) or "scalar"

    def at(self, sizes: Mapping[str, int]) -> tuple[int | None, ...]:
        """The shape where open dimensions have these `sizes`, by name."""
        shape = list(self.shape)
        for each in self.open:
            shape[each.axis] = sizes.get(each.name, each.largest)
        return tuple(shape)

    def _in_ranges_of(self, source: TensorSpec) -> TensorSpec:
        opened = {each.axis for each in source.open}
        shape = tuple(
            size if own is None or axis in opened else own
            for axis, (own, size) in enumerate(zip(self.shape, source.shape, strict=True))
        )
        return self.model_copy(update={"shape": shape, "open": source.open})

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Where nothing is open the form is that of versions that knew no open axes."""
        data: dict[str, Any] = handler(self)
        if not self.open:
            del data["open"]
        return data


class Signature(Noun):
    """A callable entry of a model: its name, inputs and outputs in order."""

    name: str = "serving_default"
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def dimensions(self) -> dict[str, tuple[int, int]]:
        """Least and largest size of every open dimension of the inputs, by name."""
        return {each.name: (each.least, each.largest) for s in self.inputs for each in s.open}

    def between(self) -> tuple[dict[str, int], ...]:
        """Sizes to try an artifact at beside the largest: the least, and one in between.

        That is an odd one where there is room: models that hold to multiples are found by it.
        """
        ranges = self.dimensions()
        if not ranges:
            return ()
        least = {name: low for name, (low, _) in ranges.items()}
        middle = {name: min((low + high) // 2 | 1, high) for name, (low, high) in ranges.items()}
        return (least,) if middle == least else (least, middle)

    def opened(self, wanted: Signature) -> Signature:
        """This signature of an artifact with the ranges of its source, input by input.

        Raises:
            ConversionError: the artifact holds to one size of an input that `wanted` has open.
        """
        if not wanted.dimensions():
            return self
        for spec, source in zip(self.inputs, wanted.inputs, strict=True):
            for each in source.open:
                if spec.shape[each.axis] is not None:
                    raise ConversionError(
                        f"the converter fixed dimension {each.axis} of input {source.name!r} to "
                        f"{spec.shape[each.axis]}, which shall take {each.least} to {each.largest}",
                        hint=f"give one size: --dim {each.name}={each.largest}, or take another "
                        "format",
                    )
        inputs, outputs = (
            tuple(spec._in_ranges_of(source) for spec, source in zip(mine, theirs, strict=True))
            for mine, theirs in ((self.inputs, wanted.inputs), (self.outputs, wanted.outputs))
        )
        return self.model_copy(update={"inputs": inputs, "outputs": outputs})

    def score_output(self) -> TensorSpec | None:
        """The output that class labels speak of: the only one of shape (batch, scores).

        A single score is a yes or no; beside several scores, of which only one output has some, it
        is something else. None if no output or more than one may be meant.
        """
        found = [spec for spec in self.outputs if len(spec.shape) == 2]
        if len(found) > 1:
            found = [spec for spec in found if spec.shape[1] != 1]
        return found[0] if len(found) == 1 else None

    def class_count(self) -> int | None:
        """How many classes labels may speak of; None if no output scores classes."""
        output = self.score_output()
        scores = None if output is None else output.shape[-1]
        return 2 if scores == 1 else scores
