"""A made-up second memory for PyTorch, where no GPU can be had: a test double of a device.

Tensors there say that their device is ``meta`` (a name that PyTorch knows anywhere), hold real
numbers, and meet no tensor of the computer's own memory: an operator that is given both raises, as
CUDA's do. So a training that runs there has put every tensor where the net is, and its numbers are
those of the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")
CROSSING = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}


class There(torch.Tensor):
    """A tensor in that memory; `here` are its numbers."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> There:
        made: There = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, here.shape, strides=here.stride(), dtype=here.dtype, device=DEVICE
        )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None
    ) -> Any:
        return run(func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.here!r})"


class Memory(TorchDispatchMode):
    """While it lasts, ``.to("meta")`` and ``device="meta"`` mean that memory."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None
    ) -> Any:
        return run(func, args, kwargs or {})


def run(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    given = [each for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    there = any(isinstance(each, There) for each in given)
    if there and func not in CROSSING:
        # Numbers without dimensions may come from anywhere, as they may with CUDA.
        mixed = [each for each in given if not isinstance(each, There) and each.ndim]
        if mixed:
            raise RuntimeError(f"{func}: tensors on {DEVICE} and {mixed[0].device}")
    wanted = kwargs.get("device")
    if wanted is not None:
        there = torch.device(wanted) == DEVICE
        kwargs = {**kwargs, "device": torch.device("cpu")}
    inner, words = pytree.tree_map_only(There, lambda each: each.here, (args, kwargs))
    found = func(*inner, **words)
    if func is torch.ops.aten.copy_.default:
        return args[0]
    if not there:
        return found
    back = {id(each.here): each for each in given if isinstance(each, There)}  # changed in place

    def taken(each: Any) -> Any:
        return back[id(each)] if id(each) in back else There(each)

    return pytree.tree_map_only(torch.Tensor, taken, found)
