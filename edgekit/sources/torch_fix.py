"""A program of torch.export as given → the same with every dimension fixed or in the range that the
user gave, a batch of 1, and its inputs in the user's form.

Runs in a worker process of the kind "torch". The graph is traced again node by node, so that each
operation keeps the name of the user's layer that it came from.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgekit.core.errors import EdgekitError, ModelError, UsageError
from edgekit.core.model import InputForm, Model
from edgekit.core.tensor import OpenAxis, Signature, TensorSpec
from edgekit.sources.torch_words import dtype_name, sizes_of, translated, words_of

_FLOATS = ("float32", "float16", "float64", "bfloat16")
_NUMPY = frozenset(
    ("bool", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")
)
# How far two runs of one model with another batch may differ: kernels add up in another order.
CLOSE, CLOSE_OF_LARGEST = 1e-3, 1e-4


@dataclass(frozen=True)
class Input:
    """An input of a program: what stands in the graph, and the sizes and form that it gets."""

    name: str
    fake: Any  # a FakeTensor, or the value itself where the program fixes a plain one
    shape: tuple[int, ...] = ()
    form: InputForm | None = None
    own: str = "nchw"  # the layout that the model takes
    copied: bool = False  # as the model writes into it
    open: tuple[OpenAxis, ...] = ()  # in the model's own layout

    @property
    def dtype(self) -> str:
        return dtype_name(self.fake)


@dataclass(frozen=True)
class Fixed:
    """A program as everything after it takes it.

    Attributes:
        program: an ExportedProgram; tensors by position in, a tuple of tensors out.
        signature: in the user's forms.
        example: tensors of the signature's shapes and types.
    """

    program: Any
    signature: Signature
    example: tuple[Any, ...]


@dataclass
class _Open:
    """The open dimensions of a program: symbols of its sizes."""

    names: dict[Any, list[str]] = field(default_factory=dict)  # "x.2", by symbol
    sizes: dict[Any, int] = field(default_factory=dict)
    ranges: dict[Any, tuple[str, int, int]] = field(default_factory=dict)  # those that stay open


def fix(model: Model, program: Any) -> Fixed:
    """Raises ModelError: a dimension is open, or the program holds to another batch."""
    _refuse_training(model, program)
    inputs = _inputs(model, program)
    tensors = [each for each in inputs if hasattr(each.fake, "shape")]
    if not tensors:
        raise ModelError(f"{model.reference!r} has no input")
    names = _output_names(model, program)
    static = all(sizes_of(each.fake) == each.shape for each in tensors)
    formed = any(each.form or each.copied for each in tensors)
    if not static or formed or len(tensors) != len(inputs):
        program = _traced(model, program, inputs)
    else:
        _flatten(program)
    example = tuple(_example(_outer_shape(each), _outer_dtype(each)) for each in tensors)
    outputs = _outputs(program)
    ranges = _ranges(program, tensors)
    outer = [_spec(name, tensor, ranges) for name, tensor in zip(names, outputs, strict=True)]
    for name, tensor, spec in zip(names, outputs, outer, strict=True):
        if None in spec.shape:
            raise ModelError(
                f"the size of output {name!r} of {model.reference!r} depends on the numbers: it is "
                f"{words_of(tensor)}",
                hint="leave the last part (non-maximum suppression, nonzero) out of the model, and "
                "do it on the device after it",
            )
    for tensor in (*example, *outputs):
        if dtype_name(tensor) not in _NUMPY:
            raise ModelError(
                f"{model.reference!r} takes or gives {dtype_name(tensor)}; known are "
                f"{', '.join(sorted(_NUMPY))}",
                hint="export model.float()",
            )
    signature = Signature(
        inputs=tuple(
            TensorSpec(
                name=each.name,
                shape=tuple(tensor.shape),
                dtype=dtype_name(tensor),
                open=_outer_open(each),
            )
            for each, tensor in zip(tensors, example, strict=True)
        ),
        outputs=tuple(outer),
    )
    return Fixed(program, signature, example)


def _ranges(program: Any, inputs: Sequence[Input]) -> dict[Any, tuple[str, int, int]]:
    """Name, least and largest size of the symbols of the traced `program`."""
    found = {}
    for each, fake in zip(inputs, example_for(program), strict=True):
        for axis in _outer_open(each):
            found[fake.shape[axis.axis].node.expr] = (axis.name, axis.least, axis.largest)
    return found


def _spec(name: str, fake: Any, ranges: Mapping[Any, tuple[str, int, int]]) -> TensorSpec:
    """An output; a size that depends on something else than the inputs' sizes is None."""
    shape: list[int | None] = list(sizes_of(fake))
    opened = []
    for axis, size in enumerate(fake.shape):
        if shape[axis] is not None or not set(_symbols(size)) <= set(ranges):
            continue
        ends = [
            int(size.node.expr.subs({symbol: each[end] for symbol, each in ranges.items()}))
            for end in (1, 2)
        ]
        shape[axis] = ends[1]
        if ends[0] != ends[1]:
            own = ranges[size.node.expr][0] if size.node.expr in ranges else ""
            opened.append(OpenAxis(axis=axis, name=own, least=ends[0], largest=ends[1]))
    return TensorSpec(name=name, shape=tuple(shape), dtype=dtype_name(fake), open=tuple(opened))


