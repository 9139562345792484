"""What each layer of a ``.tflite`` costs when it alone is quantized. Runs in a LiteRT worker.

The float file is made once and ai-edge-quantizer told to quantize one layer's operators in it; that
takes a fraction of a second, where a converter takes many. Outputs are compared with the float
file's on the same samples. A final softmax is left in float, and what enters it is compared: 8 bits
of many small probabilities are all zeros, which says nothing of the layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.dataset import DataSet
from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.core.layers import Labelled, chosen
from edgekit.core.quantize import LayerNumbers
from edgekit.core.recipe import Budget, Recipe
from edgekit.core.sensitivity import MOST_SAMPLES, LayerCost, Sensitivity, by_cost
from edgekit.core.tensor import Signature
from edgekit.export import flatbuffer
from edgekit.export.delegates.tflite_nodes import nodes
from edgekit.export.tflite_calibrate import FILE, RANGES
from edgekit.export.tflite_checks import refuse_loops, refuse_quantized
from edgekit.export.tflite_instructions import for_mix, for_operators
from edgekit.export.tflite_layers import kept_layers, kept_result, labelled
from edgekit.export.tflite_quantize import quantized


def measure(
    out: Path,
    *,
    recipe: dict[str, Any],
    name: str,
    samples: dict[str, Any],
    float: str,  # noqa: A002 - the name of the need
    ranges: str | None = None,
    most: int = MOST_SAMPLES,
) -> dict[str, Any]:
    """``sensitivity``: a `Sensitivity` as JSON.

    Args:
        samples: what both files are run on, with labels or without.
        most: how many of them, spread over the set.

    Raises:
        ConversionError: no layer can be quantized this way.
    """
    wish, path = Recipe.from_json(recipe), Path(float) / FILE
    tree = flatbuffer.read(path)
    refuse_quantized(tree)
    if wish.needs_calibration:
        refuse_loops(tree, wish)
    known = None if ranges is None else Path(ranges) / RANGES
    data, content = DataSet.from_json(samples), path.read_bytes()
    run = _Run(data, tree, most)
    wanted = run.answers(content)
    operators = labelled(tree, kept_layers(Path(float)))
    macs = [node.macs for node in nodes(tree)][: len(operators)]
    costs, every = [], []
    for layer, places in groups(tree, operators).items():
        mine = [operators[at] for at in places]
        about = {
            "layer": layer,
            "operators": tuple(each.kind for each in mine),
            "macs": sum(macs[at] for at in places),
        }
        cost = _cost(content, mine, wish, known, run, wanted, about)
        if cost is not None:
            costs.append(cost)
            every += [] if cost.failed else mine
    if not every:
        raise ConversionError(f"{wish.name}: no layer of this model can be quantized that way")
    all_of_it = {"layer": "all layers", "operators": (), "macs": sum(macs)}
    whole = _cost(content, every, wish, known, run, wanted, all_of_it)
    assert whole is not None
    found = Sensitivity(
        model=name,
        variant=wish.variant,
        samples=len(run.rows),
        float_bytes=len(content),
        float_accuracy=run.accuracy(wanted),
        whole=whole,
        layers=tuple(by_cost(costs)),
        measured=(
            f"each layer alone in {wish.variant}, all others in float, by ai-edge-quantizer in the "
            f"float TFLite file; outputs before a final softmax against that file's in LiteRT on "
            f"this computer, over {len(run.rows)} samples"
        ),
    )
    return {"sensitivity": found.to_json()}


MOST_TRIES = 8
HELPS_DB = 6.0  # a layer's noise is halved, at least; else the next numbers are tried


def select(
    out: Path,
    *,
    recipe: dict[str, Any],
    budget: dict[str, Any],
    samples: dict[str, Any],
    float: str,  # noqa: A002 - the name of the need
    ranges: str,
    sensitivity: str,
    wider: Sequence[LayerNumbers] = ("float32",),
) -> dict[str, Any]:
    """``layers``: those that need wider numbers for the budget, with these; ``said``: what was
    tried and what it costs, in words.

    The costliest layers get wider numbers one after another, at most `MOST_TRIES` of them, until
    the outputs keep the budget's signal-to-noise on the calibration samples; where these have
    labels, until no more accuracy is lost on them than the budget allows. Then each that is not
    needed after all gets its own numbers back. INT16 activations help a layer whose activations 8
    bits hurt, and cost no bytes; float weights help one whose weights they hurt: a layer gets the
    first of `wider` that halve its noise when it alone is quantized, else those with the least.

    Raises:
        ConversionError: the budget is not kept even then; says what was reached.
    """
    wish = Recipe.from_json(recipe)
    search = _Search(wish, Budget.from_json(budget), samples, Path(float), Path(ranges))
    found = Sensitivity.from_json(kept_result(Path(sensitivity))["sensitivity"])
    costly = [
        cost for cost in found.layers if cost.snr_db is not None and cost.layer in search.places
    ]
    mix: dict[str, LayerNumbers] = {}
    plain = last = search.tried(mix)
    for cost in costly[: min(MOST_TRIES, len(search.places) - 1)]:
        if last.kept:
            break
        mix[cost.layer] = search.helping(cost, wider)
        last = search.tried(mix)
    if not last.kept:
        numbers = " and ".join(dict.fromkeys(mix.values()))
        raise ConversionError(
            f"{wish.name}: with the {len(mix)} costliest layers in {numbers} it has "
            f"{last.reached} on the calibration samples; the budget is {search.limit}",
            hint="edgekit sensitivity shows every layer; try int16x8, or ranges of another kind",
        )
    for layer in list(mix)[-2::-1]:  # without the one that came last it was not enough
        less = {name: numbers for name, numbers in mix.items() if name != layer}
        if (without := search.tried(less)).kept:
            mix, last = less, without
    tries = "try" if search.tries == 1 else "tries"
    names = ", ".join(f"{layer} in {numbers}" for layer, numbers in mix.items()) or "no layer"
    said = (
        f"wider numbers, found in {search.tries} {tries} on {len(search.run.rows)} calibration "
        f"samples: {names} ({last.reached}; the budget is {search.limit})"
    )
    if mix:
        said += (
            f"; without them it has {plain.reached} and {plain.size:,} bytes, "
            f"they cost {last.size - plain.size:,} more"
        )
    return {"layers": mix, "said": said}


@dataclass(frozen=True)
class _Tried:
    """A mix of numbers, as a file.

    Attributes:
        reached: what it has, in words.
        size: of the file, in bytes.
    """

    kept: bool
    reached: str
    size: int


class _Search:
    """Makes files whose layers differ in their numbers, and holds them against a budget.

    Args:
        folder, ranges: of the steps that made the float file and the ranges.
    """

    def __init__(
        self, recipe: Recipe, budget: Budget, samples: dict[str, Any], folder: Path, ranges: Path
    ) -> None:
        self._recipe, self._budget, self._ranges = recipe, budget, ranges / RANGES
        self._content = (folder / FILE).read_bytes()
        tree = flatbuffer.read(folder / FILE)
        self.run = _Run(DataSet.from_json(samples), tree, MOST_SAMPLES)
        self._wanted = self.run.answers(self._content)
        self._accuracy = self.run.accuracy(self._wanted)
        operators = labelled(tree, kept_layers(folder))
        spared = set(chosen(recipe.quantize.patterns, operators))
        found = groups(tree, operators).items()
        mine = {layer: [operators[at] for at in at_ if at not in spared] for layer, at_ in found}
        self.places = {layer: operators for layer, operators in mine.items() if operators}
        self.tries = 0
        points = f"at most {budget.max_drop:g} points"
        self.limit = f"{budget.min_snr_db:g} dB" if self._accuracy is None else points

    def tried(self, mix: Mapping[str, LayerNumbers]) -> _Tried:
        """The file in which these layers have these numbers, and all others the recipe's."""
        self.tries += 1
        mixed = [(each, mix[layer]) for layer in mix for each in self.places[layer]]
        keys = [e.key for layer, mine in self.places.items() if layer not in mix for e in mine]
        made = self._made(for_mix(self._recipe, keys, mixed), mix)
        given = self.run.answers(made)
        if self._accuracy is None:
            snr = _worst_snr(self._wanted, given)
            kept = snr is None or snr >= self._budget.min_snr_db
            reached = "equal outputs" if snr is None else f"{snr:.1f} dB"
        else:
            drop = 100 * (self._accuracy - self.run.accuracy(given))
            kept = drop <= self._budget.max_drop
            reached = f"{abs(drop):.2f} points {'gained' if drop < 0 else 'lost'}"
        return _Tried(kept, reached, len(made))

    def helping(self, cost: LayerCost, wider: Sequence[LayerNumbers]) -> LayerNumbers:
        """The numbers for a layer that costs so much in the recipe's own.

        Raises:
            ConversionError: LiteRT has none of them for it.
        """
        if len(wider) == 1:
            return wider[0]
        assert cost.snr_db is not None
        known: dict[LayerNumbers, Any] = {}
        for numbers in wider:
            mixed = [(each, numbers) for each in self.places[cost.layer]]
            try:
                made = self._made(for_mix(self._recipe, (), mixed), {cost.layer: numbers})
                snr = _worst_snr(self._wanted, self.run.answers(made))
            except EdgekitError:
                if numbers == wider[-1] and not known:
                    raise
                continue
            known[numbers] = math.inf if snr is None else snr
            if known[numbers] >= cost.snr_db + HELPS_DB:
                return numbers
        return max(known, key=lambda numbers: known[numbers])

    def _made(self, told: Any, mix: Mapping[str, LayerNumbers]) -> bytes:
        settled = self._recipe.quantize.model_copy(update={"layers": dict(mix)})
        recipe = self._recipe.model_copy(update={"quantize": settled})
        return quantized(self._content, told, self._ranges, recipe)


