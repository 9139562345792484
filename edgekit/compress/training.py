"""The training loop: one for every framework and every technique.

Adam with a rate that falls along half a cosine, the best epoch by the loss on samples held back,
early stopping, a limit of time, and a checkpoint after every epoch: a training that was killed goes
on with the epoch it was in.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.compress.net import Batch, Features, Learner, Loss, Net, taken
from edgekit.core.compression import History, Training
from edgekit.core.dataset import DataSet
from edgekit.core.errors import ConversionError, DataError, UsageError
from edgekit.core.protocols import LiveModel
from edgekit.work.progress import tell

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

CHECKPOINT = "checkpoint.npz"
PROBED = 64  # samples that tell whether outputs are probabilities
# Called with the number of a step, from 0, and of all steps, before or after that step.
Hook = Callable[[int, int], None]


@dataclass
class Samples:
    """What is trained on: a data set in the model's own types, perhaps with a teacher's answers.

    Args:
        teacher: a folder of ``<index>.npy``, the teacher's outputs for every sample.
    """

    data: DataSet
    live: LiveModel
    teacher: Path | None = None

    def __post_init__(self) -> None:
        import numpy as np

        labels = self.data.targets()
        if labels is None:
            raise DataError(
                f"{self.data.origin} has no labels to train on",
                hint="numpy.savez('train.npz', x=…, labels=…)",
            )
        self.targets = labels
        self._teacher: list[Any] = []
        if self.teacher is not None:
            self._teacher = [
                np.load(self.teacher / f"{index}.npy", mmap_mode="r", allow_pickle=False)
                for index in range(len(self.live.signature.outputs))
            ]

    def inputs(self, indices: Any) -> tuple[Array, ...]:
        """See `taken`."""
        return taken(self.data, self.live, indices)

    def batch(self, indices: Any) -> Batch:
        """The samples of these indices."""
        import numpy as np

        targets = np.ascontiguousarray(self.targets[indices])
        return Batch(
            self.inputs(indices),
            targets.astype(np.int64 if targets.dtype.kind in "iu" else np.float32),
            tuple(np.ascontiguousarray(each[indices]) for each in self._teacher),
        )


def held_back(samples: Samples, training: Training) -> tuple[Array, Array]:
    """Indices of the samples that are held back, and of those that are trained on.

    Raises:
        DataError: there are too few for both.
    """
    import numpy as np

    count = samples.data.count
    shuffled = np.random.default_rng(training.seed).permutation(count)
    held = max(1, round(count * training.validation))
    if held >= count:
        raise DataError(
            f"{samples.data.origin} has {count} samples: too few to train on and to hold some back",
            hint="give more with --train",
        )
    return np.sort(shuffled[:held]), np.sort(shuffled[held:])


def find_loss(net: Net, samples: Samples, training: Training) -> Loss:
    """What the labels say of the outputs.

    Raises:
        DataError: they fit none of them, or more than one.
    """
    import numpy as np

    signature, targets = samples.live.signature, samples.targets
    names = [spec.name for spec in signature.outputs]
    if training.loss:
        scored = signature.score_output()
        return Loss("own", names.index(scored.name) if scored else 0)
    spread = np.linspace(0, samples.data.count - 1, min(PROBED, samples.data.count)).astype(int)
    probe = net.predict(samples.inputs(spread))
    fitting = [
        loss
        for index, output in enumerate(probe)
        if (loss := _fitting(index, output, targets, labelled=samples.data.labelled)) is not None
    ]
    kind = f"{targets.dtype} {_words(targets.shape[1:])}"
    said = f"the labels of {samples.data.origin} are {kind}; they"
    own = 'name a loss of your own: [training] loss = "package.module:function"'
    if not fitting:
        sizes = ", ".join(f"{spec.name} {spec.sizes}" for spec in signature.outputs)
        raise DataError(
            f"{said} fit none of the outputs ({sizes})",
            hint="class ids go with scores of classes, numbers with an output of their shape; or "
            + own,
        )
    if len(fitting) > 1:  # labels 0 to 4 speak of five classes rather than of more
        exact = [f for f in fitting if _classes(f, probe) == int(targets.max()) + 1]
        fitting = exact if len(exact) == 1 else fitting
    if len(fitting) > 1:
        raise DataError(
            f"{said} fit {len(fitting)} outputs ({', '.join(names[f.output] for f in fitting)})",
            hint=f"which is meant is not known: {own}",
        )
    _check_range(fitting[0], targets, probe[fitting[0].output], samples.data.origin)
    return fitting[0]


def _words(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a sample"


def _fitting(index: int, output: Any, targets: Any, *, labelled: bool) -> Loss | None:
    """The loss of these targets against an output (samples, …); None if they do not fit.

    Args:
        labelled: whether they are ids of classes for sure.
    """
    inner, shape = output.shape[1:], targets.shape[1:]
    if len(shape) > 1 and shape[-1] == 1 and len(shape) == len(inner):
        shape = shape[:-1]  # a mask with an axis for its one channel
    if targets.dtype.kind in "iub":
        binary = labelled or bool((targets >= 0).all() and (targets <= 1).all())
        inside = bool((output >= 0).all() and (output <= 1).all())
        for axis in sorted({len(inner) - 1, 0}, reverse=True):
            if len(inner) != len(shape) + 1 or (*inner[:axis], *inner[axis + 1 :]) != shape:
                continue
            if inner[axis] == 1:
                if binary:
                    return Loss("yes-no", index, probabilities=inside)
                continue
            sums = output.sum(axis=axis + 1)
            sure = bool((output >= 0).all() and (abs(sums - 1) < 1e-3).all())
            return Loss("classes", index, axis + 1, sure)
        if binary and shape and inner == shape:  # several labels at a time
            return Loss("yes-no", index, probabilities=inside)
    same = math.prod(inner) == math.prod(shape) and not labelled
    return Loss("numbers", index) if same else None


def _classes(loss: Loss, outputs: Any) -> int:
    """How many classes the output of the loss tells apart; 0 if it gives numbers."""
    if loss.kind == "classes":
        return int(outputs[loss.output].shape[loss.axis])
    return 2 if loss.kind == "yes-no" else 0


def _check_range(loss: Loss, targets: Any, output: Any, origin: str) -> None:
    """Raise DataError for ids of classes that there are not; in masks those are not counted."""
    if loss.kind not in ("classes", "yes-no") or targets.ndim > 1:
        return
    classes = _classes(loss, {loss.output: output})
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{origin} has labels from {low} to {high}; the model has {classes} classes, "
            f"0 to {classes - 1}",
            hint="number the classes in the model's order; numbers to be predicted are given as "
            "floats, with a metric for them (--metric rmse)",
        )


@dataclass
class Trainer:
    """All that a technique needs to train its net.

    Attributes:
        name: of the pass, for messages.
        checkpoint: a folder of this very training; what lies there is gone on with.
        holds: what earlier passes want kept (zeros, clusters): called after every step.
        teacher: the model before all passes, where its layers' outputs are asked for.
        find_holds: finds them in the net as it is.
        loss: what was made small, after training.
    """

    name: str
    net: Net
    samples: Samples
    training: Training
    checkpoint: Path
    holds: list[Callable[[], None]] = field(default_factory=list)
    teacher: Net | None = None
    history: History | None = None
    find_holds: Callable[[], list[Callable[[], None]]] | None = None
    loss: Loss | None = None

    def look_again(self) -> None:
        """Find the holds anew: the net's weights have other shapes than before."""
        if self.find_holds is not None:
            self.holds = self.find_holds()

    def run(
        self,
        *,
        before: Hook | None = None,
        after: Hook | None = None,
        settled: float = 0.0,
        net: Net | None = None,
    ) -> History:
        """Train.

        Args:
            before, after: called around every step, with its number and how many there are.
            settled: the share of the steps after which the net is what it shall be (as sparse as
                it shall be, say); epochs before that are never the best one.
            net: what is trained, where that is not the trainer's own (one with fake quantizers in
                it).

        Raises:
            ConversionError: the loss is no number any more; the last good checkpoint is kept.
            DataError: there are too few samples, or labels that do not fit.
            UsageError: a layer that shall be like the teacher's is not there, or cannot be; or
                there is no such device.
        """
        started = time.monotonic()
        trained = net or self.net
        with ExitStack() as stack:
            where = stack.enter_context(trained.placed(self.training))
            if self.teacher is not None:
                stack.enter_context(self.teacher.placed(self.training))
            loop = _Loop(self, trained, before, after, settled, started)
            self.history = loop.run().model_copy(update={"where": where})
        self.loss = loop.loss
        shutil.rmtree(self.checkpoint, ignore_errors=True)
        return self.history


