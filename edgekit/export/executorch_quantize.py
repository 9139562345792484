"""A program → the same in 8 bits, by PT2E with the delegate's own quantizer.

https://docs.pytorch.org/ao/stable/pt2e_quantization/index.html
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from edgekit.core.dataset import DataSet, Rows
from edgekit.core.errors import ConversionError, DataError
from edgekit.core.fx import modules
from edgekit.core.layers import Labelled, chosen
from edgekit.core.recipe import Recipe
from edgekit.core.tensor import Signature
from edgekit.export.executorch_coverage import layer
from edgekit.export.executorch_errors import stage
from edgekit.export.program import dynamic_shapes_of, load, save

# A join of outputs whose parts differ by more than this in size stays in float: 8 bits over both
# would leave the smaller part fewer than five.
MOST_UNEVEN = 8.0
LOOKED_AT = 8  # samples that tell how uneven a join is


def quantize(
    out: Path, *, recipe: dict[str, Any], samples: dict[str, Any], program: str
) -> dict[str, Any]:
    """Calibrate on the samples and write ``program.pt2`` with marks of quantization.

    Raises:
        ConversionError: the quantizer fails, or finds nothing to quantize.
        DataError: an activation is not finite for these samples.
    """
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    from edgekit.export.executorch import delegate_of

    wish = Recipe.from_json(recipe)
    delegate = delegate_of(wish)
    traced, facts = load(Path(program))
    signature = Signature.from_json(facts["signature"])

    def tensors(row: Mapping[str, Any]) -> list[Any]:
        return [torch.from_numpy(row[spec.name]) for spec in signature.inputs]

    rows = Rows(DataSet.from_json(samples), signature, tensors)
    example = tuple(traced.example_inputs[0])
    with stage("quantizing", delegate.title, traced), torch.no_grad():
        module = _unshared(delegate.prepared(traced).module())
        spared, notes = _uneven_joins(module, rows)
        asked = named_spared(module, wish)
        spared |= set(asked)
        notes += said_spared(asked)
        prepared = prepare_pt2e(module, _sparing(delegate.quantizer(wish), spared))
        for row in rows:
            _observe(prepared, row)
        converted = convert_pt2e(prepared, fold_quantize=delegate.folded)
        made = torch.export.export(
            converted, example, dynamic_shapes=dynamic_shapes_of(traced), strict=False
        )
    notes += check(made, delegate.title, spared=set(asked.values()))
    keep = {key: facts[key] for key in ("signature", "parent", "way")}
    return save(made, out, **keep, tools=["torch", "torchao", "executorch"], notes=notes)


def _unshared(module: Any) -> Any:
    """Give each reader of a constant a node of its own.

    A quantizer marks weights and biases with their layer and passes over a layer with one that is
    marked already. Equal biases (zeros, mostly) are one constant in graphs that come from TFLite.
    """
    for node in [node for node in module.graph.nodes if node.op == "get_attr"]:
        for user in list(node.users)[1:]:
            with module.graph.inserting_before(user):
                own = module.graph.get_attr(node.target)
            own.meta = dict(node.meta)
            user.replace_input_with(node, own)
    return _whole(module)


def _whole(module: Any) -> Any:
    """Keep sums of indices whole.

    XNNPACK's quantizer makes a float tensor of the number in ``aten.add.Tensor(x, 3)``, whatever
    the type of x; an embedding refuses such indices. It leaves ``aten.add.Scalar`` alone.
    """
    import torch

    aten = torch.ops.aten
    for tensor, number in (
        (aten.add.Tensor, aten.add.Scalar),
        (aten.mul.Tensor, aten.mul.Scalar),
    ):
        for node in module.graph.find_nodes(op="call_function", target=tensor):
            value = node.meta.get("val")
            whole = value is not None and not value.dtype.is_floating_point
            if whole and len(node.args) == 2 and isinstance(node.args[1], int):
                node.target = number
    module.recompile()
    return module


def _observe(prepared: Any, row: Any) -> None:
    try:
        prepared(*row)
    except RuntimeError as exc:
        if "finite" not in str(exc):  # what histograms say of a range with no end
            raise
        raise _not_finite("an activation") from exc


def _not_finite(what: str) -> DataError:
    return DataError(
        f"the calibration samples drive {what} to a number that is not finite",
        hint="look for NaN, infinity or missing normalisation in --calibration",
    )


def labelled(module: Any) -> list[Labelled]:
    """The calls of a traced program by the modules that they come from, the innermost first."""
    return [
        Labelled(str(node.target), (*modules(node), node.name), node.name)
        for node in module.graph.nodes
        if node.op == "call_function"
    ]


def named_spared(module: Any, recipe: Recipe) -> dict[str, str]:
    """The nodes that the recipe leaves in float: name to layer.

    Raises:
        UsageError: a pattern means nothing.
    """
    operators = labelled(module)
    places = chosen(recipe.quantize.patterns, operators)
    return {operators[at].key: operators[at].layer for at in places}


def said_spared(spared: dict[str, str]) -> list[str]:
    """What stays in float because of the recipe, as sentences for the report."""
    layers = list(dict.fromkeys(spared.values()))
    more = f" and {len(layers) - 6} more" if len(layers) > 6 else ""
    return [f"in float, as the recipe says: {', '.join(layers[:6])}{more}"] if layers else []


def dynamic(traced: Any, quantizer: Any, recipe: Recipe) -> tuple[Any, dict[str, str]]:
    """`traced` with 8-bit weights, and what `named_spared` says of it.

    Activations are quantized as they come, without calibration.
    """
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    example = tuple(traced.example_inputs[0])
    with torch.no_grad():
        module = _unshared(traced.module())
        spared = named_spared(module, recipe)
        prepared = prepare_pt2e(module, _sparing(quantizer, set(spared)))
        prepared(*example)  # lets it see the weights
        converted = convert_pt2e(prepared)
        made = torch.export.export(
            converted, example, dynamic_shapes=dynamic_shapes_of(traced), strict=False
        )
    return made, spared


# ------------------------------------------------------------------------------ detector heads


_MOVES = ("view", "reshape", "permute", "transpose", "contiguous", "clone", "flatten", "cat",
          "unsqueeze", "squeeze", "slice", "stack")  # fmt: skip


def _uneven_joins(module: Any, rows: Rows) -> tuple[set[str], list[str]]:
    """Names of nodes that must not be quantized as one, and sentences about them.

    A detector's last join puts boxes in pixels beside scores below one: with one scale for both,
    every score is rounded to nothing.
    """
    import torch

    joins = {node.name: node for node in module.graph.nodes if _ends_the_model(node)}
    if not joins:
        return set(), []
    sizes: dict[str, list[float]] = {}

    class Look(torch.fx.Interpreter):
        def run_node(self, n: Any) -> Any:
            if n.name in joins:
                parts = self.fetch_args_kwargs_from_env(n)[0][0]
                seen = [float(part.abs().max()) if part.numel() else 0.0 for part in parts]
                before = sizes.get(n.name, seen)
                sizes[n.name] = [max(pair) for pair in zip(before, seen, strict=True)]
            return super().run_node(n)

    for index in range(min(LOOKED_AT, len(rows))):
        Look(module).run(*rows[index])
    spared: set[str] = set()
    notes = []
    for name, parts in sizes.items():
        if len(parts) > 1 and max(parts) > MOST_UNEVEN * min(parts):
            spared |= {name, *(node.name for node in _after(joins[name]))}
            reach = " and ".join(f"{size:.3g}" for size in sorted({max(parts), min(parts)}))
            where = layer(joins[name])
            notes.append(
                f"the join of outputs {name!r}{f' in {where}' if where else ''} stays in float32: "
                f"its parts reach {reach}, and one 8-bit scale would ruin the smaller"
            )
    return spared, notes


def _ends_the_model(node: Any) -> bool:
    """Whether it joins tensors that after it are only moved about until they leave the model."""
    if node.op != "call_function" or ".cat." not in f"{node.target}.":
        return False
    return all(
        user.op == "output"
        or any(f".{move}" in str(user.target).replace("_copy", "") for move in _MOVES)
        for user in _after(node)
    )


def _after(node: Any) -> list[Any]:
    found: dict[Any, None] = {}
    queue = list(node.users)
    while queue:
        each = queue.pop()
        if each not in found:
            found[each] = None
            queue += list(each.users)
    return list(found)


def _sparing(quantizer: Any, names: set[str]) -> Any:
    """`quantizer`, with its marks taken off the nodes called `names`."""
    annotate = quantizer.annotate

    def sparing(model: Any) -> Any:
        model = annotate(model)
        for node in model.graph.nodes:
            if node.name in names:
                node.meta.pop("quantization_annotation", None)
        return model

    if names:
        quantizer.annotate = sparing
    return quantizer


# -------------------------------------------------------------------------------------- checks


_HEAVY = ("conv", "linear", "matmul", "bmm", "addmm", "mm.")


def check(made: Any, title: str, *, spared: Collection[str] = ()) -> list[str]:
    """Sentences about what stayed in float, but for the layers `spared`.

    Raises:
        ConversionError: nothing was quantized.
        DataError: a range is not finite.
    """
    nodes = [node for node in made.graph_module.graph.nodes if node.op == "call_function"]
    marks = [node for node in nodes if "quantized_decomposed.quantize" in str(node.target)]
    if not any("dequantize" in str(node.target) for node in nodes):
        raise ConversionError(
            f"{title}'s quantizer finds nothing to quantize in this model",
            hint="take a float variant: an 8-bit file would be the same one",
        )
    for node in marks:
        numbers = [arg for arg in node.args[1:3] if isinstance(arg, (int, float))]
        if not all(math.isfinite(number) for number in numbers):
            raise _not_finite(layer(node.args[0]) or str(node.args[0]))
    left = [node for node in nodes if _is_heavy(node) and not _reads_integers(node)]
    left = [node for node in left if layer(node) not in spared]
    if not left:
        return []
    named = list(dict.fromkeys(filter(None, (layer(node) for node in left))))[:6]
    return [
        f"{len(left)} of {sum(map(_is_heavy, nodes))} convolutions and products stay in float32: "
        f"{title}'s quantizer does not take them ({', '.join(named) or left[0].target})"
    ]


def _is_heavy(node: Any) -> bool:
    kind = str(node.target).removeprefix("aten.")
    return str(node.target).startswith("aten.") and kind.startswith(_HEAVY)


def _reads_integers(node: Any) -> bool:
    return any("dequantize" in str(arg.target) for arg in node.all_input_nodes)