def example_for(program: Any) -> list[Any]:
    """The fake tensors and plain values that a program takes, in the order of its graph."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    found = []
    for spec in _user_inputs(program):
        node = nodes.get(spec.arg.name)
        fake = None if node is None else node.meta.get("val")
        found.append(fake if hasattr(fake, "shape") else getattr(spec.arg, "value", None))
    return found


def _user_inputs(program: Any) -> list[Any]:
    return [s for s in program.graph_signature.input_specs if s.kind.name == "USER_INPUT"]


# ------------------------------------------------------------------------------- inputs


def _inputs(model: Model, program: Any) -> list[Input]:
    names = _input_names(program)
    fakes = example_for(program)
    tensors = {n: fake for n, fake in zip(names, fakes, strict=True) if hasattr(fake, "shape")}
    for what, given in (("shapes", model.shapes), ("forms", model.forms)):
        unknown = sorted(set(given) - set(tensors) - ({""} if what == "forms" else set()))
        if unknown:
            raise ModelError(
                f"{model.reference!r} has no input called {unknown[0]!r}; "
                f"its inputs: {', '.join(tensors)}"
            )
    opened = _open_sizes(model, program, tensors)
    batch = _fixed_batch(tensors)
    placed = [spec.arg.name for spec in _user_inputs(program)]
    overwritten = written(program)
    changed = {name for name, own in zip(names, placed, strict=True) if own in overwritten}
    found = []
    for name, fake in zip(names, fakes, strict=True):
        if name not in tensors:
            found.append(Input(name, fake))
            continue
        shape = [_size(size, opened) for size in fake.shape]
        if shape and batch is not None and shape[0] == batch:
            shape[0] = 1
        if shape and shape[0] != 1:
            raise ModelError(
                f"input {name!r} of {model.reference!r} has a fixed batch of {shape[0]}: "
                f"{words_of(fake)}",
                hint="edgekit makes artifacts for a batch of 1, in the first dimension; "
                "export the model with that, or with an open batch",
            )
        form = model.form(name, len(shape))
        ranges = _axes(model, name, fake, opened)
        found.append(
            Input(name, fake, tuple(shape), form, layout_of(shape), name in changed, ranges)
        )
    for each in found:
        if each.form is not None:
            _check_form(each, each.form)
    return found


def _axes(model: Model, name: str, fake: Any, opened: _Open) -> tuple[OpenAxis, ...]:
    """The axes of an input that stay open.

    Raises:
        ModelError: it is the batch, or a size that follows from another.
    """
    found = []
    for axis, size in enumerate(fake.shape):
        for symbol in _symbols(size):
            if symbol not in opened.ranges:
                continue
            label, least, largest = opened.ranges[symbol]
            if axis == 0 or not _is_symbol(size):
                why = (
                    "that is the batch, which is 1 in every artifact"
                    if axis == 0
                    else f"its size is {size}, which takes only some"
                )
                raise ModelError(
                    f"the dimension {label!r} of {model.reference!r} cannot have a range: it is "
                    f"dimension {axis} of input {name!r}, and {why}",
                    hint="" if axis == 0 else f"give one size: --dim {label}={largest}",
                )
            found.append(OpenAxis(axis=axis, name=label, least=least, largest=largest))
    return tuple(found)


def _input_names(program: Any) -> list[str]:
    """The names of forward's parameters; of the graph's, where one of those is nested."""
    given = program.module_call_graph[0].signature.forward_arg_names or []
    placed = [spec.arg.name for spec in _user_inputs(program)]
    return list(given) if len(given) == len(placed) else placed


def _open_sizes(model: Model, program: Any, tensors: dict[str, Any]) -> _Open:
    """Sizes of the open dimensions: from --dim, from --shape, 1 for the batch."""
    opened = _Open()
    for name, fake in tensors.items():
        for axis, size in enumerate(fake.shape):
            for symbol in _symbols(size):
                label = f"{name}.{axis}" if _is_symbol(size) else str(symbol)
                opened.names.setdefault(symbol, [])
                if label not in opened.names[symbol]:
                    opened.names[symbol].append(label)
    known = {name: symbol for symbol, names in opened.names.items() for name in names}
    unknown = sorted(set(model.dims) - set(known))
    if unknown:
        raise ModelError(
            f"{model.reference!r} has no open dimension called {unknown[0]!r}; "
            f"its open dimensions: {', '.join(known) or 'none'}"
        )
    for name, (least, largest) in model.dims.items():
        _settle(model, opened, known[name], largest)
        if least < largest:
            opened.ranges[known[name]] = (model.dim_names.get(name, name), least, largest)
            _check_range(model, program, known[name], name, least)
    for name, given in model.shapes.items():
        fake = tensors[name]
        shape = list(given) if len(given) == len(fake.shape) else [1, *given]
        if len(shape) != len(fake.shape):
            raise _cannot_be(name, fake, given)
        for size, wanted in zip(fake.shape, shape, strict=True):
            if _is_symbol(size):
                _settle(model, opened, size.node.expr, wanted)
            elif not _symbols(size) and int(size) != wanted:
                raise _cannot_be(name, fake, given)
    for fake in tensors.values():
        if len(fake.shape) and _is_symbol(fake.shape[0]):
            opened.sizes.setdefault(fake.shape[0].node.expr, 1)
    for symbol, names in opened.names.items():
        if symbol not in opened.sizes:
            name, fake = next((n, f) for n, f in tensors.items() if _has(f, symbol))
            raise ModelError(
                f"the dimension {names[0]!r} of {model.reference!r} is open: input {name!r} is "
                f"{words_of(fake)}",
                hint=f"give its size: --dim {names[0]}=SIZE",
            )
        _check_range(model, program, symbol, names[0], opened.sizes[symbol])
    return opened


def _settle(model: Model, opened: _Open, symbol: Any, size: int) -> None:
    if opened.sizes.setdefault(symbol, size) != size:
        raise ModelError(
            f"the dimension {opened.names[symbol][0]!r} of {model.reference!r} cannot be both "
            f"{opened.sizes[symbol]} and {size}"
        )


def _check_range(model: Model, program: Any, symbol: Any, name: str, size: int) -> None:
    allowed = program.range_constraints.get(symbol)
    if allowed is None or size == 1 or allowed.lower <= size <= allowed.upper:
        return  # torch.export takes no dimension to be 1, so a batch has 2 for its least
    raise ModelError(
        f"the dimension {name!r} of {model.reference!r} was exported for {allowed.lower} to "
        f"{allowed.upper}; it cannot be {size}"
    )


def _fixed_batch(tensors: dict[str, Any]) -> int | None:
    """The batch that every input has, where that is fixed and larger than 1."""
    firsts = {sizes_of(fake)[0] for fake in tensors.values() if len(fake.shape)}
    size = firsts.pop() if len(firsts) == 1 else None
    return size if size is not None and size > 1 else None


def _symbols(size: Any) -> list[Any]:
    return [] if isinstance(size, int) else sorted(size.node.expr.free_symbols, key=str)


def _is_symbol(size: Any) -> bool:
    return not isinstance(size, int) and bool(size.node.expr.is_Symbol)


def _has(fake: Any, symbol: Any) -> bool:
    return any(symbol in _symbols(size) for size in fake.shape)


def _size(size: Any, opened: _Open) -> int:
    if isinstance(size, int):
        return size
    return int(size.node.expr.subs(opened.sizes))


def _cannot_be(name: str, fake: Any, given: Sequence[int]) -> ModelError:
    said = "×".join(map(str, given))
    return ModelError(f"input {name!r} is {words_of(fake)}; it cannot be {said}")


# -------------------------------------------------------------------------------- forms


def layout_of(shape: Sequence[int]) -> str:
    """Of an image input: PyTorch's own is NCHW; one with its few channels last is NHWC."""
    few = (1, 3, 4)
    return "nhwc" if len(shape) == 4 and shape[3] in few and shape[1] not in few else "nchw"


