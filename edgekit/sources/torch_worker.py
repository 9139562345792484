"""The worker's side of PyTorch models: load them, describe them, run them.

torch is only imported inside the functions here, which run in a worker process of the kind "torch".
A model stays loaded there for the next step on it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import types
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError, ModelError, UntrustedModelError
from edgekit.core.files import sha256_file
from edgekit.core.model import Model
from edgekit.core.registry import resolve_own
from edgekit.core.tensor import Signature
from edgekit.sources.functions import function_in
from edgekit.sources.torch_files import examine
from edgekit.sources.torch_fix import Fixed, fix
from edgekit.sources.torch_words import translated

RAW = ("data/weights/weight_", "data/constants/tensor_")
_loaded: dict[str, TorchModel] = {}


def inspect(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """Load the model; `Source.inspect` says what comes back."""
    return {"signature": load(Model.from_json(model)).signature.to_json()}


def load(model: Model) -> TorchModel:
    """The live model; a `LoadedModel`. The one loaded last in this process is kept.

    Raises:
        ModelError: it does not load, a dimension is open, it holds to another batch, …
        UntrustedModelError: it would run code, and the handle is not trusted.
    """
    key = _key(model)
    if key not in _loaded:
        with _held(model) as file:
            program = read_program(model, file)
        with translated(model.reference):
            loaded = TorchModel(fix(model, program))
        _loaded.clear()  # one at a time: models are large
        _loaded[key] = loaded
    return _loaded[key]


def _key(model: Model) -> str:
    return model.model_copy(update={"path": "", "reference": "", "name": ""}).fingerprint()


@contextmanager
def _held(model: Model) -> Iterator[Path]:
    """The model's file; where nobody trusts it a copy, which cannot change while it is looked at.

    Raises:
        ModelError: it is no more what it was when it was opened.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = model.file
        try:
            if not model.trusted:
                file = Path(shutil.copyfile(file, Path(folder) / "program.pt2"))
            same = sha256_file(file) == model.digest
        except OSError as exc:
            raise ModelError(f"cannot read {model.reference!r}: {exc.strerror or exc}") from exc
        if not same:
            raise ModelError(
                f"{model.reference!r} was changed while it was being converted",
                hint="wait until it is written, then run the command again",
            )
        yield file


def read_program(model: Model, file: Path) -> Any:
    """The ExportedProgram of a ``.pt2`` file, as it was saved."""
    import torch

    torch.set_num_threads(1)  # the same sums in the same order every time
    found = examine(file)
    if found.kind != "pt2":
        raise ModelError(f"{model.reference!r} is not a program of torch.export")
    if not model.trusted:
        if found.code:
            raise UntrustedModelError(
                f"{model.reference!r} holds what would run as code: {', '.join(found.code[:4])}",
                hint="if you trust where it comes from, give --trust-code",
            )
        refuse_two_faced(file, model.reference)
    with _tensors_only(model.trusted):
        try:
            program = _read(model, file)
        except EdgekitError:
            function = function_in(model.reference)
            if function is None:
                raise
            resolve_own(function)  # its module may register operators that the program needs
            program = _read(model, file)
    program._guards_code = []  # Python source; ranges of sizes are kept apart from it
    return program


def _read(model: Model, file: Path) -> Any:
    import torch

    with translated(model.reference):
        return torch.export.load(file)


@contextmanager
def _tensors_only(trusted: bool) -> Iterator[None]:
    """torch.export.load reads pickles a second time without limits where the first one fails."""
    variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(variable)
    os.environ[variable] = "0" if trusted else "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def refuse_two_faced(path: Path, reference: str) -> None:
    """Raise ModelError if torch's zip reader sees other members than Python's, which was asked."""
    import torch

    with translated(reference):
        reader = torch._C.PyTorchFileReader(str(path))
        records = set(reader.get_all_records())
        with zipfile.ZipFile(path) as archive:
            members = {name.partition("/")[2]: name for name in archive.namelist()}
            same = records == {name for name in members if name and not name.endswith("/")}
            if same:
                read = [name for name in records if not name.startswith(RAW)]
                same = all(reader.get_record(n) == archive.read(members[n]) for n in read)
    if not same:
        raise ModelError(f"{reference!r} is a zip archive that two programs read differently")


