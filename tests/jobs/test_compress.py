"""Passes behind the gate: what is planned, shared, accepted, tried again and given up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.compression import History, ModelSize, PassSpec
from edgekit.core.dataset import DataSet
from edgekit.core.errors import DataError, EdgekitError, PlanError, UsageError
from edgekit.core.model import Model
from edgekit.core.recipe import Recipe
from edgekit.core.verdict import Score
from edgekit.jobs import compress as job
from edgekit.jobs.convert import _trained_on
from edgekit.jobs.plan import Plan, Wish, make_plan
from edgekit.sources.torch import TorchSource
from edgekit.work.cache import Cache
from edgekit.work.pool import CORES, KINDS
from edgekit.work.steps import Done, Step
from tests.compress.arrays import data_set
from tests.onnx_zoo import write
from tests.tiny_tflite import dense_model

# ------------------------------------------------------------------------------ the plan

PRUNE = '[[passes]]\npass = "prune"\n'
TIMED = '[[passes]]\npass = "shrink"\ntarget = "latency"\nshare = 0.5\n'


def plan(folder: Path, passes: str, model: str = "keras:a.b:c", **wish: Any) -> Plan:
    np.savez(folder / "x.npz", x=np.zeros((20, 2), np.float32), labels=np.arange(20) % 2)
    path = folder / "small.toml"
    path.write_text(f'schema = 1\nname = "small"\nquantization = "float16"\n{passes}')
    given = {"training": str(folder / "x.npz"), "evaluation": str(folder / "x.npz"), **wish}
    return make_plan(Wish(model=model, profile="linux-x86_64", variants=[str(path)], **given))


def refusal(*arguments: Any, **wish: Any) -> tuple[type[EdgekitError], str, str]:
    with pytest.raises(EdgekitError) as caught:
        plan(*arguments, **wish)
    return type(caught.value), caught.value.message, caught.value.hint


def test_a_recipe_with_passes_is_planned(tmp_path: Path) -> None:
    made = plan(tmp_path, PRUNE)
    assert made.opener == "edgekit.sources.keras_live:live"
    assert made.training is not None
    assert made.recipes[0].passes == (PassSpec(name="prune"),)
    alone = plan(tmp_path, f"{PRUNE}epochs = 0\n", training=None)  # nothing trains
    assert alone.training is None
    assert plan(tmp_path, PRUNE, "torch:a.b:c").opener == "edgekit.sources.torch_live:live"


@pytest.mark.parametrize(
    ("passes", "wish", "error", "says", "hint"),
    [
        (
            PRUNE, {"training": None}, PlanError,
            "small: prune trains, and there is nothing to train on",
            "give samples with labels with --train DATA, or write epochs = 0 in the pass",
        ),
        (
            PRUNE, {"evaluation": None}, PlanError,
            "small: what its passes cost is told by samples that they were not trained on",
            "give some, with labels, with --evaluate DATA",
        ),
        (
            "", {}, UsageError,
            "--train is for recipes with [[passes]]; none of these has any",
            "name such a recipe with --variant FILE.toml",
        ),
        (
            '[[passes]]\npass = "prun"\n', {}, UsageError,
            "there is no pass called 'prun'; did you mean prune?", "",
        ),
        (
            f"{PRUNE}sparcity = 0.8\n", {}, UsageError,
            "small: pass 1, prune: unknown key 'sparcity' (known: epochs, learning_rate, ", "",
        ),
        (
            f"{PRUNE}sparsity = 1.5\n", {}, UsageError,
            "small: pass 1, prune: sparsity = 1.5: Input should be less than 1", "",
        ),
        (
            f'{PRUNE}[[passes]]\npass = "cluster"\nclusters = 2\n', {}, UsageError,
            "small: pass 2, cluster: clusters = 2: Input should be greater than or equal to 3", "",
        ),
        (
            f'[[passes]]\npass = "cluster"\n{PRUNE}', {}, PlanError,
            "small: pass 2, prune: comes before cluster, whose values every weight has to keep",
            "change [[passes]] in the recipe",
        ),
        (
            f'{PRUNE}[training]\nloss = "no_such_module:loss"\n', {}, UsageError,
            "'no_such_module:loss': no module called 'no_such_module'", "check the name",
        ),
        (
            f'{TIMED}on = "raspberrypi"\n', {}, UsageError,
            "there is no board called 'raspberrypi'", "ssh://raspberrypi",
        ),
        (
            f"{PRUNE}[training]\nepochs = 0\n", {}, UsageError,
            "training.epochs = 0: Input should be greater than or equal to 1", "",
        ),
    ],
    ids=["no train", "no evaluate", "no passes", "name", "key", "value", "clusters", "order",
         "loss", "address", "epochs"],
)  # fmt: skip
def test_what_is_said_of_a_plan(
    tmp_path: Path, passes: str, wish: dict[str, Any], error: type, says: str, hint: str
) -> None:
    found, message, advice = refusal(tmp_path, passes, **wish)
    assert issubclass(found, error)
    assert says in message
    assert hint in advice


def saved_model(folder: Path) -> str:
    """As much of one as is read before TensorFlow is."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    graph = field(2, field(1, field(2, b"Const")))
    signature = field(5, field(1, b"serving_default"))
    (folder / "exported").mkdir()
    (folder / "exported" / "saved_model.pb").write_bytes(field(2, graph + signature))
    return str(folder / "exported")


