"""Keras models: ``.keras``, ``.h5``, a SavedModel folder, or a function that returns a model.

    edgekit convert model.keras --for raspberry-pi-5
    edgekit convert exported/ --for raspberry-pi-5
    edgekit convert my_package.models:build --for raspberry-pi-5
    edgekit convert keras:my_package.models:build --for raspberry-pi-5

Keras 3 and Keras 2 (tf_keras) files are told apart by what they say of themselves. See
https://keras.io/api/models/model_saving_apis/.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from edgekit.core.errors import ModelError, PlanError, UntrustedModelError
from edgekit.core.files import sha256_path
from edgekit.core.model import Model, ModelOptions
from edgekit.sources.functions import framework_of, function_in
from edgekit.sources.keras_files import Kind, examine
from edgekit.sources.options import refuse_nms, refuse_weights
from edgekit.work.steps import Step

WORKER = "tensorflow"
LOADER = "edgekit.sources.keras_worker:load"
TOOLS: dict[str, tuple[str, ...]] = {
    "keras3": ("tensorflow", "keras"),
    "keras2": ("tensorflow", "tf-keras"),
    "savedmodel": ("tensorflow",),
    "function": ("tensorflow", "keras", "tf-keras"),
}
_SUFFIXES = (".keras", ".h5", ".hdf5")


class KerasSource:
    """Opens Keras models; a `Source`."""

    def accepts(self, reference: str) -> bool:
        """Whether `reference` looks like one of Keras' things: by its name or its first bytes."""
        if function_in(reference):
            return framework_of(reference) == "keras"
        path = Path(reference)
        return path.suffix.lower() in _SUFFIXES or (path / "saved_model.pb").exists()

    def open(self, reference: str, options: ModelOptions) -> Model:
        """See `Source.open`. A function is the user's own code and needs no `trust_code`."""
        refuse_weights(
            options, "save architecture and weights together with model.save('model.keras')"
        )
        refuse_nms(options)
        if function := function_in(reference):
            return Model(
                name=function.rpartition(":")[2].rpartition(".")[2],
                reference=function,
                path="",
                framework="keras",
                kind="function",
                digest="",
                loader=LOADER,
                worker=WORKER,
                **dict(options),
            )
        path = Path(reference)
        found = examine(path)
        if found.code and not options.trusted:
            raise UntrustedModelError(
                f"{reference!r} holds code that would run when it is loaded: {_listed(found.code)}",
                hint="if you trust where it comes from, give --trust-code",
            )
        return _handle(path.resolve(), reference, found.kind, options)

    def opener(self, model: Model) -> str:
        """See `Source.opener`."""
        if model.kind == "savedmodel":
            raise PlanError(
                f"{model.reference!r} is a SavedModel, whose layers are lost: passes cannot change "
                "it",
                hint="give the Keras model itself (model.save('model.keras'))",
            )
        return "edgekit.sources.keras_live:live"

    def materialise(self, model: Model) -> Step | None:
        """See `Source.materialise`."""
        if model.kind != "function":
            return None
        return Step(
            title=f"{model.name}: build",
            function="edgekit.sources.keras_worker:materialise",
            worker=WORKER,
            arguments={"model": model.to_json()},
            identity={"call": uuid.uuid4().hex},
            tools=TOOLS["function"],
        )

    def inspect(self, model: Model) -> Step:
        """See `Source.inspect`."""
        return Step(
            title=f"{model.name}: read",
            function="edgekit.sources.keras_worker:inspect",
            worker=WORKER,
            arguments={"model": model.to_json()},
            identity=model.identity(),
            tools=TOOLS[model.kind],
        )


def _handle(path: Path, reference: str, kind: Kind, options: ModelOptions) -> Model:
    try:
        digest = sha256_path(path)
    except OSError as exc:
        raise ModelError(f"cannot read {reference!r}: {exc.strerror or exc}") from exc
    return Model(
        name=path.name if path.is_dir() else path.stem,
        reference=reference,
        path=str(path),
        framework="keras",
        kind=kind,
        digest=digest,
        loader=LOADER,
        worker=WORKER,
        **dict(options),
    )


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