def _turned(each: Input) -> bool:
    return each.form is not None and each.form.layout not in ("", each.own)


def _order(each: Input) -> tuple[int, ...]:
    """The model's own axes in the order of the form."""
    if not _turned(each):
        return tuple(range(len(each.shape)))
    return (0, 2, 3, 1) if each.own == "nchw" else (0, 3, 1, 2)


def _outer_shape(each: Input) -> tuple[int, ...]:
    return tuple(each.shape[axis] for axis in _order(each))


def _outer_open(each: Input) -> tuple[OpenAxis, ...]:
    order = _order(each)
    return tuple(a.model_copy(update={"axis": order.index(a.axis)}) for a in each.open)


def _outer_dtype(each: Input) -> str:
    return each.form.dtype if each.form is not None and each.form.dtype else each.dtype


def _channel(each: Input) -> int:
    """The axis of the channels in the form's layout."""
    if len(each.shape) != 4:
        return len(each.shape) - 1
    layout = each.form.layout if each.form is not None and each.form.layout else each.own
    return 3 if layout == "nhwc" else 1


def _check_form(each: Input, form: InputForm) -> None:
    name, shape = each.name, _outer_shape(each) if len(each.shape) == 4 else each.shape
    if form.layout and len(shape) != 4:
        raise UsageError(
            f"input {name!r} is no image: it has {len(shape)} dimensions, and a layout is for 4"
        )
    if (form.mean or form.std or form.dtype) and each.dtype not in _FLOATS:
        raise UsageError(
            f"input {name!r} takes {each.dtype}, not real numbers: it cannot take raw pixels, a "
            "mean or a standard deviation"
        )
    for what, numbers in (("mean", form.mean), ("standard deviation", form.std)):
        if len(numbers) > 1 and (not shape or len(numbers) != shape[_channel(each)]):
            channels = shape[_channel(each)] if shape else 0
            raise UsageError(
                f"input {name!r} has {channels} channels; {len(numbers)} numbers are given for the "
                f"{what}"
            )
    if 0 in form.std:
        raise UsageError(f"input {name!r}: a standard deviation of 0 cannot be divided by")