def tflite(folder: Path) -> str:
    dense_model(folder / "m.tflite")
    return str(folder / "m.tflite")


@pytest.mark.parametrize(
    ("model", "says", "hint"),
    [
        (saved_model, "is a SavedModel, whose layers are lost", "give the Keras model itself"),
        (lambda folder: str(write("mlp", folder)), "passes cannot change", "it was made from"),
        (tflite, "passes cannot change", "it was made from"),
    ],
    ids=["SavedModel", "ONNX", "TFLite"],
)
def test_models_that_passes_cannot_change(tmp_path: Path, model: Any, says: str, hint: str) -> None:
    path = model(tmp_path)
    found, message, advice = refusal(tmp_path, PRUNE, path)
    assert found is PlanError
    assert repr(path) in message
    assert says in message
    assert hint in advice


@pytest.mark.parametrize(
    ("kind", "says"), [("pt2", "is a program of torch.export"), ("torchscript", "is TorchScript")]
)
def test_programs_of_torch_are_fixed(kind: str, says: str) -> None:
    with pytest.raises(PlanError, match=f"'m.pt' {says}, fixed as it is: passes cannot") as caught:
        TorchSource().opener(handle(kind=kind, reference="m.pt"))
    assert "give the function that makes the module" in caught.value.hint


def test_data_without_labels_is_refused(tmp_path: Path) -> None:
    x, labels = np.zeros((4, 2), np.float32), np.arange(4)
    with_labels = data_set(tmp_path / "a", x, labels)
    without = data_set(tmp_path / "b", x)
    with pytest.raises(DataError, match=r"--evaluate train\.npz has no labels; passes train by"):
        _trained_on(with_labels, without)
    with pytest.raises(DataError, match=r"--train train\.npz has no labels"):
        _trained_on(without, with_labels)
    values = data_set(tmp_path / "c", x, x)  # targets that are no classes
    for folder in "ac":
        (tmp_path / folder / "samples.txt").write_text("1 2 3 4")
    assert (
        "4 of 4 evaluation samples are in the training data" in _trained_on(with_labels, values)[0]
    )


# ------------------------------------------------------------------------------ the gate


def handle(**more: Any) -> Model:
    facts = {
        "name": "m", "reference": "a.b:c", "path": "m.keras", "framework": "keras",
        "kind": "keras3", "digest": "d" * 64, "loader": "edgekit.sources.keras_worker:load",
        "worker": "tensorflow",
    }  # fmt: skip
    return Model(**{**facts, **more})


