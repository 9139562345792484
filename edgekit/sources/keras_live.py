"""Keras models that passes may change. Runs in a worker process of the kind "tensorflow"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.core.files import sha256_file
from edgekit.core.model import Model
from edgekit.core.protocols import LiveModel
from edgekit.sources.keras_worker import (
    MODULES,
    KerasModel,
    import_keras,
    read_keras,
    repeatable,
    translated,
)

FILE = "model.keras"


def live(origin: Model, model: Model) -> LiveModel:
    """The Keras model of `model`, read anew: what is loaded for other steps stays as it is.

    Args:
        origin: what the user named.
        model: it, or what passes have made of it.

    Raises:
        ModelError: it does not load.
    """
    return LiveKeras(model)


class LiveKeras:
    """See `LiveModel`. `keras` is the Keras it is made with: Keras 3, or tf_keras."""

    def __init__(self, model: Model) -> None:
        self.keras: Any = import_keras(MODULES[model.kind])
        self.module: Any = read_keras(model)
        loaded = KerasModel(self.module, model)
        self.signature, self._fronts = loaded.signature, loaded.fronts
        self.edits: list[dict[str, Any]] = []
        self._model = model

    def take(self, inputs: Sequence[Any]) -> list[Any]:
        """See `LiveModel.take`."""
        import numpy as np

        pairs = zip(self._fronts, inputs, strict=True)
        return [np.asarray(front(array)) for front, array in pairs]

    def call(self, inputs: Sequence[Any], *, training: bool) -> list[Any]:
        """See `LiveModel.call`."""
        import tensorflow as tf

        packed = tf.nest.pack_sequence_as(input_struct(self.module), list(inputs))
        return list(tf.nest.flatten(self.module(packed, training=training)))

    def save(self, out: Path) -> Model:
        """See `LiveModel.save`."""
        path = out / FILE
        with translated(self._model.reference):
            self.module.save(path)
        repeatable(path)
        return self._model.model_copy(update={"path": path.name, "digest": sha256_file(path)})


def input_struct(module: Any) -> Any:
    """The nest of inputs that the model is called with."""
    from edgekit.sources.keras_worker import struct_of

    found = struct_of(module, "inputs")
    return module.inputs[0] if found is None else found
