"""What every net of a framework keeps to. A test class inherits `NetContract`, says its KIND, and
what its kernels are called and look like.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgekit.compress.net import Batch, Loss
from edgekit.core.compression import Distillation, Training
from edgekit.core.errors import UsageError
from edgekit.core.model import InputForm
from tests.compress import nets
from tests.compress.nets import Opened

Open = Callable[..., Opened]

# A model's kernels: name, user's layer, kind, shape, axis of the outputs, of the inputs.
Kernels = list[tuple[str, str, str, tuple[int, ...], int, int | None]]

RATE = 0.05


def apart(one: Any, other: Any) -> float:
    return float(max(np.abs(a - b).max() for a, b in zip(one, other, strict=True)))


def vectors(count: int = 24) -> tuple[Any, Any]:
    """Samples of eight numbers, and which of three sums of them is the largest."""
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((count, 8)).astype(np.float32)
    return inputs, (inputs @ draw.standard_normal((8, 3))).argmax(axis=1).astype(np.int64)


class NetContract:
    """One folder of models serves a class: what they are opened from is made once."""

    KIND: ClassVar[str]
    KERNELS: ClassVar[dict[str, Kernels]]
    IMAGE: ClassVar[tuple[int, ...]]  # of the model `image`, without its samples
    FORM: ClassVar[InputForm]  # raw pixels, in the layout that is not the model's

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp(cls.KIND)

    @pytest.fixture
    def opened(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
        import sys

        monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, nets.MODULE, raising=False)
        return lambda name, **options: nets.opened(self.KIND, name, folder, **options)

    @pytest.fixture
    def learned(self, opened: Open) -> Callable[..., tuple[Opened, list[float]]]:
        """A model after some steps on one batch, and the losses on it before, during and after."""

        def learn(
            name: str, batch: Batch, aim: Loss, steps: int = 25, **settings: Any
        ) -> tuple[Opened, list[float]]:
            found = opened(name)
            learner = found.net.learner(Training(learning_rate=RATE, **settings), aim)
            found.net.seed(0)
            losses = [learner.loss(batch)]
            losses += [learner.step(batch, RATE) for _ in range(steps)]
            return found, [*losses, learner.loss(batch)]

        return learn

    # ------------------------------------------------------------------------ weights

    @pytest.mark.parametrize("name", ["vector", "image", "words", "attention", "nested", "own"])
    def test_kernels(self, opened: Open, name: str) -> None:
        found = opened(name).net.weights()
        assert list(found) == [weight.name for weight in found.values()]
        told = [(w.name, w.layer, w.kind, w.shape, w.axis, w.inner) for w in found.values()]
        assert told == self.KERNELS[name]

    @pytest.mark.parametrize("name", ["image", "words", "attention"])
    def test_get_and_put(self, opened: Open, name: str) -> None:
        net = opened(name).net
        for index, weight in enumerate(net.weights().values()):
            before = net.get(weight.name)
            assert (before.shape, before.dtype) == (weight.shape, np.float32)
            before += index + 1  # a copy: the net's own stays
            assert not (net.get(weight.name) == before).all()
            net.put(weight.name, before)
            assert (net.get(weight.name) == before).all()

    def test_shared_layers_count_once(self, opened: Open) -> None:
        """Changing it changes both calls."""
        net = opened("nested").net
        name = next(name for name in net.weights() if name.startswith("twice"))
        net.put(name, np.zeros((6, 6), np.float32))
        assert np.ptp(net.predict([np.random.default_rng(0).random((3, 6), "f4")])[0], 0).max() == 0

    # ---------------------------------------------------------------- state and answers

    def test_state_and_restore(self, opened: Open, learned: Any) -> None:
        inputs, labels = vectors()
        found, _ = learned("vector", Batch((inputs,), labels), self.classes, steps=3)
        net, fresh = found.net, opened("vector").net
        before, wanted = fresh.state(), fresh.predict([inputs])
        assert before.keys() == net.state().keys()
        # Kernels and biases, and the averages of the batch norm, but no counter of steps.
        changed = [name for name in before if not (before[name] == net.state()[name]).all()]
        assert len(changed) >= 8
        kept = net.state()
        net.restore(before)
        assert apart(net.predict([inputs]), wanted) == 0
        assert any((kept[name] != before[name]).any() for name in changed)  # a copy
        net.restore(kept)
        assert apart(net.predict([inputs]), wanted) > 0

    @pytest.mark.parametrize("name", ["vector", "image", "words", "attention", "nested"])
    def test_answers_are_the_frameworks_own(self, opened: Open, name: str) -> None:
        found = opened(name)
        samples = self.samples(name, 70)  # more than fit in one go
        (mine,) = found.net.predict(found.net.live.take([samples]))
        np.testing.assert_allclose(mine, self.framework(found, samples), rtol=1e-5, atol=1e-6)

    def samples(self, name: str, count: int) -> Any:
        draw = np.random.default_rng(3)
        if name == "words":
            return draw.integers(0, 11, (count, 5)).astype(self.WORDS)
        shape = {"image": self.IMAGE, "own": self.IMAGE, "attention": (5, 4), "nested": (6,)}
        return draw.random((count, *shape.get(name, (8,))), np.float32)

    WORDS: ClassVar[str]  # type of ids

    def framework(self, found: Opened, samples: Any) -> Any:
        """What the framework itself answers."""
        raise NotImplementedError

    @pytest.mark.parametrize("name", ["vector", "words", "attention", "nested", "own"])
    def test_what_is_saved_answers_the_same(self, opened: Open, tmp_path: Path, name: str) -> None:
        found = opened(name)
        samples = self.samples(name, 4) if name != "own" else self.own_samples()
        for weight in found.net.weights():
            found.net.put(weight, 1.5 * found.net.get(weight))
        wanted = found.net.predict(found.net.live.take([samples]))
        again = found.again(tmp_path / "one")
        assert again.net.weights() == found.net.weights()
        assert again.net.live.signature == found.net.live.signature
        assert apart(again.net.predict(again.net.live.take([samples])), wanted) == 0
        # It can be gone on with after it was saved, and what was saved can be saved.
        assert apart(found.net.predict(found.net.live.take([samples])), wanted) == 0
        third = again.again(tmp_path / "two").net
        assert apart(third.predict(third.live.take([samples])), wanted) == 0
        # and it is what exporters and the gate load
        (loaded,) = self.loaded(again, samples)
        np.testing.assert_allclose(loaded, wanted[0], rtol=1e-4, atol=1e-5)

    def own_samples(self) -> Any:
        return self.samples("image", 4)

    def loaded(self, found: Opened, samples: Any) -> list[Any]:
        """Answers of the model's `LoadedModel`, one sample at a time."""
        from edgekit.core.registry import resolve

        model = resolve(found.model.loader)(found.model)
        name = model.signature.inputs[0].name
        each = [model.run({name: sample[None]}) for sample in samples]
        return [np.concatenate([one[key] for one in each]) for key in each[0]]

    def test_other_forms_of_inputs_are_undone(self, opened: Open, folder: Path) -> None:
        found = nets.opened(self.KIND, "image", _sub(folder, "form"), forms={"": self.FORM})
        (spec,) = found.net.live.signature.inputs
        assert spec.dtype == "uint8"
        raw = np.random.default_rng(1).integers(0, 256, (3, *spec.shape[1:]), dtype=np.uint8)
        taken = found.net.live.take([raw])
        assert (taken[0].shape, taken[0].dtype) == ((3, *self.IMAGE), np.float32)
        (wanted,) = self.loaded(found, raw)
        np.testing.assert_allclose(found.net.predict(taken)[0], wanted, rtol=1e-4, atol=1e-4)

    # ------------------------------------------------------------------------- training

    classes = Loss("classes", 0, 1, probabilities=True)

    @pytest.mark.parametrize(
        ("name", "targets", "loss", "settings"),
        [
            ("vector", "ids", classes, {}),
            ("logits", "ids", Loss("classes", 0, 1), {}),
            ("yes", "yes", Loss("yes-no", 0, probabilities=True), {}),
            ("numbers", "numbers", Loss("numbers", 0), {}),
            ("numbers", "numbers", Loss("own", 0), {"loss": f"{nets.MODULE}:twice_wrong"}),
        ],
        ids=["probabilities", "logits", "yes-no", "numbers", "own"],
    )
    def test_it_learns(
        self, learned: Any, name: str, targets: str, loss: Loss, settings: dict[str, Any]
    ) -> None:
        inputs, ids = vectors()
        wanted = {
            "ids": ids,
            "yes": (inputs[:, 0] > 0).astype(np.int64),
            "numbers": inputs[:, :2] - inputs[:, 2:4],
        }[targets]
        _, losses = learned(name, Batch((inputs,), wanted), loss, **settings)
        assert losses[-1] < 0.5 * losses[0]

    def test_the_loss_is_the_formula(self, opened: Open) -> None:
        """Of scores and of probabilities alike, for ids, yes or no, numbers and the user's own."""
        inputs, ids = vectors()
        yes = (ids == 1).astype(np.int64)

        def told(name: str, targets: Any, aim: Loss, **settings: Any) -> tuple[float, Any]:
            net = opened(name).net
            value = net.learner(Training(**settings), aim).loss(Batch((inputs,), targets))
            return value, net.predict([inputs])[0].astype(np.float64)

        value, scores = told("vector", ids, self.classes)
        assert value == pytest.approx(-np.log(scores[range(24), ids]).mean(), rel=1e-4)
        value, scores = told("logits", ids, Loss("classes", 0, 1))
        right = scores[range(24), ids] - np.log(np.exp(scores).sum(axis=1))
        assert value == pytest.approx(-right.mean(), rel=1e-4)
        value, scores = told("yes", yes, Loss("yes-no", 0, probabilities=True))
        sure = np.where(yes, scores[:, 0], 1 - scores[:, 0])
        assert value == pytest.approx(-np.log(sure).mean(), rel=1e-3)
        value, scores = told("numbers", inputs[:, :2], Loss("numbers", 0))
        assert value == pytest.approx(np.square(scores - inputs[:, :2]).mean(), rel=1e-4)
        own = {"loss": f"{nets.MODULE}:twice_wrong"}
        value, scores = told("numbers", inputs[:, :2], Loss("own", 0), **own)
        assert value == pytest.approx(2 * np.abs(scores - inputs[:, :2]).mean(), rel=1e-4)

    def test_a_loss_that_is_not_there(self, opened: Open) -> None:
        with pytest.raises(UsageError, match="has no 'nothing'"):
            opened("numbers").net.learner(Training(loss=f"{nets.MODULE}:nothing"), Loss("own", 0))

    @pytest.mark.parametrize("name", ["vector", "logits", "numbers"])
    def test_distillation_moves_it_to_the_teacher(self, learned: Any, name: str) -> None:
        """However wrong the labels are, where only the teacher counts."""
        inputs, ids = vectors()
        teacher = inputs[:, :3] * 2
        loss, targets = Loss("classes", 0, 1, probabilities=name == "vector"), np.zeros_like(ids)
        if name == "vector":
            teacher = np.exp(teacher) / np.exp(teacher).sum(axis=1, keepdims=True)
        if name == "numbers":
            teacher, loss, targets = teacher[:, :2], Loss("numbers", 0), inputs[:, :2]
        only = Distillation(temperature=2, weight=1)
        batch = Batch((inputs,), targets, (teacher.astype(np.float32),))
        found, losses = learned(name, batch, loss, steps=50, distill=only)
        assert losses[-1] < 0.4 * losses[0]
        assert losses[-1] >= -1e-6  # a divergence
        answers = found.net.predict([inputs])[0]
        if name != "numbers":
            assert (answers.argmax(axis=1) == teacher.argmax(axis=1)).mean() > 0.8

    def test_parts_of_the_loss_are_weighed(self, opened: Open) -> None:
        inputs, ids = vectors()
        teacher = (np.random.default_rng(2).random((24, 3)) * 3).astype(np.float32)
        batch = Batch((inputs,), ids, (teacher,))
        net = opened("logits").net
        heat, share = 3.0, 0.25

        def softmax(scores: Any) -> Any:
            parts = np.exp(scores.astype(np.float64))
            return parts / parts.sum(axis=1, keepdims=True)

        mine = net.predict([inputs])[0]
        other = softmax(teacher / heat)
        divergence = (other * np.log(other / softmax(mine / heat))).sum(axis=1).mean()
        task = -np.log(softmax(mine)[range(24), ids]).mean()
        settings = Training(distill=Distillation(temperature=heat, weight=share))
        value = net.learner(settings, Loss("classes", 0, 1)).loss(batch)
        assert value == pytest.approx(share * heat**2 * divergence + (1 - share) * task, rel=1e-4)

    def test_dropout_and_batch_norm_are_of_training_only(self, opened: Open) -> None:
        inputs, ids = vectors()
        net, batch = opened("vector").net, Batch((inputs,), ids)
        learner = net.learner(Training(), self.classes)
        start = net.state()

        def step(seed: int) -> dict[str, Any]:
            net.restore(start)
            net.seed(seed)
            learner.step(batch, 0.0)
            return net.state()

        # Averages move though nothing is learned; the same seed drops the same.
        moved = step(1)
        assert sum(not (moved[name] == start[name]).all() for name in start) >= 2
        values = []
        for seed in (1, 2, 1):
            net.restore(start)
            net.seed(seed)
            values.append([learner.step(batch, 0.0) for _ in range(2)])
        assert values[0] == values[2]
        assert values[0] != values[1]
        assert values[0][0] != values[0][1]  # and another one each step
        # Told and judged, it stays as it is.
        before = net.state()
        answers = net.predict([inputs])
        assert learner.loss(batch) == learner.loss(batch)
        assert apart(net.predict([inputs]), answers) == 0
        assert all((net.state()[name] == before[name]).all() for name in before)

    def test_an_optimizer_goes_on_where_it_was(self, opened: Open) -> None:
        inputs, ids = vectors()
        batch, loss = Batch((inputs,), ids), Loss("classes", 0, 1)
        one = opened("logits").net
        first = one.learner(Training(), loss)
        for _ in range(3):
            first.step(batch, RATE)
        weights, optimizer = one.state(), first.state()
        assert optimizer
        first.step(batch, RATE)
        other = opened("logits").net
        second = other.learner(Training(), loss)
        other.restore(weights)
        second.restore(optimizer)
        second.step(batch, RATE)
        assert all((one.state()[n] == other.state()[n]).all() for n in weights)

    def test_a_killed_training_goes_on_and_ends_the_same(self, tmp_path: Path) -> None:
        """With dropout, a batch norm's averages, an optimizer, and half of the weights pruned."""
        from tests.compress.test_training import killed

        killed(tmp_path, "epoch 5 of 6, step 1 ", self.KIND)
        found = killed(tmp_path, "", self.KIND)
        assert "goes on after epoch 4" in found["words"]
        assert (found["differ"], found["apart"]) == ([], 0)
        assert found["histories"][0] == found["histories"][1]


def _sub(folder: Path, name: str) -> Path:
    found = folder / name
    found.mkdir(exist_ok=True)
    return found