def _inner(holder: Any, each: Input) -> Callable[[Any], Any]:
    """What turns a tensor in the form into the one that the model takes; in float32."""
    import torch

    form = each.form
    if form is None:
        return lambda tensor: tensor.clone() if each.copied else tensor
    names: dict[str, str] = {}
    for what, numbers in (("mean", form.mean), ("std", form.std)):
        if numbers:
            shape = [1] * len(each.shape)
            if len(numbers) > 1:
                shape[_channel(each)] = len(numbers)
            names[what] = f"{each.name}_form_{what}"
            constant = torch.tensor(numbers, dtype=torch.float32).reshape(shape)
            holder.register_buffer(names[what], constant)
    own = getattr(torch, each.dtype)

    def turn(tensor: Any) -> Any:
        if names and tensor.dtype != torch.float32:
            tensor = tensor.to(torch.float32)
        if "mean" in names:
            tensor = tensor - getattr(holder, names["mean"])
        if "std" in names:
            tensor = tensor / getattr(holder, names["std"])
        if tensor.dtype != own:
            tensor = tensor.to(own)
        if _turned(each):
            # Contiguous: torch's decompositions take another way (as_strided) where it is not.
            tensor = tensor.permute(
                (0, 3, 1, 2) if each.own == "nchw" else (0, 2, 3, 1)
            ).contiguous()
        return tensor.clone() if each.copied else tensor

    return turn


