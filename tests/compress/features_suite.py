"""What every framework's learner does with a teacher's features; each test file inherits it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from edgekit.compress.net import Batch, Features, Loss
from edgekit.compress.run import run
from edgekit.core.compression import Distillation, PassSpec, Training
from edgekit.core.dataset import DataSet
from edgekit.core.errors import UsageError
from edgekit.core.files import sha256_file
from edgekit.core.model import Model
from edgekit.core.preprocessing import Preprocessing
from edgekit.data.arrays import read


def labelled(folder: Path, shape: tuple[int, ...]) -> DataSet:
    """Samples of noise in five classes."""
    draws = np.random.default_rng(0)
    folder.mkdir()
    path = folder / "train.npz"
    images = draws.normal(size=(64, *shape)).astype(np.float32)
    np.savez(path, x=images, labels=draws.integers(0, 5, 64))
    found = read(folder, str(path), path.name, Preprocessing().to_json(), None, sha256_file(path))
    return DataSet.from_json({**found["dataset"], "folder": str(folder)})


class FeaturesSuite:
    """Subclasses give nets of a model with layers of the names below and one input."""

    shape: tuple[int, ...]  # of a sample
    layers: tuple[str, ...]  # two whose outputs are compared
    near: str  # what is offered for a pattern that means none of them
    cut: ClassVar[dict[str, Any]]  # parameters of a low-rank pass

    @pytest.fixture
    def student(self) -> Any:
        raise NotImplementedError

    @pytest.fixture
    def teacher(self) -> Any:
        """Of the same model with other weights."""
        raise NotImplementedError

    @pytest.fixture
    def narrow(self) -> Any:
        """The student with fewer channels in the first of `layers`, and without the second."""
        raise NotImplementedError

    def batch(self) -> Batch:
        draws = np.random.default_rng(1)
        images = draws.normal(size=(8, *self.shape)).astype(np.float32)
        return Batch((images,), draws.integers(0, 5, 8))

    def apart(self, student: Any, teacher: Any) -> float:
        """The mean of the mean squared differences, in numpy."""
        inputs = self.batch().inputs
        mine, theirs = (net.outputs_of(self.layers, inputs) for net in (student, teacher))
        return float(np.mean([np.square(mine[n] - theirs[n]).mean() for n in self.layers]))

    def learner(self, student: Any, teacher: Any, weight: float) -> Any:
        distill = Distillation(features=self.layers, feature_weight=weight, weight=0)
        features = Features.found(student, teacher, self.layers)
        return student.learner(Training(distill=distill), Loss("classes", 0, 1), features)

    def test_the_difference_is_added_with_its_weight(self, student: Any, teacher: Any) -> None:
        without = self.learner(student, teacher, 0.0).loss(self.batch())
        got = self.learner(student, teacher, 3.0).loss(self.batch())
        assert got == pytest.approx(without + 3 * self.apart(student, teacher), rel=1e-4)

    def test_training_brings_the_layers_nearer(self, student: Any, teacher: Any) -> None:
        kept = teacher.state()
        learner = self.learner(student, teacher, 1000.0)
        losses = [learner.step(self.batch(), 0.01) for _ in range(20)]
        assert losses[-1] < losses[0] / 2
        for name, array in teacher.state().items():
            np.testing.assert_array_equal(array, kept[name])

    def test_patterns_mean_layers_by_name(self, student: Any, teacher: Any) -> None:
        found = Features.found(student, teacher, [*self.layers, "hid*"])
        assert set(found.layers) == {*self.layers, "hidden", "hidden_norm"}
        with pytest.raises(UsageError, match=f"matches no layer.*\n.*{self.near}"):
            Features.found(student, teacher, [f"{self.near}s"])

    def test_other_shapes_and_lost_layers_are_refused(self, narrow: Any, teacher: Any) -> None:
        first, second = self.layers
        with pytest.raises(
            UsageError, match=f"{first!r} returns .* in the model that is trained, "
        ):
            Features.found(narrow, teacher, [first])
        with pytest.raises(UsageError, match=f"{second!r} is no longer in the model"):
            Features.found(narrow, teacher, [second])

    def one_pass(
        self, folder: Path, opener: str, origin: Model, model: Model, **distill: Any
    ) -> Any:
        """What a low-rank pass that trains leaves, as the job runs it."""
        training = Training(
            epochs=2, batch=16, distill=Distillation(weight=0, features=self.layers, **distill)
        )
        data = labelled(folder / "data", self.shape)
        out = folder / "out"
        out.mkdir()
        return run(
            out,
            spec=PassSpec(name="low-rank", parameters=self.cut).to_json(),
            before=[],
            training=training.to_json(),
            opener=opener,
            origin=origin.to_json(),
            model=model.to_json(),
            data=data.to_json(),
            checkpoint=str(folder / "checkpoint"),
            cores=1,
            teacher_model=model.to_json(),
        )
