"""torch's types, shapes and exceptions in edgekit's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgekit.core.errors import EdgekitError, ModelError
from edgekit.core.failures import named, place, size_constraint


def dtype_name(tensor: Any) -> str:
    """numpy's name of a tensor's type (bfloat16 has none there, and keeps its own)."""
    return str(tensor.dtype).removeprefix("torch.")


def sizes_of(tensor: Any) -> tuple[int | None, ...]:
    """The shape; None where a dimension is open."""
    return tuple(size if isinstance(size, int) else None for size in tensor.shape)


def words_of(tensor: Any) -> str:
    """The shape for people: 1×3×?×?."""
    sizes = sizes_of(tensor)
    return "×".join("?" if size is None else str(size) for size in sizes) or "scalar"


@contextmanager
def translated(reference: str) -> Iterator[None]:
    """Turn what torch raises while it loads, traces or exports into errors of ours."""
    try:
        yield
    except (EdgekitError, MemoryError):
        raise
    except Exception as exc:
        raise explained(reference, exc) from exc


_UNREGISTERED = re.compile(r"resolve ([\w.:]+) to an operator")
_DATA = re.compile(r"data-dependent|GuardOnData|DataDependent|Dynamic control flow", re.IGNORECASE)


def explained(reference: str, exc: BaseException) -> ModelError:
    """The error for what torch raised; names the user's own line where the traceback has one."""
    text = str(exc)
    operator = _UNREGISTERED.search(text)
    if operator:
        return ModelError(
            f"{reference!r} needs the operator {operator[1]}, which no installed package has "
            "registered",
            hint="convert a function package.module:function whose module imports that package",
        )
    if refused := size_constraint(text):
        return ModelError(
            f"{reference!r} cannot be exported for that range of sizes: {refused}",
            hint="give one size, for example --dim seq=128, or a range that the model takes",
        )
    where = place(exc)
    at = f" (at {where})" if where else ""
    if _DATA.search(text) or _DATA.search(type(exc).__name__):
        return ModelError(
            f"{reference!r} cannot be exported: it decides by the numbers it computes{at}",
            hint="write that with torch.where or torch.cond, or give the model as ONNX",
        )
    if "CUDA" in text and ("device" in text or "available" in text):
        return ModelError(
            f"{reference!r} was saved with tensors on a GPU: {named(exc)}",
            hint="call model.cpu() before it is exported",
        )
    return ModelError(
        f"{reference!r} cannot be loaded or exported: {named(exc)}{at}",
        hint="check that torch.export.export(model.eval(), inputs) works with this torch",
    )