class _Loop:
    def __init__(
        self,
        trainer: Trainer,
        net: Net,
        before: Hook | None,
        after: Hook | None,
        settled: float,
        started: float,
    ) -> None:
        self.trainer, self.net, self.settings = trainer, net, trainer.training
        self.before, self.after, self.started = before, after, started
        samples, settings = trainer.samples, trainer.training
        self.validation, self.train = held_back(samples, settings)
        self.batch = min(settings.batch, len(self.train))
        self.per_epoch = len(self.train) // self.batch
        self.steps = self.per_epoch * settings.epochs
        self.first_settled = min(math.ceil(settled * settings.epochs), settings.epochs - 1)
        self.loss = find_loss(net, samples, settings)
        features = self._features()
        self.learner: Learner = (
            net.learner(settings, self.loss, features)
            if features
            else net.learner(settings, self.loss)
        )
        self.losses: list[float] = []
        self.best, self.best_state = 0, net.state()

    def _features(self) -> Features | None:
        """What is to be like the teacher's."""
        teacher, distill = self.trainer.teacher, self.settings.distill
        if teacher is None or distill is None:
            return None
        if self.net is not self.trainer.net:
            raise UsageError(
                f"{self.trainer.name} trains the model in another form, whose layers cannot be "
                "compared with the teacher's",
                hint="leave features out of [training.distill] in recipes with this pass",
            )
        return Features.found(self.net, teacher, distill.features)

    def run(self) -> History:
        epoch = self._resume()
        stopped = self._enough(epoch) if epoch else ""
        while epoch < self.settings.epochs and not stopped:
            self._epoch(epoch)
            epoch += 1
            self._judge(epoch)
            stopped = self._enough(epoch)
            self._keep(epoch)
        self.net.restore(self.best_state)
        for hold in self.trainer.holds:
            hold()
        return History(
            epochs=epoch,
            best=self.best,
            steps=epoch * self.per_epoch,
            loss=tuple(self.losses),
            stopped=stopped,
            seconds=time.monotonic() - self.started,
        )

    def _epoch(self, epoch: int) -> None:
        import numpy as np

        seed = self.settings.seed + epoch
        order = np.random.default_rng((seed, 1)).permutation(self.train)
        self.net.seed(seed)
        total = 0.0
        for index in range(self.per_epoch):
            step = epoch * self.per_epoch + index
            if self.before:
                self.before(step, self.steps)
            batch = self.trainer.samples.batch(order[index * self.batch : (index + 1) * self.batch])
            value = self.learner.step(batch, self._rate(step))
            if not math.isfinite(value):
                raise self._lost(step, epoch)
            if self.after:
                self.after(step, self.steps)
            for hold in self.trainer.holds:
                hold()
            total += value
            if index % 20 == 0:
                self._say(epoch, index, total / (index + 1))

    def _rate(self, step: int) -> float:
        return self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def _say(self, epoch: int, index: int, loss: float) -> None:
        left = ""
        if self.losses:
            left = f", held back {self.losses[-1]:.4g}"
        tell(
            f"epoch {epoch + 1} of {self.settings.epochs}, step {index + 1} of {self.per_epoch}, "
            f"loss {loss:.4g}{left}"
        )

    def _judge(self, epoch: int) -> None:
        """The loss on what was held back; whether this is the best epoch so far."""
        total = 0.0
        for at in range(0, len(self.validation), self.batch):
            indices = self.validation[at : at + self.batch]
            total += self.learner.loss(self.trainer.samples.batch(indices)) * len(indices)
        value = total / len(self.validation)
        if not math.isfinite(value):
            raise self._lost(epoch * self.per_epoch - 1, epoch - 1)
        best = self.losses[self.best - 1] if self.best else math.inf
        self.losses.append(value)
        if epoch > self.first_settled and (value < best or not self.best):
            self.best, self.best_state = epoch, self.net.state()

    def _enough(self, epoch: int) -> str:
        patience, minutes = self.settings.patience, self.settings.minutes
        if patience and self.best and epoch - self.best >= patience:
            return f"no better for {patience} epochs"
        if minutes and time.monotonic() - self.started > 60 * minutes:
            if not self.best:  # what it shall be, it is only at the end
                raise ConversionError(
                    f"{self.trainer.name}: {minutes:g} minutes were over after epoch {epoch} of "
                    f"{self.settings.epochs}, before the model was what it shall be",
                    hint="give it more minutes or fewer epochs in [training]",
                )
            return f"{minutes:g} minutes were over"
        return ""

    def _lost(self, step: int, epoch: int) -> ConversionError:
        kept = (
            f"; the last good checkpoint is kept in {str(self.trainer.checkpoint)!r}"
            if self.trainer.checkpoint.exists()
            else ""
        )
        return ConversionError(
            f"{self.trainer.name}: the loss was no number any more at step {step + 1}, epoch "
            f"{epoch + 1}{kept}",
            hint="lower learning_rate in [training], and look for NaN or huge values in the data",
        )

    # --------------------------------------------------------------------- checkpoints

    def _keep(self, epoch: int) -> None:
        """All that going on needs, under one name that is renamed into its place."""
        import numpy as np

        folder = self.trainer.checkpoint
        folder.mkdir(parents=True, exist_ok=True)
        half = folder / "half.npz"
        arrays = {
            **{f"net/{name}": array for name, array in self.net.state().items()},
            **{f"best/{name}": array for name, array in self.best_state.items()},
            **{f"learner/{name}": array for name, array in self.learner.state().items()},
        }
        said = {
            "epoch": epoch,
            "best": self.best,
            "losses": self.losses,
            "seconds": time.monotonic() - self.started,
        }
        text = np.frombuffer(json.dumps(said).encode(), dtype=np.uint8)
        np.savez(half, allow_pickle=False, loop=text, **arrays)
        os.replace(half, folder / CHECKPOINT)

    def _resume(self) -> int:
        """How many epochs are done already."""
        path = self.trainer.checkpoint / CHECKPOINT
        if not path.exists():
            return 0
        groups, said = _read(path)
        self.net.restore(groups["net"])
        self.learner.restore(groups["learner"])
        self.best_state = groups["best"]
        self.best, self.losses = said["best"], said["losses"]
        self.started -= said["seconds"]
        tell(f"goes on after epoch {said['epoch']}")
        return int(said["epoch"])


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The arrays of a checkpoint by group and name, and what the loop said.

    Raises:
        ConversionError: it is damaged.
    """
    import numpy as np

    groups: dict[str, dict[str, Any]] = {"net": {}, "best": {}, "learner": {}}
    try:
        with np.load(path, allow_pickle=False) as kept:
            for key in kept.files:
                group, _, name = key.partition("/")
                if name:
                    groups[group][name] = kept[key]
            return groups, json.loads(kept["loop"].tobytes())
    except (OSError, ValueError, LookupError, zipfile.BadZipFile, zlib.error) as exc:
        raise ConversionError(
            f"the checkpoint {str(path)!r} of an earlier try is damaged: {exc}",
            hint=f"remove the folder {str(path.parent)!r}; training then starts anew",
        ) from exc
