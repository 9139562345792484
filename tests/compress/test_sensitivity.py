"""Each layer alone under a technique, and the shares that pruning chooses by it."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.compress.prune import TRIED, Prune, least_costly
from edgekit.compress.technique import Technique
from edgekit.core.compression import PassSpec
from edgekit.core.errors import ConversionError, PlanError, UnknownNameError, UsageError
from edgekit.core.files import zipped_bytes
from edgekit.core.sensitivity import LayerTrials, TechniqueSensitivity, Trial
from edgekit.jobs.compress import Compressed, Start, compress
from edgekit.jobs.convert import convert, open_inputs
from edgekit.jobs.plan import Wish, make_plan
from edgekit.jobs.sensitivity import technique_sensitivity
from edgekit.reports.sensitivity import write_sensitivity
from edgekit.reports.techniques import print_technique
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from tests.compress import misleading
from tests.compress.fragile import LAYERS, answers, kernels, write_data

NETS = ("keras:tests.compress.fragile:keras_net", "torch:tests.compress.fragile:torch_net")


def snr(wanted: Any, given: Any) -> float:
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - given).sum()))


def pruned(kernel: Any, share: float) -> Any:
    largest = np.sort(np.abs(kernel), axis=None)[round(share * kernel.size) - 1]
    return np.where(np.abs(kernel) > largest, kernel, 0)


@pytest.mark.slow
@pytest.mark.parametrize("model", NETS)
def test_each_layer_is_changed_alone(tmp_path: Path, model: str) -> None:
    rows = write_data(tmp_path / "test.npz", seed=1, count=40)
    wish = Wish(model=model, profile="host", evaluation=str(tmp_path / "test.npz"))
    by_prune, by_cluster = technique_sensitivity(wish, ("prune", "cluster"), most=20)
    assert by_prune.samples == 20
    assert by_prune.accuracy == 1.0
    assert by_prune.layers[0].layer == "fragile"
    found = {each.layer: each for each in by_prune.layers}
    shown = rows[np.arange(20) * 2]
    for place, name in enumerate(LAYERS):
        for share, trial in zip(TRIED, found[name].trials, strict=True):
            changed = kernels()
            changed[place] = pruned(changed[place], share)
            expected = snr(answers(shown, kernels()), answers(shown, changed))
            assert trial.snr_db == pytest.approx(expected, abs=0.01)
            assert trial.removed == pytest.approx(share, abs=0.01)
            assert trial.saved_bytes > 0
    fragile = found["fragile"].trials[-1]
    assert fragile.accuracy is not None
    assert fragile.accuracy < 0.7
    mildest, *_, strongest = by_cluster.whole.trials
    assert mildest.snr_db is not None
    assert strongest.snr_db is not None
    assert mildest.snr_db > strongest.snr_db + 3
    assert strongest.saved_bytes > mildest.saved_bytes


RECIPE = """schema = 1
name = "{name}"
quantization = "none"
[budget]
max_drop = 100
[[passes]]
pass = "prune"
sparsity = 0.7
epochs = 0
"""


def both(
    tmp_path: Path, model: str, write: Callable[[Path, int], object]
) -> tuple[Compressed, Compressed]:
    """What the recipes even.toml and auto.toml of the folder make."""
    for seed, name in enumerate(("train", "test")):
        write(tmp_path / f"{name}.npz", seed)
    plan = make_plan(
        Wish(
            model=model,
            profile="host",
            variants=(str(tmp_path / "even.toml"), str(tmp_path / "auto.toml")),
            training=str(tmp_path / "train.npz"),
            evaluation=str(tmp_path / "test.npz"),
        )
    )
    cache = Cache()
    with Pool() as pool:
        opened = open_inputs(plan, pool, cache, lambda *_: None)
        start = Start(plan.opener, plan.model, opened.model, opened.training, opened.evaluation)
        made = compress(plan.recipes, start, pool, cache, lambda *_: None)
    even, auto = made["even"], made["auto"]
    assert isinstance(even, Compressed)
    assert isinstance(auto, Compressed)
    return even, auto


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["keras", "torch"])
def test_chosen_energies_go_by_what_the_outputs_lose(tmp_path: Path, framework: str) -> None:
    recipe = RECIPE.replace("prune", "low-rank").replace("sparsity = 0.7\n", "")
    (tmp_path / "even.toml").write_text(recipe.format(name="even") + "energy = 0.9\n")
    auto = 'energies = "auto"\nremove = 0.2\n'
    (tmp_path / "auto.toml").write_text(recipe.format(name="auto") + auto)
    even, chosen = both(
        tmp_path,
        f"{framework}:tests.compress.misleading:{framework}_net",
        misleading.write_data,
    )
    (first,), (second,) = even.reports, chosen.reports
    assert first.score is not None
    assert second.score is not None
    assert first.score.drop > 20
    assert second.score.drop < 5
    assert second.after.parameters <= 0.8 * second.before.parameters
    assert "energy that each layer keeps, the costliest first" in second.notes[0]
    assert "first rank 6 of 32" in second.notes[1]


@pytest.mark.slow
@pytest.mark.parametrize("model", NETS)
def test_chosen_shares_lose_less_than_one_share_for_all(tmp_path: Path, model: str) -> None:
    (tmp_path / "even.toml").write_text(RECIPE.format(name="even"))
    (tmp_path / "auto.toml").write_text(RECIPE.format(name="auto") + 'layers = "auto"\n')
    even, auto = both(tmp_path, model, write_data)
    (first,), (second,) = even.reports, auto.reports
    assert first.score is not None
    assert second.score is not None
    assert second.after.nonzeros == pytest.approx(first.after.nonzeros, rel=0.01)
    assert first.score.drop > 20
    assert second.score.drop < first.score.drop / 2
    assert "share of zeros of each layer, the costliest first" in second.notes[0]
    assert second.notes[0].index("fragile") < second.notes[0].index("last")


@pytest.mark.slow
def test_a_pruned_artifact_can_be_kept_as_its_nonzeros(tmp_path: Path) -> None:
    for name, table in (("dense", ""), ("sparse", "[quantize]\nsparse = true\n")):
        text = RECIPE.format(name=name) + 'layers = "auto"\n' + table
        (tmp_path / f"{name}.toml").write_text(text.replace("0.7", "0.85"))
    for seed, name in enumerate(("train", "test")):
        write_data(tmp_path / f"{name}.npz", seed)
    plan = make_plan(
        Wish(
            model=NETS[0],
            profile="host",
            variants=(str(tmp_path / "dense.toml"), str(tmp_path / "sparse.toml")),
            training=str(tmp_path / "train.npz"),
            evaluation=str(tmp_path / "test.npz"),
        )
    )
    build = convert(plan, tmp_path / "build")
    dense, sparse = (variant.artifact for variant in build.variants)
    assert dense is not None
    assert sparse is not None
    assert [v.verdict.loads[0].ok for v in build.variants] == [True, True]
    assert [v.verdict.accuracy for v in build.variants][:1] * 2 == [
        v.verdict.accuracy for v in build.variants
    ]
    assert sparse.size_bytes < dense.size_bytes / 2
    for artifact in (dense, sparse):
        (file,) = artifact.files
        assert artifact.zipped_bytes == zipped_bytes(tmp_path / "build" / file.path)
    assert any("weight tensors are kept as their nonzeros" in note for note in sparse.notes)


def test_greedy_shares_are_the_best_there_are() -> None:
    weights = [100, 50, 200]
    costs = [[0.01, 0.03, 0.08, 0.3, 0.9], [0.4, 0.5, 0.6, 0.7, 0.8], [0.0, 0.01, 0.02, 0.1, 0.2]]
    shares = least_costly(weights, costs, 0.6)
    assert np.average(shares, weights=weights) == pytest.approx(0.6, abs=1e-3)

    def cost(chosen: Any) -> float:
        known = [np.interp(s, (0, *TRIED), (0, *c)) for s, c in zip(chosen, costs, strict=True)]
        return float(sum(known))

    grid = np.linspace(0, 0.95, 39)
    others = [
        cost(chosen)
        for chosen in itertools.product(grid, grid, grid)
        if np.average(chosen, weights=weights) >= 0.6
    ]
    assert cost(shares) <= min(others) + 1e-9
    assert shares[1] == 0


def test_layers_that_could_not_be_tried_are_spared() -> None:
    shares = least_costly([10, 10], [[float("inf")] * 5, [0.1, 0.2, 0.3, 0.4, 0.5]], 0.4)
    assert shares == [0, 0.8]
    with pytest.raises(ConversionError, match=r"no mean of 0\.6"):
        least_costly([10, 10], [[float("inf")] * 5, [0.1, 0.2, 0.3, 0.4, 0.5]], 0.6)


def measured(**layers: list[float | None]) -> TechniqueSensitivity:
    made = [
        LayerTrials(
            layer=name,
            kernels=(f"{name}.weight",),
            weights=100,
            trials=tuple(
                Trial(strength=f"{100 * share:g} %", snr_db=db, removed=share, saved_bytes=400)
                for share, db in zip(TRIED, values, strict=True)
            ),
        )
        for name, values in layers.items()
    ]
    return TechniqueSensitivity(
        model="net",
        technique="prune",
        strengths=tuple(f"{100 * share:g} %" for share in TRIED),
        samples=9,
        zipped_bytes=5000,
        whole=made[0].model_copy(update={"layer": "all layers"}),
        layers=tuple(made),
        left_out=("table",),
        because="a table is none",
        measured="so",
    )


def test_excluded_layers_have_no_part_in_the_mean() -> None:
    found = measured(head=[60, 50, 40, 30, 20], a=[10, 5, 4, 3, 2], b=[40, 30, 20, 10, 5])
    chosen, said = Prune(sparsity=0.5, layers="auto", exclude=("he*",)).selected(found)
    assert isinstance(chosen.layers, dict)
    assert set(chosen.layers) == {"a.weight", "b.weight"}
    assert chosen.layers["b.weight"] > chosen.layers["a.weight"]
    assert sum(chosen.layers.values()) == pytest.approx(1.0, abs=1e-3)
    assert "found on 9 training samples: a " in said


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"scope": "global"}, 'scope = "global" both decide'),
        ({"pattern": "2:4"}, 'pattern = "2:4" both decide'),
        ({"sparsity": 0.97}, "goes up to sparsity = 0.95"),
    ],
)
def test_what_leaves_nothing_to_choose_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Prune.from_json({"layers": "auto", **said})


def test_the_plan_asks_for_samples_to_choose_by(tmp_path: Path) -> None:
    (tmp_path / "auto.toml").write_text(RECIPE.format(name="auto") + 'layers = "auto"\n')
    write_data(tmp_path / "test.npz", 0)
    with pytest.raises(PlanError, match="prune finds out on training samples"):
        make_plan(
            Wish(
                model=NETS[0],
                profile="host",
                variants=(str(tmp_path / "auto.toml"),),
                evaluation=str(tmp_path / "test.npz"),
            )
        )


def test_an_unknown_technique_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownNameError) as caught:
        technique_sensitivity(Wish(model="k:m.f", profile="host"), ("prun",))
    assert "prune" in f"{caught.value} {caught.value.hint}"


def test_the_table_and_the_page_tell_the_same(tmp_path: Path) -> None:
    found = measured(**{"<b>a": [10.25, 5, 4, 3, 2], "rest": [40, None, 20, 10, 5]})
    text = io.StringIO()
    print_technique(found, file=text)
    write_sensitivity([found], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for said in ("10.2 dB", "equal", "400 B", "95 %", "table (a table is none)"):
        assert said in text.getvalue()
        assert said in page
    assert "<b>" not in page
    assert page.count("10.2 dB") == 6  # field, tooltip and table, of the layer and of the whole
    assert "<script" not in page


class Halves(Technique):
    """Puts another layer in the place of one: a technique that changes the form."""

    def apply(self, net: Any, trainer: Any) -> list[str]:
        import torch

        (weight,) = net.weights().values()
        old = getattr(net.live.module, weight.layer)
        new = torch.nn.Sequential(old, torch.nn.Hardtanh(-0.1, 0.1))
        setattr(net.live.module, weight.layer, new)
        net.live.edits.append({"apply": "edgekit.compress.never:called"})
        return []


@pytest.mark.slow
def test_a_net_of_another_form_is_opened_anew(tmp_path: Path) -> None:
    from edgekit.compress.net import open_net
    from edgekit.compress.sensitivity import _Bench
    from edgekit.core.model import Model, ModelOptions
    from edgekit.core.registry import resolve
    from edgekit.data.arrays import read
    from edgekit.sources.torch import TorchSource

    source = TorchSource()
    origin = source.open(NETS[1], ModelOptions())
    step = source.materialise(origin)
    assert step is not None
    made = Model.from_json(resolve(step.function)(tmp_path, **step.arguments)["model"])
    made = made.model_copy(update={"path": str(tmp_path / made.path)})
    data = data_set(tmp_path, read)
    bench = _Bench(lambda: open_net(source.opener(origin), origin, made), data, 8)
    weights = bench.net.weights()
    first = [weights["first.weight"]]
    for _ in range(2):
        tried = bench.tried("first", first, [("half", Halves()), ("50 %", Prune(sparsity=0.5))])
        assert tried.trials[0].snr_db is not None
        assert tried.trials[0].snr_db < 10
        assert tried.trials[1].snr_db is not None
        assert tried.trials[1].snr_db > 20
    assert np.array_equal(bench.net.predict(bench.inputs)[0], bench.wanted[0])


def data_set(folder: Path, read: Any) -> Any:
    from edgekit.core.dataset import DataSet
    from edgekit.core.files import sha256_file
    from edgekit.core.preprocessing import Preprocessing

    path = folder / "x.npz"
    write_data(path, 0, count=8)
    (folder / "data").mkdir()
    plain = Preprocessing().to_json()
    result = read(folder / "data", str(path), "x.npz", plain, None, sha256_file(path))
    return DataSet.from_json({**result["dataset"], "folder": str(folder / "data")})


def test_a_pass_says_what_it_is_tried_at() -> None:
    spec = PassSpec.from_json({"pass": "prune", "pattern": "2:4"})
    assert [label for label, _ in Prune.from_json(spec.parameters).strengths()] == ["2:4"]
    assert len(Prune(layers="auto").strengths()) == len(TRIED)
