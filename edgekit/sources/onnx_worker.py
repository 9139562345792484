"""The worker's side of ONNX models: load them, fix their shapes, run them with ONNX Runtime.

Runs in a worker process of the kind "onnx". A model stays loaded there for the next step on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError, ModelError, UsageError
from edgekit.core.files import sha256_with
from edgekit.core.model import Model
from edgekit.core.tensor import OpenAxis, Signature, TensorSpec
from edgekit.sources import onnx_nms
from edgekit.sources.onnx_files import examine
from edgekit.sources.onnx_fix import dtype_of, fix, words_of
from edgekit.sources.options import suppression

# What holds no value of a layer of its own.
_NO_LAYERS = frozenset({"Constant", "Identity", "Cast", "ConstantOfShape"})
_loaded: dict[str, ONNXModel] = {}


def inspect(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """Load the model; `Source.inspect` says what comes back."""
    return {"signature": load(Model.from_json(model)).signature.to_json()}


def load(model: Model) -> ONNXModel:
    """The live model; a `LoadedModel`. The one loaded last in this process is kept.

    Raises:
        ModelError: not a valid model, or its dimensions are open.
        UsageError: a form that an input cannot take.
    """
    key = model.model_copy(update={"path": "", "reference": "", "name": ""}).fingerprint()
    if key not in _loaded:
        made = ONNXModel(model)
        _loaded.clear()  # one at a time: models are large
        _loaded[key] = made
    return _loaded[key]


class ONNXModel:
    """An ONNX graph with fixed shapes, or some in a range; a `LoadedModel`.

    Attributes:
        proto: the ``ModelProto`` with a batch of 1, open where a range was given, its inputs in
            the forms that the user asked for.
        files: names of the files beside the model that hold its weights.
    """

    def __init__(self, model: Model) -> None:
        import onnx
        import onnx.inliner

        self._reference = model.reference
        path = Path(model.path)
        found = examine(path)
        self.files = found.files
        with _translated(model.reference, "cannot be read"):
            proto = onnx.load(path)
        if sha256_with(path, found.files) != model.digest:
            raise ModelError(
                f"{model.reference!r} was changed while it was being converted",
                hint="wait until it is written, then run the command again",
            )
        with _translated(model.reference, "is not valid ONNX"):
            onnx.checker.check_model(proto, full_check=True)
            if proto.functions:
                proto = onnx.inliner.inline_local_functions(proto)
        if model.nms and model.ranges:
            raise UsageError(
                f"--nms {model.nms} goes with sizes that are fixed",
                hint="give one size for every open dimension: --dim NAME=SIZE",
            )
        fix(model, proto)
        with _translated(model.reference, "does not work with these sizes"):
            proto = _inferred(proto)
            if model.nms:
                onnx_nms.apply(model.reference, proto, suppression(model.nms))
                proto = _inferred(proto)
            self._session = _session(proto)
        inputs = tuple(_spec(value, model.ranges) for value in proto.graph.input)
        ends = _settle_outputs(proto, self._session, inputs, model)
        self.proto = proto
        self.signature = Signature(
            inputs=inputs,
            outputs=tuple(
                _spec(value, {**model.ranges, **ends.get(value.name, {})})
                for value in proto.graph.output
            ),
        )
        self._probe: Any = None

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs by name; `inputs` of shape (samples, …), run one by one."""
        return self._each(self._session, [spec.name for spec in self.signature.outputs], inputs)

    def layers(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What every node gives in real numbers, by the name of its output, as they execute."""
        if self._probe is None:
            self._probe = _probe(self.proto)
        names = [value.name for value in self._probe.get_outputs()]
        return self._each(self._probe, names, inputs)

    def _each(
        self, session: Any, names: Sequence[str], inputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        import numpy as np

        arrays = _ordered(inputs, self.signature)
        parts: list[list[Any]] = [[] for _ in names]
        for index in range(len(arrays[0])):
            feeds = {
                spec.name: np.ascontiguousarray(array[index], dtype=spec.dtype).reshape(
                    (1, *array.shape[1:]) if spec.open else _sizes(spec)
                )
                for spec, array in zip(self.signature.inputs, arrays, strict=True)
            }
            with _translated(self._reference, "fails to run"):
                answers = session.run(names, feeds)
            for part, answer in zip(parts, answers, strict=True):
                part.append(answer if answer.ndim else answer[np.newaxis])
        return {name: np.concatenate(part) for name, part in zip(names, parts, strict=True)}


def _ordered(inputs: Mapping[str, Any], signature: Signature) -> list[Any]:
    missing = [spec.name for spec in signature.inputs if spec.name not in inputs]
    if missing:
        raise ModelError(f"no data for input {missing[0]!r}; given: {', '.join(inputs) or 'none'}")
    return [inputs[spec.name] for spec in signature.inputs]


def _inferred(proto: Any) -> Any:
    import onnx

    return onnx.shape_inference.infer_shapes(
        proto, check_type=True, strict_mode=True, data_prop=True
    )


def _session(proto: Any, *, optimized: bool = True) -> Any:
    """One thread, so that the same numbers come out every time."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = (
        level.ORT_ENABLE_BASIC if optimized else level.ORT_DISABLE_ALL
    )
    return ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _probe(proto: Any) -> Any:
    """A session whose outputs are all inner values in real numbers."""
    from onnx import helper

    copy = type(proto).FromString(proto.SerializeToString())
    graph = copy.graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    del graph.output[:]
    for node in graph.node:
        if node.op_type in _NO_LAYERS:
            continue
        for name in node.output:
            kind = kinds.get(name, 0)
            if name and (dtype_of(kind) or "").startswith("float"):
                graph.output.append(helper.make_tensor_value_info(name, kind, None))
    return _session(copy, optimized=False)