def groups(tree: Any, operators: Sequence[Labelled]) -> dict[str, list[int]]:
    """Places of the operators of each layer, without a final softmax and what follows it."""
    graph = tree.subgraphs[0]
    made_by = {int(i): at for at, op in enumerate(graph.operators) for i in op.outputs}
    last: set[int] = set()
    for output in map(int, graph.outputs):
        way = _to_softmax(graph, operators, made_by, output)
        last |= set(way)
    found: dict[str, list[int]] = {}
    for at, each in enumerate(operators):
        if at not in last:
            found.setdefault(each.layer, []).append(at)
    return found


def _to_softmax(
    graph: Any, operators: Sequence[Labelled], made_by: Mapping[int, int], output: int
) -> list[int]:
    way = []
    at = made_by.get(output)
    while at is not None:
        way.append(at)
        if operators[at].kind == "SOFTMAX":
            return way
        if operators[at].kind != "RESHAPE":
            return []
        at = made_by.get(int(graph.operators[at].inputs[0]))
    return []


def _cost(
    content: bytes,
    mine: Sequence[Labelled],
    recipe: Recipe,
    ranges: Path | None,
    run: _Run,
    wanted: Mapping[str, Any],
    about: dict[str, Any],
) -> LayerCost | None:
    """None where the quantizer has nothing to do in these operators."""
    try:
        made = quantized(
            content, for_operators(recipe, [each.key for each in mine]), ranges, recipe
        )
        if _same_types(content, made):
            return None
        given = run.answers(made)
    except EdgekitError as exc:
        return LayerCost(**about, failed=exc.message)
    return LayerCost(
        **about,
        snr_db=_worst_snr(wanted, given),
        saved_bytes=len(content) - len(made),
        accuracy=run.accuracy(given),
    )


