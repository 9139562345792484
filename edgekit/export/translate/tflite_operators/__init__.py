"""TFLite operators, one module a family; each has a ``TABLE`` from operator to handler."""

from edgekit.export.translate.tflite_operators import (
    control,
    elementwise,
    indexing,
    layers,
    reductions,
    shapes,
)

__all__ = ["control", "elementwise", "indexing", "layers", "reductions", "shapes"]