# ---------------------------------------------------------------------------- signature


def _spec(value: Any, ranges: Mapping[str, tuple[int, int]]) -> TensorSpec:
    """An input or output; `ranges` are those of open dimensions, by the name in the graph."""
    tensor = value.type.tensor_type
    dims = list(tensor.shape.dim)
    return TensorSpec(
        name=value.name,
        shape=tuple(
            ranges[dim.dim_param][1] if dim.dim_param in ranges else dim.dim_value for dim in dims
        ),
        dtype=dtype_of(tensor.elem_type) or "str",
        open=tuple(
            OpenAxis(axis=axis, name=dim.dim_param, least=low, largest=high)
            for axis, dim in enumerate(dims)
            if dim.dim_param in ranges
            for low, high in [ranges[dim.dim_param]]
        ),
    )


def _sizes(spec: TensorSpec) -> list[int]:
    return [size or 0 for size in spec.shape]  # none is open here


def _settle_outputs(
    proto: Any, session: Any, inputs: Sequence[TensorSpec], model: Model
) -> dict[str, dict[str, tuple[int, int]]]:
    """Give outputs whose shape inference does not find the shape that they have when run.

    Returns:
        For outputs with sizes that follow from open ones in another way than being equal: the
        ranges of these, by the names that they have in the graph.

    Raises:
        ModelError: it is no array, or its size depends on the data.
    """
    for value in proto.graph.output:
        if dtype_of(value.type.tensor_type.elem_type) is None:
            raise ModelError(f"{model.reference!r}: its output {value.name!r} is not an array")
    if all(_known(value, model.ranges) for value in proto.graph.output):
        return {}
    least = {name: low for name, (low, _) in model.ranges.items()}
    with _translated(model.reference, "fails to run"):
        first, second = (
            [answer.shape for answer in session.run(None, _made_up(inputs, high))]
            for high in (0, 1)
        )
        ends = first
        if least:
            ends = [answer.shape for answer in session.run(None, _made_up(inputs, 0, least))]
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for value, once, again, end in zip(proto.graph.output, first, second, ends, strict=True):
        if _known(value, model.ranges):
            continue
        if once != again or 0 in once or len(end) != len(once):
            kinds = {node.op_type for node in proto.graph.node}
            cause = sorted(kinds & {"NonMaxSuppression", "NonZero", "TopK", "Unique", "Compress"})
            raise ModelError(
                f"output {value.name!r} of {model.reference!r} has a size that depends on the data"
                + (f" ({', '.join(cause)}): {words_of(value)}" if cause else ""),
                hint="leave that to the device (--nms outside) or fix its size (--nms inside)"
                if onnx_nms.OPERATOR in cause
                else "export the model without that last part, and do that on the device after it",
            )
        found[value.name] = _settle(value, once, end, model.ranges)
    return found


def _settle(
    value: Any, largest: Sequence[int], least: Sequence[int], ranges: Mapping[str, Any]
) -> dict[str, tuple[int, int]]:
    """Write an output's shape; ranges of its sizes that are no dimension of an input's, by name."""
    from onnx import helper

    tensor = value.type.tensor_type
    named = [dim.dim_param for dim in tensor.shape.dim] or [""] * len(largest)
    shape: list[int | str] = []
    found: dict[str, tuple[int, int]] = {}
    for axis, (low, high) in enumerate(zip(least, largest, strict=True)):
        if low == high:
            shape.append(high)
        elif named[axis] in ranges:
            shape.append(named[axis])
        else:
            shape.append(named[axis] or f"{value.name}_{axis}")
            found[str(shape[-1])] = (min(low, high), max(low, high))
    value.CopyFrom(helper.make_tensor_value_info(value.name, tensor.elem_type, shape))
    return found


def _known(value: Any, ranges: Mapping[str, Any]) -> bool:
    tensor = value.type.tensor_type
    return tensor.HasField("shape") and all(
        dim.dim_value > 0 or dim.dim_param in ranges for dim in tensor.shape.dim
    )


def _made_up(
    inputs: Sequence[TensorSpec], high: int, sizes: Mapping[str, int] | None = None
) -> dict[str, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    feeds = {}
    for spec in inputs:
        real = spec.dtype.startswith("float")
        shape = [size or 0 for size in spec.at(sizes or {})]
        numbers = rng.normal(size=shape) * high if real else np.zeros(shape)
        feeds[spec.name] = numbers.astype(spec.dtype)
    return feeds


# ------------------------------------------------------------------------------- errors

_NO_OPERATOR = re.compile(r"No Op registered for (\w+) with domain_version of (\d+)")


@contextmanager
def _translated(reference: str, what: str) -> Iterator[None]:
    """Whatever ONNX and ONNX Runtime raise becomes a ModelError."""
    try:
        yield
    except (EdgekitError, MemoryError):
        raise
    except Exception as exc:
        text = " ".join(str(exc).split())
        unknown = _NO_OPERATOR.search(text)
        if unknown:
            raise ModelError(
                f"{reference!r} uses an operator that ONNX does not have: {unknown[1]} "
                f"(operator set {unknown[2]})",
                hint="export the model without it: no converter knows what it computes",
            ) from exc
        raise ModelError(
            f"{reference!r} {what}: {text[:300] or type(exc).__name__}",
            hint="check that it opens in ONNX Runtime, and export it again",
        ) from exc
