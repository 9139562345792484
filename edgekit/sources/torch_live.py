"""PyTorch modules that passes may change. Runs in a worker process of the kind "torch".

A program of torch.export has its sizes and its mode of running fixed, so what is changed is the
module that it was exported from, which the user's function makes; the weights are the program's.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.core.errors import ModelError
from edgekit.core.model import InputForm, Model
from edgekit.core.protocols import LiveModel
from edgekit.core.registry import resolve
from edgekit.sources.torch_fix import layout_of
from edgekit.sources.torch_make import make, save
from edgekit.sources.torch_words import translated
from edgekit.sources.torch_worker import load, read_program

WEIGHTS_FILE = "weights.pt"
EDITS_FILE = "edits.json"
OUR_EDITS = re.compile(r"edgekit\.compress\.[a-z_]+:[a-z_]+")
CHANNELS = {"nhwc": 3, "nchw": 1}


def live(origin: Model, model: Model) -> LiveModel:
    """The module that `model` was exported from, with its weights.

    Args:
        origin: what the user named: a function, or a pickled module.
        model: the program made of it, or what passes have made of it.

    Raises:
        ModelError: the function makes another module than it did before.
    """
    return LiveTorch(origin, model)


class LiveTorch:
    """See `LiveModel`."""

    def __init__(self, origin: Model, model: Model) -> None:
        self.signature = load(model).signature
        made = make(origin)
        folder = model.file.parent
        edits = folder / EDITS_FILE
        self.edits: list[dict[str, Any]] = []
        module = made.module
        if edits.exists():
            self.edits = json.loads(edits.read_text(encoding="utf-8"))
            for edit in self.edits:
                if not OUR_EDITS.fullmatch(str(edit["apply"])):
                    raise ModelError(f"{str(edits)!r} names {edit['apply']!r}, no pass of edgekit")
                module = resolve(edit["apply"])(module, edit)
        self._origin, self._made = origin, dataclasses.replace(made, module=module)
        with translated(origin.reference):
            module.load_state_dict(_state(model, folder), strict=True)

    @property
    def module(self) -> Any:
        """The ``nn.Module``. One that takes its place has to be called in the same way."""
        return self._made.module

    @module.setter
    def module(self, module: Any) -> None:
        self._made = dataclasses.replace(self._made, module=module)

    def take(self, inputs: Sequence[Any]) -> list[Any]:
        """See `LiveModel.take`."""
        import torch

        given = [*self._made.args, *self._made.kwargs.values()]
        own = [each for each in given if isinstance(each, torch.Tensor)]
        found = []
        for array, tensor, spec in zip(inputs, own, self.signature.inputs, strict=True):
            form = self._origin.form(spec.name, len(spec.shape))
            found.append(array if form is None else _taken(array, form, layout_of(tensor.shape)))
        return found

    @property
    def example(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Example inputs, by position and by name."""
        return self._made.args, self._made.kwargs

    def call(self, inputs: Sequence[Any], *, training: bool) -> list[Any]:
        """See `LiveModel.call`."""
        import torch
        from torch.utils import _pytree as pytree

        self.module.train(training)
        left = iter(inputs)

        def filled(value: Any) -> Any:  # flags and the like stay as the user's function gave them
            return next(left) if isinstance(value, torch.Tensor) else value

        args = [filled(value) for value in self._made.args]
        named = {name: filled(value) for name, value in self._made.kwargs.items()}
        answers = pytree.tree_leaves(self.module(*args, **named))
        return [answer for answer in answers if isinstance(answer, torch.Tensor)]

    def save(self, out: Path) -> Model:
        """See `LiveModel.save`."""
        import torch

        model = save(out, self._origin, self._made)
        torch.save(self.module.state_dict(), out / WEIGHTS_FILE)
        if self.edits:
            (out / EDITS_FILE).write_text(json.dumps(self.edits), encoding="utf-8")
        return model


def _taken(array: Any, form: InputForm, own: str) -> Any:
    """(samples, …) in `form` as the module's own float32 input of the layout `own`."""
    import numpy as np

    outside = form.layout or own
    shape = [1] * array.ndim
    shape[CHANNELS[outside] if array.ndim == 4 else array.ndim - 1] = -1
    values = array.astype(np.float32)
    if form.mean:
        values = values - np.asarray(form.mean, dtype=np.float32).reshape(shape)
    if form.std:
        values = values / np.asarray(form.std, dtype=np.float32).reshape(shape)
    if outside != own:
        values = values.transpose((0, 3, 1, 2) if own == "nchw" else (0, 2, 3, 1))
    return np.ascontiguousarray(values)


def _state(model: Model, folder: Path) -> dict[str, Any]:
    import torch

    kept = folder / WEIGHTS_FILE
    if kept.exists():
        return dict(torch.load(kept, map_location="cpu", weights_only=True))
    return dict(read_program(model, model.file).state_dict)
