"""PyTorch models: a program of torch.export, or a function that returns a module and its inputs.

    edgekit convert model.pt2 --for raspberry-pi-5
    edgekit convert my_package.models:build --for raspberry-pi-5
    edgekit convert my_package.models:build --weights trained.safetensors --for raspberry-pi-5
    edgekit convert torch:my_package.models:build --for raspberry-pi-5

The function is called without arguments and returns ``(module, inputs)``: an ``nn.Module`` and a
tuple or dict of example tensors, as `torch.export.export` takes them; a third value is that one's
``dynamic_shapes``. A function that returns only a module needs ``--shape NAME=SIZES`` for each
input. Whole pickled modules and TorchScript run code as they are opened: they need ``--trust-code``
and ``--shape``. See https://docs.pytorch.org/docs/stable/export.html.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from edgekit.core.errors import ModelError, PlanError, UntrustedModelError, UsageError
from edgekit.core.files import sha256_file
from edgekit.core.model import Model, ModelOptions
from edgekit.sources.functions import framework_of, function_in
from edgekit.sources.options import refuse_nms
from edgekit.sources.torch_files import Finding, examine
from edgekit.work.steps import Step

WORKER = "torch"
LOADER = "edgekit.sources.torch_worker:load"
TOOLS = ("torch",)
_SUFFIXES = (".pt2", ".pt", ".pth", ".safetensors")
# https://docs.pytorch.org/docs/stable/jit.html
LEGACY = (
    "a TorchScript program; TorchScript is deprecated in favour of torch.export, and is a legacy "
    "way in"
)


class TorchSource:
    """Opens PyTorch models; a `Source`."""

    def accepts(self, reference: str) -> bool:
        """Whether `reference` is called like one of PyTorch's files, or is a function of its."""
        if function_in(reference):
            return framework_of(reference) == "torch"
        return Path(reference).suffix.lower() in _SUFFIXES

    def open(self, reference: str, options: ModelOptions) -> Model:
        """See `Source.open`. A function is the user's own code and needs no `trusted`."""
        refuse_nms(options)
        if function := function_in(reference):
            if options.weights:
                check_weights(Path(options.weights))
                options = options.model_copy(
                    update={"weights": str(Path(options.weights).absolute())}
                )
            name = function.rpartition(":")[2].rpartition(".")[2]
            return _handle(name, function, "", "function", "", options)
        path = Path(reference)
        found = examine(path)
        _check_model(reference, found, options)
        if options.weights:
            raise UsageError(
                "--weights goes with a function that makes the model, not with a file",
                hint="edgekit convert package.module:function --weights FILE …",
            )
        try:
            digest = sha256_file(path)
        except OSError as exc:
            raise ModelError(f"cannot read {reference!r}: {exc.strerror or exc}") from exc
        return _handle(path.stem, reference, str(path.resolve()), found.kind, digest, options)

    def opener(self, model: Model) -> str:
        """See `Source.opener`."""
        if model.kind not in ("function", "module"):
            what = "TorchScript" if model.kind == "torchscript" else "a program of torch.export"
            raise PlanError(
                f"{model.reference!r} is {what}, fixed as it is: passes cannot change it",
                hint="give the function that makes the module: package.module:function, with "
                "--weights FILE",
            )
        return "edgekit.sources.torch_live:live"

    def materialise(self, model: Model) -> Step | None:
        """See `Source.materialise`. Files that are no program become one as well."""
        if model.kind == "pt2":
            return None
        called = model.kind == "function"
        return Step(
            title=f"{model.name}: build" if called else f"{model.name}: export",
            function="edgekit.sources.torch_make:materialise",
            worker=WORKER,
            arguments={"model": model.to_json()},
            identity={"call": uuid.uuid4().hex} if called else model.identity(),
            tools=(*TOOLS, "safetensors"),
        )

    def inspect(self, model: Model) -> Step:
        """See `Source.inspect`."""
        return Step(
            title=f"{model.name}: read",
            function="edgekit.sources.torch_worker:inspect",
            worker=WORKER,
            arguments={"model": model.to_json()},
            identity=model.identity(),
            tools=TOOLS,
        )


def _handle(
    name: str, reference: str, path: str, kind: str, digest: str, options: ModelOptions
) -> Model:
    return Model(
        name=name,
        reference=reference,
        path=path,
        framework="torch",
        kind=kind,
        digest=digest,
        loader=LOADER,
        worker=WORKER,
        **dict(options),
    )


def _check_model(reference: str, found: Finding, options: ModelOptions) -> None:
    if found.kind in ("weights", "safetensors"):
        raise ModelError(
            f"{reference!r} holds weights only, no architecture",
            hint=f"edgekit convert package.module:function --weights {reference} …, with the "
            "function that makes the model",
        )
    trust = "if you trust where it comes from, give --trust-code"
    if found.kind == "torchscript":
        if not options.trusted:
            raise UntrustedModelError(
                f"{reference!r} is {LEGACY}. It runs code as it is opened",
                hint=f"export the model with torch.export.save instead; {trust}",
            )
    elif found.kind == "module":
        if not options.trusted:
            raise UntrustedModelError(
                f"{reference!r} is a pickle that would import and run {listed(found.code)}",
                hint="save weights with torch.save(model.state_dict(), …) or the model with "
                f"torch.export.save; {trust}",
            )
    elif found.code and not options.trusted:
        raise UntrustedModelError(
            f"{reference!r} holds what would run as code: {listed(found.code)}", hint=trust
        )
    if found.kind in ("torchscript", "module") and not options.shapes:
        raise UsageError(
            f"{reference!r} does not say what inputs it takes",
            hint="give the shape of each, for example --shape x=1,3,224,224",
        )


def check_weights(path: Path) -> None:
    """Raise ModelError if `path` is not a file of weights and nothing else."""
    found = examine(path)
    if found.kind in ("weights", "safetensors"):
        return
    what = {
        "pt2": "is a whole program, not weights",
        "torchscript": f"is {LEGACY}, not weights",
        "module": f"holds more than tensors: it would import and run {listed(found.code)}",
    }[found.kind]
    raise ModelError(
        f"{str(path)!r} {what}",
        hint="save the weights with torch.save(model.state_dict(), 'weights.pt')",
    )


def listed(names: tuple[str, ...]) -> str:
    """The first few of `names`, and how many more there are."""
    unique = list(dict.fromkeys(names))
    shown = ", ".join(unique[:4])
    return shown if len(unique) <= 4 else f"{shown} and {len(unique) - 4} more"