def _example(shape: Sequence[int], dtype: str) -> Any:
    """Zeros are valid everywhere: as indices, as masks, as pixels."""
    import torch

    return torch.zeros(tuple(shape), dtype=getattr(torch, dtype))


# ------------------------------------------------------------------------------- tracing


def _traced(model: Model, program: Any, inputs: list[Input]) -> Any:
    """The program of fixed sizes; tensors by position in, a tuple of tensors out."""
    tensors = [each for each in inputs if hasattr(each.fake, "shape")]
    nodes = interpreter(program)
    turns = [_inner(nodes.module, each) for each in tensors]

    def before(given: Sequence[Any]) -> list[Any]:
        turned = iter([turn(tensor) for turn, tensor in zip(turns, given, strict=True)])
        return [next(turned) if hasattr(each.fake, "shape") else each.fake for each in inputs]

    example = tuple(_example(_outer_shape(each), _outer_dtype(each)) for each in tensors)
    batch = _fixed_batch({each.name: each.fake for each in tensors})
    try:
        with translated(model.reference):
            made = trace(nodes, [each.name for each in tensors], example, before, _dynamic(tensors))
    except EdgekitError as exc:
        if batch is None:
            raise
        raise _holds_batch(model, batch) from exc
    if batch is not None:
        _check_batch(model, nodes, inputs, batch)
    return made


def _dynamic(tensors: Sequence[Input]) -> tuple[dict[int, Any], ...] | None:
    """``dynamic_shapes`` of torch.export; None where nothing is open."""
    from torch.export import Dim

    dims: dict[str, Any] = {}
    for axis in (axis for each in tensors for axis in each.open):
        if axis.name not in dims:
            dims[axis.name] = Dim(f"d{len(dims)}", min=axis.least, max=axis.largest)
    if not dims:
        return None
    return tuple({axis.axis: dims[axis.name] for axis in _outer_open(each)} for each in tensors)


def trace(
    nodes: Any,
    names: Sequence[str],
    example: tuple[Any, ...],
    before: Callable[..., Any] = list,
    dynamic: tuple[dict[int, Any], ...] | None = None,
) -> Any:
    """Export what `interpreter` runs, for the sizes of `example`.

    Args:
        names: of the inputs.
        before: the graph's inputs from the given ones.
        dynamic: of the inputs, which sizes stay open.
    """
    import torch
    from torch.fx.traceback import preserve_node_meta

    def forward(*given: Any) -> tuple[Any, ...]:
        with preserve_node_meta():  # each operation's layer
            return tuple(_tensors(nodes.run(*before(given), enable_io_processing=False)))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in names]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    nodes.module.forward = forward
    with torch.no_grad():
        return torch.export.export(nodes.module, example, dynamic_shapes=dynamic, strict=False)