def _same_types(before: bytes, after: bytes) -> bool:
    kinds = [
        [
            (op.name, op.inputs, op.constants, op.outputs)
            for op in flatbuffer.operators(flatbuffer.read(file))
        ]
        for file in (before, after)
    ]
    return kinds[0] == kinds[1]


def _worst_snr(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """In dB; None where all outputs are equal."""
    import numpy as np

    found = []
    for name, reference in wanted.items():
        if reference.dtype.kind != "f":
            continue
        noise = np.square(reference - given[name], dtype=np.float64).sum()
        signal = np.square(reference, dtype=np.float64).sum()
        if noise > 0:
            found.append(10 * np.log10(max(signal, 1e-30) / noise))
    return min(map(_real, found), default=None)


def _real(value: Any) -> float:
    return float(value)


class _Run:
    """Runs files of one signature on the same samples."""

    def __init__(self, data: DataSet, tree: Any, most: int) -> None:
        signature: Signature = flatbuffer.signature(tree)
        count = min(most, data.count)
        picked = [index * data.count // count for index in range(count)]
        self.rows = [data.rows(signature, at, at + 1) for at in picked]
        labels = data.labels()
        self._labels = None if labels is None else labels[picked]
        self._signature = signature

    def answers(self, content: bytes) -> dict[str, Any]:
        """Outputs by name, samples along the first axis; what enters a final softmax, centred.

        Raises:
            ConversionError: LiteRT does not run the file.
        """
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter

        found: dict[str, list[Any]] = {spec.name: [] for spec in self._signature.outputs}
        before = _before_softmax(flatbuffer.read(content))
        try:
            interpreter = Interpreter(
                model_content=content,
                num_threads=2,
                experimental_preserve_all_tensors=bool(before),
            )
            interpreter.allocate_tensors()
            run = interpreter.get_signature_runner(self._signature.name)
            for row in self.rows:
                interpreter.reset_all_variables()
                answer = run(**row)
                for name, values in found.items():
                    if name not in before:
                        values.append(answer[name].copy())
                        continue
                    value = interpreter.get_tensor(before[name])
                    values.append(value - value.mean(axis=-1, keepdims=True))
        except (RuntimeError, ValueError, KeyError) as exc:
            raise ConversionError(f"LiteRT does not run it: {str(exc)[:200]}") from exc
        return {name: np.concatenate(values) for name, values in found.items()}

    def accuracy(self, answers: Mapping[str, Any]) -> Any:
        """Of the output that labels speak of; None without labels, or where that is a single score.

        A single score has no best class: its largest of one would always be class 0.
        """
        import numpy as np

        output = self._signature.score_output()
        if self._labels is None or output is None or output.shape[1] == 1:
            return None
        scores = answers[output.name]
        if scores.dtype.kind != "f":
            return None
        return _real(np.mean(scores.argmax(axis=1) == self._labels))


def _before_softmax(tree: Any) -> dict[str, int]:
    """For each output that comes from a final softmax: the tensor that enters it."""
    graph = tree.subgraphs[0]
    operators = labelled(tree)
    made_by = {int(i): at for at, op in enumerate(graph.operators) for i in op.outputs}
    outputs = {_text(e.name): int(e.tensorIndex) for e in tree.signatureDefs[0].outputs}
    return {
        name: int(graph.operators[way[-1]].inputs[0])
        for name, index in outputs.items()
        if (way := _to_softmax(graph, operators, made_by, index))
    }


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
