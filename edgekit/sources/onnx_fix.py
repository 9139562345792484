"""An ONNX graph as given → the same with every dimension fixed or in the range that the user gave,
and its inputs in the user's form.

Runs in a worker process of the kind "onnx".
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgekit.core.errors import ModelError, UsageError
from edgekit.core.model import InputForm, Model

_FLOATS = ("float32", "float16", "float64")


def fix(model: Model, proto: Any) -> None:
    """Change `proto` in place: initializers are no inputs, functions are inlined by the caller.

    Raises:
        ModelError: an open dimension has no size, or a size is given that does not fit.
        UsageError: a form that an input cannot take.
    """
    drop_initializers(proto)
    _fix_inputs(model, proto)
    made = {name for node in proto.graph.node for name in node.output}
    for value in proto.graph.output:
        if value.name not in made:
            raise ModelError(
                f"{model.reference!r}: its output {value.name!r} is an input or a constant",
                hint="export it without that output, or with an Identity before it",
            )
    unknown = sorted(set(model.forms) - {"", *(value.name for value in proto.graph.input)})
    if unknown:
        raise ModelError(_no_input(model, unknown[0], proto))
    for value in proto.graph.input:
        form = model.form(value.name, len(value.type.tensor_type.shape.dim))
        if form is not None:
            _put_in_front(proto, value, form)


def drop_initializers(proto: Any) -> None:
    """Files of old versions list the weights as inputs with a default, which nobody sets."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    weights |= {sparse.values.name for sparse in proto.graph.sparse_initializer}
    kept = [value for value in proto.graph.input if value.name not in weights]
    if len(kept) != len(proto.graph.input):
        copies = [type(value).FromString(value.SerializeToString()) for value in kept]
        del proto.graph.input[:]
        proto.graph.input.extend(copies)


# --------------------------------------------------------------------------- dimensions


def _fix_inputs(model: Model, proto: Any) -> None:
    inputs = list(proto.graph.input)
    if not inputs:
        raise ModelError(f"{model.reference!r} has no input")
    for value in inputs:
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type") or dtype_of(tensor.elem_type) is None:
            raise ModelError(f"{model.reference!r}: its input {value.name!r} is not an array")
        if not tensor.HasField("shape"):
            raise ModelError(
                f"{model.reference!r}: nothing tells the rank of its input {value.name!r}",
                hint="export it with the shapes of its inputs",
            )
    unknown = sorted(set(model.shapes) - {value.name for value in inputs})
    if unknown:
        raise ModelError(_no_input(model, unknown[0], proto))
    sizes = _named_sizes(model, inputs)
    for value in inputs:
        shape = _fixed(model, value, sizes)
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param in model.ranges:
                if axis == 0:
                    raise ModelError(
                        f"the dimension {dim.dim_param!r} of {model.reference!r} is the first of "
                        f"input {value.name!r}: that is the batch, which is 1 in every artifact"
                    )
                continue
            dim.Clear()
            dim.dim_value = shape[axis]
    # What the file says of other shapes was said for open sizes: it is found anew.
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")


def _named_sizes(model: Model, inputs: Sequence[Any]) -> dict[str, int]:
    """Sizes of dimensions that have a name, which is one size wherever it stands."""
    names = {dim.dim_param for value in inputs for dim in _dims(value) if dim.dim_param}
    unknown = sorted(set(model.dims) - names)
    if unknown:
        raise ModelError(
            f"{model.reference!r} has no open dimension called {unknown[0]!r}; "
            f"its open dimensions: {', '.join(sorted(names)) or 'none with a name'}"
        )
    sizes = {name: size for name, (_, size) in model.dims.items()}
    for value in inputs:
        given = model.shapes.get(value.name)
        if given is None:
            continue
        for dim, size in zip(_dims(value), _full(model, value, given), strict=True):
            if dim.dim_param and sizes.setdefault(dim.dim_param, size) != size:
                raise ModelError(
                    f"the dimension {dim.dim_param!r} of {model.reference!r} cannot be both "
                    f"{sizes[dim.dim_param]} and {size}"
                )
    for value in inputs:
        first = _dims(value)[:1]
        if first and first[0].dim_param:
            sizes.setdefault(first[0].dim_param, 1)
    return sizes