def interpreter(program: Any) -> Any:
    """Runs the program's graph on any sizes; its `module` holds the weights."""
    from torch.fx import Interpreter

    graph = program.module(check_guards=False)  # they hold to the sizes of the export
    return Interpreter(_holder(graph), graph=graph.graph)


def _tensors(answer: Any) -> list[Any]:
    import torch
    from torch.utils import _pytree as pytree

    return [leaf for leaf in pytree.tree_leaves(answer) if isinstance(leaf, torch.Tensor)]


def _holder(graph: Any) -> Any:
    """A module with the graph's weights under their own names, and no forward yet.

    torch.export takes a GraphModule's graph as it is, whatever its forward does.
    """
    import torch

    class Program(torch.nn.Module):
        pass

    holder = Program()
    for name, child in graph.named_children():
        holder.add_module(name, child)
    for name, parameter in graph.named_parameters(recurse=False):
        holder.register_parameter(name, parameter)
    for name, buffer in graph.named_buffers(recurse=False):
        persistent = name not in graph._non_persistent_buffers_set
        holder.register_buffer(name, buffer, persistent=persistent)
    for name, constant in vars(graph).items():
        if isinstance(constant, torch.Tensor):
            setattr(holder, name, constant)
    return holder.eval()


def _check_batch(model: Model, nodes: Any, inputs: list[Input], batch: int) -> None:
    """Raise ModelError if the last of a batch gets another answer than it gets alone."""
    import torch

    generator = torch.Generator().manual_seed(0)
    whole = [
        _random(sizes_of(each.fake), each.dtype, generator)
        if hasattr(each.fake, "shape")
        else each.fake
        for each in inputs
    ]
    last = [value[-1:] if isinstance(value, torch.Tensor) and value.ndim else value
             for value in whole]  # fmt: skip
    with torch.no_grad():
        together, alone = (
            _tensors(nodes.run(*flat, enable_io_processing=False)) for flat in (whole, last)
        )
    if not same_last_row(together, alone, batch):
        raise _holds_batch(model, batch)


def same_last_row(together: Sequence[Any], alone: Sequence[Any], batch: int) -> bool:
    """Whether the answers for a batch end with the answers for its last sample.

    The last, as that of a sequence, which a first dimension may be as well, depends on the others.
    """
    if len(together) != len(alone):
        return False
    for many, one in zip(together, alone, strict=True):
        if tuple(many.shape) != (batch, *one.shape[1:]) or one.shape[:1] != (1,):
            return False
        last, single = many[-1:].double(), one.double()
        scale = float(last.abs().max()) if last.numel() else 0.0
        if not last.isclose(
            single, rtol=CLOSE, atol=CLOSE_OF_LARGEST * scale, equal_nan=True
        ).all():
            return False
    return True


def _random(shape: Sequence[int | None], dtype: str, generator: Any) -> Any:
    import torch

    kind = getattr(torch, dtype)
    sizes = [size or 1 for size in shape]
    if kind.is_floating_point:
        return torch.randn(sizes, generator=generator).to(kind)
    return torch.randint(0, 2, sizes, generator=generator).to(kind)


def _holds_batch(model: Model, batch: int) -> ModelError:
    return ModelError(
        f"{model.reference!r} was exported for a batch of {batch} and holds to it; edgekit makes "
        "artifacts for a batch of 1",
        hint="export it with example inputs whose first dimension is 1, or with that dimension "
        "open (dynamic_shapes)",
    )


def _flatten(program: Any) -> None:
    """Let the program take tensors by position and give a tuple, whatever they were nested in."""
    from torch.utils import _pytree as pytree

    call = program.module_call_graph[0].signature
    count = call.in_spec.num_leaves
    call.in_spec = pytree.tree_flatten((tuple(range(count)), {}))[1]
    call.out_spec = pytree.tree_flatten(tuple(range(call.out_spec.num_leaves)))[1]
    call.forward_arg_names = _input_names(program)


