"""A teacher's features in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgekit.compress.net import Loss, open_net
from edgekit.compress.training import Samples, Trainer
from edgekit.core.compression import Distillation, Training
from edgekit.core.errors import UsageError
from tests.compress.features_suite import FeaturesSuite, labelled
from tests.compress.torch_models import net_of, opened, plain

pytestmark = pytest.mark.slow


class TestFeatures(FeaturesSuite):
    shape = (3, 12, 12)
    layers = ("stem.0", "hidden_norm")
    near = "hidden_norm"
    cut: ClassVar = {"rank": 4, "layers": ["stem.0", "hidden"]}

    @pytest.fixture
    def student(self) -> Any:
        module, example = plain()
        return net_of(module, *example)

    @pytest.fixture
    def teacher(self) -> Any:
        import torch

        module, example = plain()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1.1).add_(0.01)
        return net_of(module, *example)

    @pytest.fixture
    def narrow(self) -> Any:
        import torch

        first = torch.nn.Conv2d(3, 8, 3, padding=1)
        module = torch.nn.Sequential()
        module.add_module("stem", torch.nn.Sequential(first))
        return net_of(module, torch.zeros(1, 3, 12, 12))

    def test_a_pass_trains_with_them(self, tmp_path: Path) -> None:
        found = opened("plain", tmp_path / "made")
        result = self.one_pass(tmp_path, *found)
        assert result["history"]["epochs"] == 2
        opener, origin, model = found
        made = model.from_json(result["model"])
        path = str(tmp_path / "out" / made.path)
        net = open_net(opener, origin, made.model_copy(update={"path": path}))
        assert {"stem.0.0.weight", "stem.0.1.weight"} <= set(net.state())

    def test_without_them_nothing_is_asked_of_a_teacher(self, student: Any) -> None:
        learner = student.learner(Training(), Loss("classes", 0, 1))
        assert learner.loss(self.batch()) > 0

    def test_a_model_in_another_form_is_not_compared(self, tmp_path: Path) -> None:
        """As one with fake quantizers in it, which a pass trains in the model's place."""
        found = opened("plain", tmp_path / "made")
        net, teacher, form = (open_net(*found) for _ in range(3))
        distill = Distillation(features=self.layers)
        trainer = Trainer(
            "qat", net, Samples(labelled(tmp_path / "data", self.shape), net.live),
            Training(distill=distill), tmp_path / "checkpoint", teacher=teacher,
        )  # fmt: skip
        with pytest.raises(UsageError, match="qat trains the model in another form"):
            trainer.run(net=form)
