"""ONNX operators, one module a family; each has a ``TABLE`` from operator to handler."""

from edgekit.export.translate.onnx_operators import (
    elementwise,
    indexing,
    layers,
    recurrent,
    reductions,
    resize,
    shapes,
)

__all__ = ["elementwise", "indexing", "layers", "recurrent", "reductions", "resize", "shapes"]