class TorchModel:
    """A program of fixed sizes, or of some in a range; a `LoadedModel`.

    Attributes:
        program: the ``ExportedProgram``; each operation knows the user's layer it came from
            (``nn_module_stack``).
        module: it as an ``nn.Module`` in eval mode: the signature's inputs by position, a tuple of
            tensors in the order of the signature's outputs.
        example: zeros of the signature's shapes and types.
    """

    def __init__(self, fixed: Fixed) -> None:
        self.program: Any = fixed.program
        self.signature: Signature = fixed.signature
        self.example: tuple[Any, ...] = fixed.example
        self.module: Any = _in_eval_mode(fixed.program.module(check_guards=False))

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name; `inputs` of shape (samples, …). One sample at a time."""
        import numpy as np

        arrays = self._ordered(inputs)
        count = max((len(array) for array in arrays if array.ndim), default=1)
        parts: list[list[Any]] = [[] for _ in self.signature.outputs]
        for index in range(count):
            answers = self._call(self._sample(arrays, index))
            for part, answer in zip(parts, answers, strict=True):
                part.append(answer.numpy())
        return {
            spec.name: np.concatenate(part) if part[0].ndim else np.stack(part)
            for spec, part in zip(self.signature.outputs, parts, strict=True)
        }

    def layers(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What each submodule gives for the first sample, as they finish.

        A submodule that is used several times is called ``name@1`` from the second time on. Where
        none of the operations is in a submodule, they have the names that the graph gives them.
        """
        import torch
        from torch.fx import Interpreter

        found: dict[str, Any] = {}
        single: dict[str, Any] = {}

        class Watching(Interpreter):  # type: ignore[misc, unused-ignore]
            def run_node(self, node: Any) -> Any:
                value = super().run_node(node)
                # Of a layer with several outputs (an LSTM) the first one counts.
                later = str(node.target).endswith("getitem>") or node.name.startswith("getitem")
                first = not later or node.args[1] == 0
                if node.op != "call_function" or not isinstance(value, torch.Tensor) or not first:
                    return value
                name = _layer_of(node)
                if name:
                    found.pop(name, None)  # its place is where it ends
                    found[name] = value
                else:
                    single[node.name] = value
                return value

        tensors = self._sample(self._ordered(inputs), 0)
        with torch.no_grad():
            Watching(self.module).run(*tensors, enable_io_processing=False)
        return {name: value.numpy() for name, value in (found or single).items()}

    def _call(self, tensors: list[Any]) -> Any:
        import torch

        with torch.no_grad():
            return self.module(*tensors)

    def _ordered(self, inputs: Mapping[str, Any]) -> list[Any]:
        import numpy as np

        missing = [spec.name for spec in self.signature.inputs if spec.name not in inputs]
        if missing:
            raise ModelError(
                f"no data for input {missing[0]!r}; given: {', '.join(inputs) or 'none'}"
            )
        return [np.asarray(inputs[spec.name]) for spec in self.signature.inputs]

    def _sample(self, arrays: list[Any], index: int) -> list[Any]:
        import numpy as np
        import torch

        tensors = []
        for array, like, spec in zip(arrays, self.example, self.signature.inputs, strict=True):
            row = array[index : index + 1] if array.ndim else array
            copied = torch.from_numpy(np.array(row, order="C")).to(like.dtype)
            tensors.append(copied if spec.open else copied.reshape(like.shape))
        return tensors


def _in_eval_mode(module: Any) -> Any:
    """A program's mode is fixed as it is exported; torch refuses to be asked for the one it has."""
    for part in module.modules():
        part.training = False
    module.eval = types.MethodType(_itself, module)
    return module


def _itself(module: Any) -> Any:
    return module


def _layer_of(node: Any) -> str:
    """The innermost of the user's modules that the operation is in."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    return paths[-1] if paths else ""
