"""Whatever is not a program of torch.export yet → ``program.pt2``.

Runs in a worker process of the kind "torch".
"""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.errors import EdgekitError, ModelError, UsageError, WorkerError
from edgekit.core.failures import named, place
from edgekit.core.files import sha256_file
from edgekit.core.model import Model
from edgekit.core.registry import resolve_own
from edgekit.sources.torch_files import examine
from edgekit.sources.torch_fix import interpreter, same_last_row, trace
from edgekit.sources.torch_words import translated

FILE = "program.pt2"
RETURNS = "it is called without arguments and has to return an nn.Module and example inputs"
NAMED = 4  # keys that one message names


@dataclass(frozen=True)
class Made:
    """What there is to export: a module, how it is called, and which sizes are open."""

    module: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    dynamic: Any = None


def materialise(out: Path, *, model: dict[str, Any]) -> dict[str, Any]:
    """Make ``program.pt2``; `Source.materialise` says what comes back.

    ``notes`` holds sentences for the report.

    Raises:
        ModelError: the function cannot be called or returns something else, weights do not fit, or
            torch.export cannot trace the module.
    """
    import torch

    torch.set_num_threads(1)
    handle = Model.from_json(model)
    notes = []
    opened: dict[str, str] = {}
    if handle.kind == "torchscript":
        program = _from_torchscript(handle)
        notes.append("made from TorchScript, which is deprecated: torch.export has replaced it")
    else:
        made = make(handle)
        with translated(handle.reference):
            program, opened = _exported(handle, made)
    return {"model": _saved(out, handle, program, opened).to_json(), "notes": notes}


def save(out: Path, handle: Model, made: Made) -> Model:
    """Export `made` into `out`; the new handle. Raises ModelError as `materialise`."""
    with translated(handle.reference):
        program, opened = _exported(handle, made)
    return _saved(out, handle, program, opened)


def _saved(out: Path, handle: Model, program: Any, opened: Mapping[str, str]) -> Model:
    """Write the program. It has its sizes and weights; what it was made from may run its code
    again.
    """
    import torch

    path = out / FILE
    with translated(handle.reference):
        torch.export.save(program, path)
    update = {
        "path": path.name,
        "kind": "pt2",
        "digest": sha256_file(path),
        "trusted": True,
        "shapes": {},
        "dims": {place: handle.dims[label] for place, label in opened.items()},
        "dim_names": dict(opened),
        "weights": "",
    }
    return handle.model_copy(update=update)


# --------------------------------------------------------------------------- where from


def make(handle: Model) -> Made:
    """The module of a function or a trusted pickle, with its weights, and how it is called."""
    import torch

    if handle.kind == "function":
        made = _call(handle)
        if handle.weights:
            load_weights(made.module, Path(handle.weights), handle.reference)
        return made
    here = str(Path.cwd())  # where its classes may be, as in `resolve_own`
    if here not in sys.path:
        sys.path.append(here)
    with translated(handle.reference):
        # The user trusts it: nobody comes here without --trust-code.
        module = torch.load(handle.path, map_location="cpu", weights_only=False)
    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            f"{handle.reference!r} holds a {type(module).__name__}, not an nn.Module",
            hint="save the model with torch.export.save",
        )
    return Made(module, *_from_shapes(handle, module))


def _call(handle: Model) -> Made:
    """What the user's function returns, sorted out."""
    import torch

    function = resolve_own(handle.reference)
    try:
        made = function()
    except EdgekitError:
        raise
    except Exception as exc:
        where = place(exc)
        raise ModelError(
            f"{handle.reference} raised {named(exc)}" + (f" (at {where})" if where else ""),
            hint=RETURNS,
        ) from exc
    parts = list(made) if isinstance(made, tuple) else [made]
    module = parts[0] if parts else None
    if not isinstance(module, torch.nn.Module):
        raise ModelError(
            f"{handle.reference} returned {_said(made)}, not an nn.Module and example inputs",
            hint=RETURNS,
        )
    if len(parts) == 1:
        if not handle.shapes:
            raise UsageError(
                f"{handle.reference} returned a module without example inputs",
                hint=f"return (module, inputs), or give {_shape_example(module)}",
            )
        return Made(module, *_from_shapes(handle, module))
    if len(parts) > 3:
        raise ModelError(
            f"{handle.reference} returned {len(parts)} values; it has to return a module, example "
            "inputs and, where sizes are open, their dynamic_shapes"
        )
    example, dynamic = parts[1], parts[2] if len(parts) == 3 else None
    if isinstance(example, torch.Tensor):
        example = (example,)
    if isinstance(example, Mapping):
        return Made(module, (), {str(name): value for name, value in example.items()}, dynamic)
    if not isinstance(example, list | tuple):
        raise ModelError(
            f"{handle.reference} returned {_said(example)} as example inputs; they have to be a "
            "tuple or a dict of tensors"
        )
    return Made(module, tuple(example), {}, dynamic)


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(type(part).__name__ for part in value)})"
    return f"a {type(value).__name__}"