def _fixed(model: Model, value: Any, sizes: Mapping[str, int]) -> list[int]:
    given = model.shapes.get(value.name)
    wanted: Sequence[int | None] = (
        [None] * len(_dims(value)) if given is None else _full(model, value, given)
    )
    shape: list[int] = []
    for index, (dim, size) in enumerate(zip(_dims(value), wanted, strict=True)):
        found = dim.dim_value or sizes.get(dim.dim_param) or size or (1 if index == 0 else None)
        if found is None or found < 1:
            raise _open(model, value, dim)
        shape.append(found)
    if shape and shape[0] != 1:
        raise ModelError(
            f"input {value.name!r} of {model.reference!r} has a fixed batch of {shape[0]}: "
            f"{words_of(value)}",
            hint="edgekit makes artifacts for a batch of 1, in the first dimension; "
            "export the model with that, or with an open batch",
        )
    return shape


def _open(model: Model, value: Any, dim: Any) -> ModelError:
    if dim.dim_param:
        return ModelError(
            f"the dimension {dim.dim_param!r} of {model.reference!r} is open: input {value.name!r} "
            f"is {words_of(value)}",
            hint=f"give its size: --dim {shlex.quote(f'{dim.dim_param}=SIZE')}",
        )
    sizes = [str(each.dim_value or (1 if not index else "SIZE"))
             for index, each in enumerate(_dims(value))]  # fmt: skip
    given = shlex.quote(f"{value.name}={','.join(sizes)}")  # people paste it into a shell
    return ModelError(
        f"input {value.name!r} of {model.reference!r} has open dimensions without a name: "
        f"{words_of(value)}",
        hint=f"give its shape: --shape {given}",
    )


def _full(model: Model, value: Any, given: Sequence[int]) -> list[int]:
    """The given shape with its batch; it has to fit the sizes that the file fixes."""
    dims = _dims(value)
    shape = list(given) if len(given) == len(dims) else [1, *given]
    if len(shape) != len(dims) or any(
        dim.dim_value not in (0, size) for dim, size in zip(dims, shape, strict=True)
    ):
        said = "×".join(map(str, given))
        raise ModelError(f"input {value.name!r} is {words_of(value)}; it cannot be {said}")
    return shape


def _dims(value: Any) -> list[Any]:
    return list(value.type.tensor_type.shape.dim)


def words_of(value: Any) -> str:
    """``N×3×?×?``"""
    sizes = [str(dim.dim_value or dim.dim_param or "?") for dim in _dims(value)]
    return "×".join(sizes) or "scalar"


def _no_input(model: Model, name: str, proto: Any) -> str:
    names = ", ".join(value.name for value in proto.graph.input)
    return f"{model.reference!r} has no input called {name!r}; its inputs: {names}"


def dtype_of(kind: int) -> str | None:
    """numpy's name of an ONNX element type; None for text and what numpy does not have."""
    import numpy as np
    from onnx import helper

    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
    except KeyError:
        return None
    return dtype.name if dtype.kind in "fiub" else None


# -------------------------------------------------------------------------------- forms


