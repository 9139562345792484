"""The training loop, on a net of arrays: what is kept, when it ends, and going on when killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.compress import training as loop
from edgekit.compress.prune import Prune
from edgekit.compress.training import Samples, Trainer, find_loss
from edgekit.core.compression import Training
from edgekit.core.errors import ConversionError, DataError
from tests.compress.arrays import ArrayLearner, ArrayNet, data_set

Make = Callable[..., Trainer]


def problem(seed: int = 0) -> tuple[Any, Any]:
    """Forty samples of a linear function of four numbers."""
    draw = np.random.default_rng(seed)
    inputs = draw.standard_normal((40, 4)).astype(np.float32)
    targets = inputs @ draw.standard_normal((4, 3)).astype(np.float32)
    return inputs, targets


@pytest.fixture
def trainer(tmp_path: Path) -> Make:
    def make(inputs: Any = None, targets: Any = None, **settings: Any) -> Trainer:
        if inputs is None:
            inputs, targets = problem()
        net = ArrayNet({"a": np.zeros((4, 3))})
        samples = Samples(data_set(tmp_path / "data", inputs, targets), net.live)
        wanted = Training(**{"batch": 4, "learning_rate": 0.1, **settings})
        return Trainer("prune", net, samples, wanted, tmp_path / "training" / "key")

    return make


def judged(trained: Trainer, *losses: float) -> None:
    """Let these be the losses on what is held back, an epoch each (its samples are one batch)."""
    learner = ArrayLearner(trained.net, loop.Loss("numbers", 0))  # type: ignore[arg-type]
    learner.said = list(losses)
    trained.net.learner = lambda *_: learner  # type: ignore[method-assign]


def test_it_learns(trainer: Make) -> None:
    trained = trainer(epochs=20)
    history = trained.run()
    assert history.epochs == len(history.loss) == 20
    assert history.steps == 20 * (36 // 4)
    assert history.loss[-1] < 0.05 * history.loss[0]
    assert not trained.checkpoint.exists()


def test_the_best_epoch_is_kept(trainer: Make) -> None:
    trained = trainer(epochs=4)
    judged(trained, 3.0, 1.0, 2.0, 2.5)
    seen: list[Any] = []
    history = trained.run(after=lambda *_: seen.append(trained.net.get("a")))
    assert (history.best, history.loss, history.stopped) == (2, (3.0, 1.0, 2.0, 2.5), "")
    assert (trained.net.get("a") == seen[2 * 9 - 1]).all()


def test_epochs_before_it_is_what_it_shall_be_are_never_best(trainer: Make) -> None:
    trained = trainer(epochs=4)
    judged(trained, 1.0, 2.0, 4.0, 3.0)
    assert trained.run(settled=0.5).best == 4


def test_patience(trainer: Make) -> None:
    trained = trainer(epochs=9, patience=2)
    judged(trained, 3.0, 2.0, 2.5, 2.1, 1.0)
    history = trained.run()
    assert (history.epochs, history.best) == (4, 2)
    assert history.stopped == "no better for 2 epochs"


def test_minutes(trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 50))  # seconds; asked twice an epoch
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(clock))
    history = trainer(epochs=9, minutes=2).run()
    assert history.stopped == "2 minutes were over"
    assert history.epochs < 9


def test_minutes_that_end_too_early_are_an_error(
    trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr(loop.time, "monotonic", lambda: next(clock))
    with pytest.raises(ConversionError, match=r"prune: 1 minutes were over after epoch \d of 9"):
        trainer(epochs=9, minutes=1).run(settled=0.9)


def test_a_loss_that_is_no_number_ends_it_and_keeps_the_checkpoint(trainer: Make) -> None:
    trained = trainer(epochs=4)

    def spoil(step: int, steps: int) -> None:
        if step == 12:
            trained.net.put("a", np.full((4, 3), np.nan))

    says = (
        "prune: the loss was no number any more at step 13, epoch 2; the last good checkpoint is "
        f"kept in {str(trained.checkpoint)!r}"
    )
    with pytest.raises(ConversionError, match=re.escape(says)) as caught:
        trained.run(before=spoil)
    assert "lower learning_rate" in caught.value.hint
    assert (trained.checkpoint / "checkpoint.npz").exists()


def test_a_loss_held_back_that_is_no_number(trainer: Make) -> None:
    trained = trainer(epochs=4)
    judged(trained, np.inf)
    with pytest.raises(ConversionError, match=r"at step 9, epoch 1\n"):
        trained.run()
    assert not trained.checkpoint.exists()


def test_a_damaged_checkpoint_is_said(trainer: Make) -> None:
    trained = trainer()
    trained.checkpoint.mkdir(parents=True)
    (trained.checkpoint / "checkpoint.npz").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(ConversionError, match="of an earlier try is damaged") as caught:
        trained.run()
    assert str(trained.checkpoint) in caught.value.hint


def test_what_passes_before_made_is_held_after_every_step(trainer: Make) -> None:
    trained = trainer(epochs=2)

    def hold() -> None:
        trained.net.put("a", trained.net.get("a") * np.float32([[1], [0], [1], [1]]))

    trained.holds.append(hold)
    seen: list[bool] = []
    trained.run(before=lambda *_: seen.append(bool(trained.net.get("a")[1].any())))
    assert not any(seen)
    assert not trained.net.get("a")[1].any()


# ------------------------------------------------------------------------------ going on


def killed(folder: Path, die: str, kind: str = "arrays") -> Any:
    """Prune a net in a process of its own, which dies at the words `die`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.compress.killed", kind, str(folder), die],
        capture_output=True,
        text=True,
        check=False,
    )
    if die:
        assert done.returncode == -signal.SIGKILL, done.stderr
        return None
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("when", ["epoch 3 of 6, step 1 ", "epoch 5 of 6, step 1 "])
def test_a_killed_training_goes_on_and_ends_the_same(tmp_path: Path, when: str) -> None:
    """While sparsity rises, and after that. The optimizer, noise and masks are as they were."""
    killed(tmp_path, when)
    assert (tmp_path / "training" / "checkpoint.npz").exists()
    found = killed(tmp_path, "")
    done = int(when.split()[1]) - 1
    assert f"goes on after epoch {done}" in found["words"]
    assert f"epoch {done + 1} of 6, step 1 of 9" in " ".join(found["words"])
    assert f"epoch {done} of 6" not in " ".join(found["words"][:2])
    assert found["same"]
    assert found["histories"][0] == found["histories"][1]
    assert not (tmp_path / "training").exists()


