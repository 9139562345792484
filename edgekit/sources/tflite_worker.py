"""The worker's side of TFLite files: their signature, and runs with LiteRT's own kernels.

Runs in a worker process of the kind "litert", without delegates: what they compute is what is
compared with this.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError, ModelError
from edgekit.core.failures import said
from edgekit.core.model import Model
from edgekit.core.tensor import Quantization, Signature, TensorSpec

IDENTIFIER = b"TFL3"
_loaded: dict[str, TFLiteModel] = {}


def inspect(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """Load the model; `Source.inspect` says what comes back."""
    return {"signature": load(Model.from_json(model)).signature.to_json()}


def load(model: Model) -> TFLiteModel:
    """The live model; a `LoadedModel`. The one loaded last in this process is kept.

    Raises:
        ModelError: LiteRT does not take it, or its dimensions are open.
    """
    key = model.model_copy(update={"path": "", "reference": "", "name": ""}).fingerprint()
    if key not in _loaded:
        made = TFLiteModel(model)
        _loaded.clear()  # one at a time: models are large
        _loaded[key] = made
    return _loaded[key]


class TFLiteModel:
    """The main graph of a TFLite file with fixed shapes; a `LoadedModel`.

    Attributes:
        content: the file's bytes, or where it left dimensions open or kept weights behind the
            flatbuffer, a flatbuffer that does neither.
        signature: as in the file: a quantized border is of an integer type, with its scale.
    """

    def __init__(self, model: Model) -> None:
        self._reference = model.reference
        content = Path(model.path).read_bytes()
        if hashlib.sha256(content).hexdigest() != model.digest:
            raise ModelError(
                f"{model.reference!r} was changed while it was being converted",
                hint="wait until it is written, then run the command again",
            )
        with _whole(model.reference):
            tree = _tree(content)
            graph = tree.subgraphs[0]
            name, inputs, outputs = _borders(tree)
            self._executed = [
                (int(index), _text(graph.tensors[int(index)].name))
                for operator in graph.operators
                for index in operator.outputs
            ]
            shapes = _fixed(model, graph, inputs)
            inlined = _inline(tree, content)
        with _translated(model.reference, "does not load in LiteRT"):
            self._interpreter = _interpreter(content, shapes)
            if any(_is_open(graph.tensors[index]) for index in outputs.values()):
                self._interpreter.invoke()  # only then are their shapes known
        details = {each["index"]: each for each in self._interpreter.get_tensor_details()}
        if shapes or inlined:
            _settle(graph, details, set(shapes))
            content = _packed(tree)
        self.content = content
        self._shapes = shapes
        self._inputs, self._outputs = inputs, outputs
        self.signature = Signature(
            name=name,
            inputs=tuple(self._spec(name, details[index]) for name, index in inputs.items()),
            outputs=tuple(self._spec(name, details[index]) for name, index in outputs.items()),
        )
        self._probe: Any = None

    def _spec(self, name: str, detail: Mapping[str, Any]) -> TensorSpec:
        import numpy as np

        dtype = np.dtype(detail["dtype"])
        if dtype.kind not in "fiub":
            raise ModelError(f"{self._reference!r}: {name!r} is {dtype.name}, not numbers")
        return TensorSpec(
            name=name,
            shape=tuple(int(side) for side in detail["shape"]),
            dtype=dtype.name,
            quantization=_quantization(detail),
        )

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name, in the file's own types; `inputs` of shape (samples, …), one by one."""
        import numpy as np

        parts: dict[str, list[Any]] = {spec.name: [] for spec in self.signature.outputs}
        for _ in self._samples(self._interpreter, inputs):
            for name, index in self._outputs.items():
                answer = self._interpreter.get_tensor(index)
                parts[name].append(answer if answer.ndim else answer[np.newaxis])
        return {name: np.concatenate(part) for name, part in parts.items()}

    def layers(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What every operator gives, in real numbers, by the tensor's name, as they execute."""
        import numpy as np

        if self._probe is None:
            with _translated(self._reference, "does not load in LiteRT"):
                self._probe = _interpreter(self.content, self._shapes, keep=True)
        details = {each["index"]: each for each in self._probe.get_tensor_details()}
        parts: dict[str, list[Any]] = {}
        for _ in self._samples(self._probe, inputs):
            seen: set[str] = set()
            for index, name in self._executed:
                value = _real(self._probe, index, details[index])
                if value is not None and name not in seen:
                    seen.add(name)
                    parts.setdefault(name, []).append(value if value.ndim else value[np.newaxis])
        return {name: np.concatenate(part) for name, part in parts.items()}

    def _samples(self, interpreter: Any, inputs: Mapping[str, Any]) -> Iterator[int]:
        """Run each sample; the answers are in the interpreter while the caller looks."""
        import numpy as np

        missing = [name for name in self._inputs if name not in inputs]
        if missing:
            raise ModelError(
                f"no data for input {missing[0]!r}; given: {', '.join(inputs) or 'none'}"
            )
        count = len(next(iter(inputs.values())))
        for row in range(count):
            with _translated(self._reference, "fails to run in LiteRT"):
                interpreter.reset_all_variables()  # no sample may see what another left
                for spec in self.signature.inputs:
                    sides = [side or 0 for side in spec.shape]  # none is open here
                    value = np.asarray(inputs[spec.name][row], dtype=spec.dtype).reshape(sides)
                    interpreter.set_tensor(self._inputs[spec.name], value)
                interpreter.invoke()
            yield row


# -------------------------------------------------------------------------- the flatbuffer


def _tree(content: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    tree = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = tree.subgraphs[0]
    if not (len(graph.inputs) and len(graph.outputs) and len(graph.operators)):
        raise ValueError("no inputs, no outputs or no operators")
    return tree


@contextmanager
def _whole(reference: str) -> Iterator[None]:
    """What reading a damaged flatbuffer raises becomes a ModelError; it depends on the place."""
    try:
        yield
    except (struct.error, ValueError, TypeError, IndexError, AttributeError) as exc:
        raise ModelError(
            f"{reference!r} is not a whole TFLite file: {said(exc)}",
            hint="copy it again and compare the sizes, or convert the model again",
        ) from exc


def _borders(tree: Any) -> tuple[str, dict[str, int], dict[str, int]]:
    """The signature's name and the tensors of inputs and outputs by name, in its order.

    A file without a signature of its main graph has its tensors' names.
    """
    graph = tree.subgraphs[0]
    for definition in tree.signatureDefs or []:
        if definition.subgraphIndex == 0 and definition.inputs and definition.outputs:
            inputs, outputs = (
                {_text(entry.name): int(entry.tensorIndex) for entry in entries}
                for entries in (definition.inputs, definition.outputs)
            )
            if set(inputs.values()) == set(map(int, graph.inputs)):
                return _text(definition.signatureKey) or "serving_default", inputs, outputs
    return "serving_default", _named(graph, graph.inputs), _named(graph, graph.outputs)


def _named(graph: Any, indices: Sequence[int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for index in map(int, indices):
        name = re.sub(r":\d+$", "", _text(graph.tensors[index].name))
        name = base = name.removeprefix("serving_default_") or f"tensor_{index}"
        count = 0
        while name in found:
            count += 1
            name = f"{base}_{count}"
        found[name] = index
    return found


def _sides(tensor: Any) -> list[int]:
    """Sizes with -1 for those that are open."""
    given = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return [] if given is None else [int(side) for side in given]


def _is_open(tensor: Any) -> bool:
    return any(side < 0 for side in _sides(tensor))


def _fixed(model: Model, graph: Any, inputs: Mapping[str, int]) -> dict[int, list[int]]:
    """Shapes of the inputs that the file leaves open, by tensor; the batch is 1.

    Raises:
        ModelError: an open dimension has no size, or a size is given that does not fit.
    """
    unknown = sorted(set(model.shapes) - set(inputs))
    if unknown:
        raise ModelError(
            f"{model.reference!r} has no input called {unknown[0]!r}; "
            f"its inputs: {', '.join(inputs)}"
        )
    found: dict[int, list[int]] = {}
    for name, index in inputs.items():
        sides = before = _sides(graph.tensors[index])
        given = model.shapes.get(name)
        if given is not None:
            wanted = list(given) if len(given) == len(sides) else [1, *given]
            if len(wanted) != len(sides) or any(
                side not in (-1, want) for side, want in zip(sides, wanted, strict=True)
            ):
                raise ModelError(
                    f"input {name!r} is {_words(before)}; it cannot be {_words(given)}"
                )
            sides = wanted
        if sides and sides[0] < 0:
            sides = [1, *sides[1:]]
        if any(side < 0 for side in sides):
            example = ",".join(str(side) if side > 0 else "SIZE" for side in sides)
            raise ModelError(
                f"input {name!r} of {model.reference!r} has open dimensions: {_words(before)}",
                # Quoted, as people paste it into a shell.
                hint=f"give its shape: --shape {shlex.quote(f'{name}={example}')}",
            )
        if sides and sides[0] != 1:
            raise ModelError(
                f"input {name!r} of {model.reference!r} has a fixed batch of {sides[0]}: "
                f"{_words(sides)}",
                hint="edgekit makes artifacts for a batch of 1; convert the model again with that",
            )
        if sides != before:
            found[index] = sides
    return found


def _inline(tree: Any, content: bytes) -> bool:
    """Take in weights that lie behind the flatbuffer; whether there were some."""
    import numpy as np

    found = False
    for buffer in tree.buffers:
        if buffer.offset > 1:
            if buffer.offset + buffer.size > len(content):
                raise ValueError("weights behind the flatbuffer are cut off")
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
            found = True
    for operator in (op for graph in tree.subgraphs for op in graph.operators):
        if operator.largeCustomOptionsOffset > 1:
            size, start = operator.largeCustomOptionsSize, operator.largeCustomOptionsOffset
            operator.customOptions = np.frombuffer(content, np.uint8, size, start)
            operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
            found = True
    return found


def _settle(graph: Any, details: Mapping[int, Mapping[str, Any]], opened: set[int]) -> None:
    """Write the shapes that tensors have now, where the file left inputs open."""
    if not opened:
        return
    for index, tensor in enumerate(graph.tensors):
        if index in details and tensor.shape is not None:
            tensor.shape = [int(side) for side in details[index]["shape"]]
        tensor.shapeSignature = None


def _packed(tree: Any) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(tree.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


# ------------------------------------------------------------------------------ running


def _interpreter(content: bytes, shapes: Mapping[int, list[int]], *, keep: bool = False) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    made = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=keep,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    for index, shape in shapes.items():
        made.resize_tensor_input(index, shape)
    made.allocate_tensors()
    return made


def _real(interpreter: Any, index: int, detail: Mapping[str, Any]) -> Any:
    """A tensor's value as real numbers; None if it has none or means whole numbers."""
    import numpy as np

    try:
        value = interpreter.get_tensor(index)
    except ValueError:  # never written
        return None
    if value.dtype.kind == "f":
        return value
    quantization = _quantization(detail)
    if quantization is None:
        return None
    shape = [1] * value.ndim
    if quantization.axis is not None:
        shape[quantization.axis] = len(quantization.scale)
    scale = np.array(quantization.scale, np.float32).reshape(shape)
    zero = np.array(quantization.zero_point, np.int64).reshape(shape)
    return (value.astype(np.int64) - zero).astype(np.float32) * scale


def _quantization(detail: Mapping[str, Any]) -> Quantization | None:
    given = detail["quantization_parameters"]
    scales = tuple(float(value) for value in given["scales"])
    if not scales:
        return None
    return Quantization(
        scale=scales,
        zero_point=tuple(int(value) for value in given["zero_points"]),
        axis=int(given["quantized_dimension"]) if len(scales) > 1 else None,
    )


def _words(shape: Sequence[int]) -> str:
    return "×".join("?" if side < 0 else str(side) for side in shape) or "scalar"


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")


# ------------------------------------------------------------------------------- errors

_CUSTOM = re.compile(r"unresolved custom op: (\S+)|Op type not registered '(\w+)'")
_FLEX = re.compile(r"Select TensorFlow op\(s\)|Node number \d+ \((Flex\w+)\)")


@contextmanager
def _translated(reference: str, what: str) -> Iterator[None]:
    """Whatever LiteRT raises becomes a ModelError."""
    try:
        yield
    except (EdgekitError, MemoryError):
        raise
    except Exception as exc:
        text = said(exc)
        custom = _CUSTOM.search(text)
        if custom or _FLEX.search(text):
            name = next((part for part in custom.groups() if part), "") if custom else ""
            raise ModelError(
                f"{reference!r} uses operators that LiteRT does not have"
                + (f": {name.rstrip('.')}" if name else " (TensorFlow's own)"),
                hint="convert the model again without them",
            ) from exc
        raise ModelError(
            f"{reference!r} {what}: {text}",
            hint="check that it loads in LiteRT, or convert the model again",
        ) from exc