# ------------------------------------------------------------------------------- outputs


def _outputs(program: Any) -> list[Any]:
    """The fake tensors that the program gives."""
    output = next(node for node in program.graph.nodes if node.op == "output")
    specs = program.graph_signature.output_specs
    return [
        node.meta["val"]
        for node, spec in zip(output.args[0], specs, strict=True)
        if spec.kind.name == "USER_OUTPUT" and hasattr(node, "meta")
    ]


def _output_names(model: Model, program: Any) -> list[str]:
    """Keys of a dict; ``output`` for one tensor; ``output_0``, … for several."""
    from torch.utils import _pytree as pytree

    spec = program.module_call_graph[0].signature.out_spec
    kinds = [
        each for each in program.graph_signature.output_specs if each.kind.name == "USER_OUTPUT"
    ]
    if spec.num_leaves != len(kinds):  # a model that changes its inputs or state
        raise ModelError(f"{model.reference!r} gives something other than tensors")
    tree = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    names = {}
    for path, index in pytree.tree_flatten_with_path(tree)[0]:
        kind = type(kinds[index].arg).__name__
        if kind == "TensorArgument":
            names[index] = _label(path)
        elif getattr(kinds[index].arg, "value", 0) is not None:
            raise ModelError(
                f"{model.reference!r} gives {_label(path)!r}, which is not a tensor",
                hint="return tensors only: an nn.Module around yours can pick them",
            )
    if not names:
        raise ModelError(f"{model.reference!r} has no output")
    return [names[index] for index in sorted(names)]


def _label(path: Sequence[Any]) -> str:
    parts = [
        str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path
    ]
    if not parts:
        return "output"
    return "_".join(parts if not parts[0].isdigit() else ["output", *parts])


# Operators that train, and where their argument that says so stands.
_TRAINING = {
    "aten.batch_norm": 5,
    "aten._native_batch_norm_legit": 5,
    "aten.dropout": 2,
    "aten.native_dropout": 2,
    "aten.feature_dropout": 2,
}


def _refuse_training(model: Model, program: Any) -> None:
    """A model that was exported for training computes something else."""
    for node in program.graph.nodes:
        name = str(node.target)
        arguments = node.args
        flag = _TRAINING.get(name.rpartition(".")[0])
        if flag is not None and len(arguments) > flag and arguments[flag] is True:
            raise ModelError(
                f"{model.reference!r} was exported in training mode: {name} in {node.name!r}",
                hint="call model.eval() before torch.export.export",
            )
    targets = {
        spec.arg.name: spec.target
        for spec in program.graph_signature.input_specs
        if spec.kind.name != "USER_INPUT"
    }
    changed = {targets[name] for name in written(program) if name in targets}
    changed |= set(program.graph_signature.buffers_to_mutate.values())
    if changed:
        raise ModelError(
            f"{model.reference!r} changes its own state as it runs: "
            f"{', '.join(sorted(changed)[:4])}",
            hint="give and return the state as inputs and outputs instead",
        )


def written(program: Any) -> set[str]:
    """Names of what goes into the graph and is written to by an operation in place."""
    found = set()
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if node.op != "call_function" or schema is None or not schema.is_mutable:
            continue
        for index, argument in enumerate(schema.arguments):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            given = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name)
            origin = _origin(given)
            if origin is not None and origin.op == "placeholder":
                found.add(origin.name)
    return found


def _origin(node: Any) -> Any:
    """Whose memory a tensor lies in: views and operations in place are followed back."""
    while getattr(node, "op", None) == "call_function":
        schema = getattr(node.target, "_schema", None)
        if schema is None or not any(each.alias_info is not None for each in schema.returns):
            break
        node = node.args[0] if node.args else None
    return node