def test_one_that_was_stopped_and_killed_is_not_trained_longer(trainer: Make) -> None:
    """Killed between the last checkpoint and its end."""
    trained = trainer(epochs=9, patience=1)
    judged(trained, 1.0, 2.0)
    whole = loop._Loop(trained, trained.net, None, None, 0.0, loop.time.monotonic())
    whole.run()
    assert trained.checkpoint.exists()
    judged(trained)
    history = trained.run()
    assert (history.epochs, history.stopped) == (2, "no better for 1 epochs")


# -------------------------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (np.array([0, 3] * 20), "labels from 0 to 3; the model has 3 classes, 0 to 2"),
        (np.array([-1, 2] * 20), "labels from -1 to 2"),
        (np.zeros((40, 5), np.float32), r"float32 5; they fit none of the outputs \(y 1×3\)"),
        (np.zeros((40, 2, 2), np.int64), "int64 2×2; they fit none of the outputs"),
        (None, "has no labels to train on"),
    ],
)
def test_labels_that_do_not_fit(trainer: Make, targets: Any, says: str) -> None:
    with pytest.raises(DataError, match=rf"train.npz.*{says}"):
        trainer(problem()[0], targets).run()


@pytest.mark.parametrize(
    ("outputs", "targets", "kind"),
    [
        (3, np.array([0, 1] * 20), "classes"),
        (1, np.array([0, 1] * 20), "yes-no"),
        (3, np.zeros((40, 3), np.float32), "numbers"),
        (1, np.zeros(40, np.float32), "numbers"),
    ],
)
def test_what_labels_say_of_the_outputs(
    tmp_path: Path, outputs: int, targets: Any, kind: str
) -> None:
    net = ArrayNet({"a": np.ones((4, outputs))})
    samples = Samples(data_set(tmp_path / "data", problem()[0], targets), net.live)
    assert find_loss(net, samples, Training()).kind == kind


def test_one_sample_is_too_few(trainer: Make) -> None:
    inputs, targets = problem()
    with pytest.raises(DataError, match="1 samples: too few to train on and to hold some back"):
        trainer(inputs[:1], targets[:1]).run()


def test_two_samples_are_enough(trainer: Make) -> None:
    inputs, targets = problem()
    trained = trainer(inputs[:2], targets[:2], epochs=3)
    Prune(sparsity=0.5).apply(trained.net, trained)
    assert trained.history is not None
    assert trained.history.steps == 3
    assert (trained.net.get("a") == 0).sum() == 6