def _parameters(module: Any) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD,
             inspect.Parameter.KEYWORD_ONLY)  # fmt: skip
    found = inspect.signature(module.forward).parameters.values()
    return [parameter.name for parameter in found if parameter.kind in kinds]


def _shape_example(module: Any) -> str:
    return " ".join(f"--shape {name}=1,SIZES" for name in _parameters(module)) or "--shape"


def _from_shapes(handle: Model, module: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Example inputs of the shapes that were given: float32, by name."""
    names = _parameters(module)
    return (), _floats(handle, names)


def _floats(handle: Model, names: Sequence[str]) -> dict[str, Any]:
    import torch

    unknown = [name for name in handle.shapes if name not in names]
    if unknown:
        raise ModelError(
            f"{handle.reference!r} has no input called {unknown[0]!r}; its inputs: "
            f"{', '.join(names)}"
        )
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(handle.shapes[name], generator=generator)
        for name in names
        if name in handle.shapes
    }


# ------------------------------------------------------------------------------ weights


def load_weights(module: Any, path: Path, reference: str) -> None:
    """Put the weights of a file into the module; every one, and nothing else.

    Raises:
        ModelError: the file holds other weights than the module has.
    """
    given = _state(path)
    own = module.state_dict()
    missing = [name for name in own if name not in given]
    unexpected = [name for name in given if name not in own]
    problems = []
    if missing:
        problems.append(f"{_keys(missing)} of the model {_is(missing)} not in it")
    if unexpected:
        problems.append(f"{_keys(unexpected)} of the file {_is(unexpected)} not in the model")
    other = [name for name in own if name in given and own[name].shape != given[name].shape]
    if other:
        shapes = [
            f"{name} is {_shape(given[name])}, not {_shape(own[name])}" for name in other[:NAMED]
        ]
        more = f" and {len(other) - NAMED} more" if len(other) > NAMED else ""
        problems.append("; ".join(shapes) + more)
    if problems:
        raise ModelError(
            f"{str(path)!r} does not fit the model of {reference}: {'; '.join(problems)}",
            hint=_prefix_hint(own, given) or "give the weights of this very architecture",
        )
    with translated(str(path)):
        module.load_state_dict(given, strict=True)


def _prefix_hint(own: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """DataParallel and Lightning put one word in front of every name."""
    prefixes = {name.partition(".")[0] for name in given}
    if len(prefixes) == 1 and {name.partition(".")[2] for name in given} == set(own):
        prefix = prefixes.pop()
        return f"every name in the file starts with {prefix!r}: save model.{prefix}.state_dict()"
    return ""


def _state(path: Path) -> dict[str, Any]:
    """The tensors of a weights file by name."""
    import torch

    found = examine(path)
    with translated(str(path)):
        if found.kind == "safetensors":
            return _safetensors(path)
        given = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(given, Mapping) and all(isinstance(v, torch.Tensor) for v in given.values()):
        return {str(name): value for name, value in given.items()}
    keys = [str(key) for key in given] if isinstance(given, Mapping) else []
    inside = [
        key
        for key in keys
        if isinstance(given[key], Mapping)
        and given[key]
        and all(isinstance(value, torch.Tensor) for value in given[key].values())
    ]
    hint = "save the weights with torch.save(model.state_dict(), 'weights.pt')"
    if inside:
        hint = f"save that part: torch.save(torch.load({str(path)!r})[{inside[0]!r}], 'weights.pt')"
    raise ModelError(
        f"{str(path)!r} is not a state_dict but "
        + (f"a checkpoint of {', '.join(keys[:6])}" if keys else f"a {type(given).__name__}"),
        hint=hint,
    )


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError as exc:
        raise WorkerError(
            f"{str(path)!r} needs the package safetensors, which cannot be imported: {exc}",
            hint="pip install 'edgekit[torch]'",
        ) from exc
    return dict(load_file(path))


def _keys(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _shape(tensor: Any) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"


# ------------------------------------------------------------------------------- export


def _exported(handle: Model, made: Made) -> tuple[Any, dict[str, str]]:
    """The program, its batch 1 and its sizes as the user wants them.

    And what the user calls the dimensions that stay open, by input and axis (``ids.1``).
    """
    import torch

    module = made.module.eval()
    names = _parameters(module)
    if len(made.args) > len(names) and not _takes_any(module):
        raise ModelError(
            f"{handle.reference} returned {len(made.args)} example inputs; the module takes "
            f"{len(names)}: {', '.join(names)}"
        )
    given = {**dict(zip(names, made.args, strict=False)), **made.kwargs}
    sizes = _sizes(handle, made, given)
    args, kwargs = _resized(made.args, names, sizes), _resized_named(made.kwargs, sizes)
    opened = _kept_open(handle, made, given)
    dynamic = _dynamic(handle, list(given), opened) if opened else None
    with torch.no_grad():
        program = torch.export.export(
            module, args, kwargs or None, dynamic_shapes=dynamic, strict=False
        )
        batch = _batch(given)
        if batch > 1 and handle.kind == "function":
            _check_batch(handle, made, names, sizes, batch)
    return program, {f"{name}.{axis}": label for (name, axis), label in opened.items()}


def _kept_open(handle: Model, made: Made, given: Mapping[str, Any]) -> dict[tuple[str, int], str]:
    """What the user calls each dimension that stays open, by input and axis."""
    found = {}
    for label, name, axis in _dimensions(made, list(given)):
        said = next((each for each in (label, f"{name}.{axis}") if each in handle.ranges), None)
        if said is None:
            continue
        if axis == 0:
            raise ModelError(
                f"the dimension {said!r} of {handle.reference} is the first of input {name!r}: "
                "that is the batch, which is 1 in every artifact"
            )
        found[name, axis] = said
    return found


def _dynamic(
    handle: Model, names: Sequence[str], opened: Mapping[tuple[str, int], str]
) -> dict[str, dict[int, Any] | None]:
    """``dynamic_shapes`` of torch.export, with the user's ranges."""
    from torch.export import Dim

    labels = list(dict.fromkeys(opened.values()))
    dims = {
        label: Dim(f"d{at}", min=handle.dims[label][0], max=handle.dims[label][1])
        for at, label in enumerate(labels)
    }
    return {
        name: {axis: dims[label] for (own, axis), label in opened.items() if own == name} or None
        for name in names
    }


def _takes_any(module: Any) -> bool:
    kinds = [each.kind for each in inspect.signature(module.forward).parameters.values()]
    return inspect.Parameter.VAR_POSITIONAL in kinds


def _sizes(handle: Model, made: Made, given: Mapping[str, Any]) -> dict[str, list[int]]:
    """The shape that each example input gets."""
    tensors = {name: value for name, value in given.items() if hasattr(value, "shape")}
    unknown = [name for name in handle.shapes if name not in tensors]
    if unknown:
        raise ModelError(
            f"{handle.reference} has no input called {unknown[0]!r}; its inputs: "
            f"{', '.join(tensors)}"
        )
    sizes = {name: list(value.shape) for name, value in tensors.items()}
    batch = _batch(given)
    opened = _dimensions(made, list(given))
    for size in sizes.values():
        if size and size[0] == batch:
            size[0] = 1
    for name, shape in handle.shapes.items():
        full = list(shape) if len(shape) == len(sizes[name]) else [1, *shape]
        if len(full) != len(sizes[name]) or full[0] != 1:
            said = "×".join(map(str, shape))
            raise ModelError(
                f"input {name!r} is {_shape(tensors[name])}; it cannot be {said}",
                hint="edgekit makes artifacts for a batch of 1, in the first dimension",
            )
        sizes[name] = full
    labels = {label for label, *_ in opened} | {f"{name}.{axis}" for _, name, axis in opened}
    unknown = sorted(set(handle.dims) - labels)
    if unknown:
        known = ", ".join(dict.fromkeys(label for label, *_ in opened)) or "none"
        raise ModelError(
            f"{handle.reference} has no open dimension called {unknown[0]!r}; its open dimensions: "
            f"{known}",
            hint="" if opened else "return the dynamic_shapes as the third value",
        )
    for label, name, axis in opened:
        wanted = handle.dims.get(label) or handle.dims.get(f"{name}.{axis}")
        if wanted is not None:
            sizes[name][axis] = wanted[1]
        elif axis == 0:
            sizes[name][axis] = 1
        elif name not in handle.shapes:
            raise ModelError(
                f"the dimension {label!r} of {handle.reference} is open: it is dimension {axis} of "
                f"input {name!r}",
                hint=f"give its size: --dim {shlex.quote(f'{label}=SIZE')}",
            )
    return sizes


def _dimensions(made: Made, names: Sequence[str]) -> list[tuple[str, str, int]]:
    """Open dimensions in ``dynamic_shapes``: name, input, axis."""
    dynamic = made.dynamic
    if dynamic is None:
        return []
    entries = (
        list(dynamic.items())
        if isinstance(dynamic, Mapping)
        else list(zip(names, dynamic, strict=False))
    )
    found = []
    for name, entry in entries:
        axes = entry.items() if isinstance(entry, Mapping) else enumerate(entry or ())
        for axis, dimension in axes:
            if dimension is None or isinstance(dimension, int):
                continue
            label = getattr(dimension, "__name__", "") or f"{name}.{axis}"
            found.append((str(label), str(name), int(axis)))
    return found


def _batch(given: Mapping[str, Any]) -> int:
    """The size of the first dimension of every input; 1 where they differ."""
    firsts = {value.shape[0] for value in given.values() if len(getattr(value, "shape", ()))}
    return int(firsts.pop()) if len(firsts) == 1 else 1


def _resized(
    args: tuple[Any, ...], names: Sequence[str], sizes: Mapping[str, Sequence[int]]
) -> tuple[Any, ...]:
    named = list(zip(names, args, strict=False))
    first = [_resize(value, sizes[n]) if n in sizes else value for n, value in named]
    return (*first, *args[len(named) :])


def _resized_named(given: dict[str, Any], sizes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    return {n: _resize(value, sizes[n]) if n in sizes else value for n, value in given.items()}


def _resize(tensor: Any, shape: Sequence[int]) -> Any:
    """The tensor cut or repeated to `shape`: its values stay valid, as indices too."""
    import torch

    for axis, size in enumerate(shape):
        if tensor.shape[axis] != size:
            tensor = tensor.index_select(axis, torch.arange(size) % tensor.shape[axis])
    return tensor.clone().contiguous()


def _check_batch(
    handle: Model,
    made: Made,
    names: Sequence[str],
    sizes: Mapping[str, Sequence[int]],
    batch: int,
) -> None:
    """Raise ModelError if the last of a batch gets another answer than it gets alone."""
    import torch
    from torch.utils import _pytree as pytree

    shapes = {name: [batch, *size[1:]] for name, size in sizes.items()}
    whole = _resized(made.args, names, shapes), _resized_named(made.kwargs, shapes)
    last = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor[-1:], whole)
    many, one = (
        [leaf for leaf in pytree.tree_leaves(answer) if isinstance(leaf, torch.Tensor)]
        for answer in (made.module(*args, **kwargs) for args, kwargs in (whole, last))
    )
    if not same_last_row(many, one, batch):
        raise ModelError(
            f"{handle.reference} gives the last of {batch} samples another answer than it gets "
            "alone; edgekit makes artifacts for a batch of 1, in the first dimension",
            hint="return example inputs whose first dimension is the batch, of size 1",
        )


# -------------------------------------------------------------------------- TorchScript


def _from_torchscript(handle: Model) -> Any:
    """TorchScript through torch's own converter; the answers have to be equal.

    torch._export.converter is private and unmaintained, so what it makes is run and compared.
    """
    import torch
    from torch._export.converter import TS2EPConverter
    from torch.utils import _pytree as pytree

    with translated(handle.reference):
        read: Any = torch.jit.load  # which has no types
        script = read(handle.path, map_location="cpu")
        script.eval()
        names = [each.name for each in script.forward.schema.arguments[1:]]
    example = tuple(_floats(handle, names).values())
    if len(example) != len(names):
        missing = next(name for name in names if name not in handle.shapes)
        raise UsageError(
            f"{handle.reference!r} takes {', '.join(names)}; no shape is given for {missing!r}",
            hint=f"give --shape {missing}=1,SIZES",
        )
    try:
        with torch.no_grad():
            converted = TS2EPConverter(script, example).convert()
            program = trace(interpreter(converted), names, example)  # of fixed sizes, names kept
            wanted, nesting = pytree.tree_flatten(script(*example))
            given = list(program.module()(*example))
    except Exception as exc:
        raise ModelError(
            f"{handle.reference!r} is TorchScript, which is deprecated, and torch cannot make a "
            f"program of it: {named(exc)}",
            hint="export the nn.Module that it was made from with torch.export.save",
        ) from exc
    same = len(wanted) == len(given) and all(
        one.shape == other.shape
        and torch.allclose(one.double(), other.double(), rtol=1e-4, atol=1e-5)
        for one, other in zip(wanted, given, strict=True)
    )
    if not same:
        raise ModelError(
            f"{handle.reference!r} is TorchScript, and what torch makes of it gives other answers",
            hint="export the nn.Module that it was made from with torch.export.save",
        )
    program.module_call_graph[0].signature.out_spec = nesting  # and with it the outputs' names
    return program
