"""What goes into and comes out of a model."""

from __future__ import annotations

from pydantic import Field

from edgekit.core.noun import Noun


class Quantization(Noun):
    """Affine quantization: real = scale × (stored − zero_point).

    One scale for a whole tensor, or one per slice along `axis`.
    """

    scale: tuple[float, ...] = Field(min_length=1)
    zero_point: tuple[int, ...] = Field(min_length=1)
    axis: int | None = None


class TensorSpec(Noun):
    """One named input or output.

    `shape` has the batch in it; None is a dimension that has no size yet. `dtype` is numpy's name.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    quantization: Quantization | None = None

    def __str__(self) -> str:
        sizes = "×".join("?" if size is None else str(size) for size in self.shape) or "scalar"
        return f"{self.name} {self.dtype} {sizes}"


class Signature(Noun):
    """A callable entry of a model: its name, inputs and outputs in order."""

    name: str = "serving_default"
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def score_output(self) -> TensorSpec | None:
        """The output that class labels speak of: the only one of shape (batch, scores).

        A single score is a yes or no. None if no output or more than one has that shape.
        """
        found = [spec for spec in self.outputs if len(spec.shape) == 2]
        return found[0] if len(found) == 1 else None

    def class_count(self) -> int | None:
        """How many classes labels may speak of; None if no output scores classes."""
        output = self.score_output()
        scores = None if output is None else output.shape[-1]
        return 2 if scores == 1 else scores