def recipe(name: str, *passes: dict[str, Any], **more: Any) -> Recipe:
    facts = {"name": name, "quantization": "int8", "passes": passes, **more}
    return Recipe.from_json(facts)


SIZE = ModelSize(parameters=10, nonzeros=10, macs=10, weight_bytes=40, zipped_bytes=30)
HALF = SIZE.model_copy(update={"nonzeros": 5})


def line(made: Recipe) -> job._Line:
    return job._Line(made, job.settled(made), handle(), SIZE)


def score(drop: float) -> Score:
    return Score(
        metric="top1", title="top-1", value=0.9 - drop / 100, source_value=0.9, drop=drop,
        low=drop - 0.1, high=drop + 0.1, samples=1000, larger_is_better=True, unit="points",
    )  # fmt: skip


def decide(this: job._Line, drop: float) -> None:
    """Let what the next pass makes lose `drop` points."""
    history = History(epochs=1, best=1, steps=1, loss=(0.1,)).to_json()
    done = Done(Path("there"), {"history": history, "notes": ["a note"]}, False, 1.0)
    job._decide(this, done, handle(digest="e" * 64), HALF, score(drop))


def test_within_the_budget_a_pass_is_taken() -> None:
    this = line(recipe("r", {"pass": "prune", "sparsity": 0.8}, {"pass": "cluster"}))
    decide(this, 0.5)
    (report,) = this.done
    assert (report.spec, report.asked, report.refused) == (this.wanted[0], this.wanted[0], ())
    assert (report.before, report.after, report.notes) == (SIZE, HALF, ("a note",))
    assert report.score == score(0.5)
    assert (this.model.digest, this.size) == ("e" * 64, HALF)
    assert not this.finished
    assert this.now.name == "cluster"
    decide(this, 0.0)
    assert this.finished
    assert this.failure is None


def test_over_the_budget_a_pass_is_tried_again_gentler() -> None:
    """From the model before it, two thirds of the zeros; what was refused is told."""
    this = line(recipe("r", {"pass": "prune", "sparsity": 0.9}))
    decide(this, 4.0)
    assert this.now == PassSpec(name="prune", parameters={"sparsity": 0.6})
    assert this.model.digest == "d" * 64
    decide(this, 0.2)
    (report,) = this.done
    assert report.asked.parameters == {"sparsity": 0.9}
    assert report.spec.parameters == {"sparsity": 0.6}
    assert report.refused == (
        "prune sparsity=0.9 loses 4.00 points of top-1 (86.00 %, source 90.00 %), "
        "1.00 points are allowed",
    )


def test_after_three_tries_the_recipe_is_given_up_and_the_pass_named() -> None:
    this = line(recipe("r", {"pass": "prune", "sparsity": 0.1}, {"pass": "cluster"}))
    decide(this, 0.0)
    for tries in range(3):
        assert not this.finished, tries
        assert this.now.parameters["clusters" if tries else "scope"] in (32, 64, "scaled")
        decide(this, 3.0)
    assert this.finished
    assert this.failure is not None
    assert this.failure.message.startswith("r: pass 2 of 2, cluster, is over the budget: ")
    assert this.failure.message.count("loses 3.00 points") == 3
    assert "max_drop" in this.failure.hint
    assert len(this.done) == 1


def test_where_nothing_is_gentler_it_is_given_up_at_once() -> None:
    this = line(recipe("r", {"pass": "prune", "pattern": "2:4"}))
    decide(this, 3.0)
    assert this.failure is not None
    assert "r: pass 1 of 1, prune, is over the budget" in this.failure.message