def _put_in_front(proto: Any, value: Any, form: InputForm) -> None:
    """Nodes from the input in the user's form to what the model takes; the name stays outside."""
    from onnx import TensorProto, helper

    tensor = value.type.tensor_type
    kind = tensor.elem_type
    # The name where it stays open, which is no axis of channels.
    shape: list[Any] = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
    own = _layout(shape)
    outside = form.layout or own
    if form.layout and len(shape) != 4:
        raise UsageError(
            f"input {value.name!r} has {len(shape)} dimensions; a layout goes with images, "
            "which have four"
        )
    turned = bool(form.layout) and outside != own
    if turned:
        shape = [shape[0], *shape[2:], shape[1]] if own == "nchw" else \
            [shape[0], shape[3], *shape[1:3]]  # fmt: skip
    channel = (3 if outside == "nhwc" else 1) if len(shape) == 4 else len(shape) - 1
    _check_numbers(value.name, dtype_of(kind), shape, channel, form)

    nodes = _Front(proto, value.name)
    outer = TensorProto.UINT8 if form.dtype == "uint8" else kind
    inner = TensorProto.FLOAT if form.mean or form.std else kind
    if outer != inner:
        nodes.add("Cast", to=inner)
    for operator, numbers in (("Sub", form.mean), ("Div", form.std)):
        if numbers:
            nodes.add(operator, constant=_along(numbers, channel, len(shape)))
    if inner != kind:
        nodes.add("Cast", to=kind)
    if turned:
        nodes.add("Transpose", perm=[0, 3, 1, 2] if own == "nchw" else [0, 2, 3, 1])
    nodes.finish()
    value.CopyFrom(helper.make_tensor_value_info(value.name, outer, shape))


class _Front:
    """A chain of nodes that starts at a graph input and ends where that was read before."""

    def __init__(self, proto: Any, name: str) -> None:
        self._proto, self._name, self._at = proto, name, name
        self._taken = {out for node in nodes_of(proto.graph) for out in (*node.output, node.name)}
        self._taken |= {tensor.name for tensor in proto.graph.initializer}
        self._made: list[Any] = []

    def add(self, operator: str, *, constant: Any = None, **attributes: Any) -> None:
        from onnx import helper, numpy_helper

        output = self._free(f"{self._name}_{operator.lower()}")
        inputs = [self._at]
        if constant is not None:
            inputs.append(self._free(f"{output}_by"))
            self._proto.graph.initializer.append(numpy_helper.from_array(constant, inputs[1]))
        self._made.append(helper.make_node(operator, inputs, [output], output, **attributes))
        self._at = output

    def finish(self) -> None:
        graph = self._proto.graph
        for node in nodes_of(graph):
            for index, name in enumerate(node.input):
                if name == self._name:
                    node.input[index] = self._at
        rest = [type(node).FromString(node.SerializeToString()) for node in graph.node]
        del graph.node[:]
        graph.node.extend([*self._made, *rest])

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def nodes_of(graph: Any) -> Iterator[Any]:
    """Every node, those of inner graphs too, which may read what is outside of them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def _layout(shape: Sequence[int]) -> str:
    """Of an image input: ONNX's own is NCHW, but files made from TensorFlow keep NHWC."""
    few = (1, 3, 4)
    if len(shape) == 4 and shape[3] in few and shape[1] not in few:
        return "nhwc"
    return "nchw"


def _along(numbers: Sequence[float], axis: int, rank: int) -> Any:
    import numpy as np

    shape = [1] * rank
    if len(numbers) > 1:
        shape[axis] = len(numbers)
    return np.array(numbers, dtype=np.float32).reshape(shape)


def _check_numbers(
    name: str, dtype: str | None, shape: Sequence[int], channel: int, form: InputForm
) -> None:
    if (form.mean or form.std or form.dtype) and dtype not in _FLOATS:
        raise UsageError(
            f"input {name!r} takes {dtype}, not real numbers: it cannot take raw pixels, a mean "
            "or a standard deviation"
        )
    for what, numbers in (("mean", form.mean), ("standard deviation", form.std)):
        if len(numbers) > 1 and (not shape or len(numbers) != shape[channel]):
            channels = shape[channel] if shape else 0
            raise UsageError(
                f"input {name!r} has {channels} channels; {len(numbers)} numbers are given for the "
                f"{what}"
            )
    if 0 in form.std:
        raise UsageError(f"input {name!r}: a standard deviation of 0 cannot be divided by")