def test_a_time_is_not_missed_by_trying_gentler() -> None:
    this = line(recipe("r", {"pass": "shrink", "target": "latency", "share": 0.5}))
    this.trying, this.timed = PassSpec(name="shrink", parameters={"remove": 0.4}), ["measured"]
    decide(this, 3.0)
    assert this.failure is not None
    assert "shrink remove=0.4 loses 3.00 points" in this.failure.message
    taken = line(this.recipe)
    taken.trying, taken.timed = PassSpec(name="shrink", parameters={"remove": 0.4}), ["measured"]
    decide(taken, 0.0)
    assert taken.done[0].notes == ("measured", "a note")
    assert taken.done[0].asked.parameters["share"] == 0.5
    assert taken.done[0].spec.parameters == {"remove": 0.4}


def start(folder: Path) -> job.Start:
    data = DataSet(
        folder=str(folder), inputs=("",), count=4, digest="1" * 64, origin="t", choice=""
    )
    return job.Start("edgekit.sources.keras_live:live", handle(), handle(), data, data)


def test_recipes_that_begin_alike_share_their_steps(tmp_path: Path) -> None:
    prune, cluster = {"pass": "prune", "sparsity": 0.8}, {"pass": "cluster"}
    begin = start(tmp_path)

    def key(*passes: dict[str, Any], **more: Any) -> str:
        return job._step(line(recipe("r", *passes, **more)), begin).key

    assert key(prune) == key(prune, cluster)
    assert key(prune) == key(prune, quantization="float16")
    assert key(prune) != key({**prune, "sparsity": 0.7})
    assert key(prune) != key(prune, training={"epochs": 9})
    # The second pass is another one, as it is of another model and holds the zeros of the first.
    both = line(recipe("r", prune, cluster))
    decide(both, 0.0)
    assert job._step(both, begin).key != key(cluster)
    assert job._step(both, begin).arguments["before"] == [both.wanted[0].to_json()]


def test_trainings_side_by_side_share_the_cores(tmp_path: Path) -> None:
    """Only what has to be done counts, and once; what comes of it is the same with any number."""
    begin, cache = start(tmp_path), Cache(tmp_path / "cache")

    def passes(worker: str, *sparsities: float) -> list[Step]:
        made = [recipe("r", {"pass": "prune", "sparsity": each}) for each in sparsities]
        model = handle(worker=worker)
        lines = [job._Line(each, job.settled(each), model, SIZE) for each in made]
        return [job._step(each, begin) for each in lines]

    def cores(worker: str, *sparsities: float) -> set[int]:
        steps = passes(worker, *sparsities)
        sharing = job._sharing(steps, cache)
        assert [each.key for each in sharing] == [each.key for each in steps]
        return {each.arguments["cores"] for each in sharing}

    share = max(1, CORES // KINDS["torch"].at_most)
    assert cores("torch", 0.5) == cores("torch", 0.5, 0.5) == {CORES}
    assert cores("torch", 0.5, 0.6) == cores("torch", 0.5, 0.6, 0.7) == {share}
    assert cores("tensorflow", 0.5, 0.6) == {CORES}  # one after the other
    cache.get_or_make(passes("torch", 0.5)[0].key, lambda _: {})
    assert cores("torch", 0.5, 0.6) == {CORES}


def test_a_teacher_is_asked_only_where_there_is_one(tmp_path: Path) -> None:
    prune = {"pass": "prune"}
    begin = start(tmp_path)
    assert not job._step(line(recipe("r", prune)), begin).needs
    taught = line(recipe("r", prune, training={"distill": {}}))
    assert list(job._step(taught, begin).needs) == ["teacher"]
    still = line(recipe("r", {**prune, "epochs": 0}, training={"distill": {}}))
    step = job._step(still, begin)
    assert not step.needs
    assert step.arguments["data"] is None


def test_a_loss_that_was_edited_is_another_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keys = set()
    for text in ("def f(o, t): return 1", "def f(o, t): return 2"):
        (tmp_path / "users_loss.py").write_text(text)
        made = recipe("r", {"pass": "prune"}, training={"loss": "users_loss:f"})
        keys.add(job._step(line(made), start(tmp_path)).key)
    assert len(keys) == 2
