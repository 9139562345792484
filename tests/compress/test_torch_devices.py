"""Where PyTorch trains. No GPU is needed: `elsewhere` stands for its memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.compress import check_passes, technique, torch_net
from edgekit.compress.net import Batch, Loss, Net
from edgekit.compress.qat import QuantizeAware
from edgekit.compress.torch_qat import RoundingTorchNet
from edgekit.compress.training import Samples, Trainer
from edgekit.core.compression import Distillation, PassSpec, Training
from edgekit.core.errors import ConversionError, PlanError, UsageError
from edgekit.core.recipe import Recipe
from tests.compress.hard import data_set
from tests.compress.test_torch_qat import images, opener

pytestmark = pytest.mark.slow


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A GPU's memory, which only trainings with ``device = "gpu"`` go to."""
    from tests.compress.elsewhere import DEVICE, Memory

    cpu = torch_net.device_for

    def device_for(training: Training, *, mixed: bool) -> tuple[Any, str]:
        return (DEVICE, "a double") if training.device == "gpu" else cpu(training, mixed=mixed)

    monkeypatch.setattr(torch_net, "device_for", device_for)
    return Memory


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    """Nets in the usual order in memory, as on the other device: another one adds up in another
    order, and one weight pruned instead of another trains to something else."""
    return opener("kinds_in_order", tmp_path_factory.mktemp("kinds"))


@pytest.fixture
def trained(tmp_path: Path, opened: Callable[[], Any]) -> Callable[..., Any]:
    """Gives a net after a pass that trained on a device, and its trainer."""
    labels = np.random.default_rng(3).integers(0, 5, 48)
    data = data_set(tmp_path / "data", images(48), labels)

    def train(name: str, parameters: dict[str, Any], **settings: Any) -> Any:
        net: Net = opened()
        wanted = Training(epochs=2, batch=16, **settings)
        trainer = Trainer(name, net, Samples(data, net.live), wanted, tmp_path / "checkpoint")
        trainer.teacher = opened() if wanted.distill else None
        technique(PassSpec(name=name, parameters=parameters), "test").apply(net, trainer)
        return net, trainer

    return train


@pytest.mark.parametrize(
    ("name", "parameters", "settings"),
    [
        ("prune", {"sparsity": 0.5}, {}),
        ("prune", {"sparsity": 0.5}, {"distill": Distillation(weight=0, features=("norm",))}),
        ("qat", {}, {}),
    ],
    ids=["prune", "features", "qat"],
)
def test_a_training_there_is_the_same_as_here(
    trained: Any, elsewhere: Any, name: str, parameters: dict[str, Any], settings: dict[str, Any]
) -> None:
    """So every tensor of it was there; and the net is back when it is over."""
    here, _ = trained(name, parameters, device="cpu", **settings)
    with elsewhere():
        there, trainer = trained(name, parameters, device="gpu", **settings)
    assert trainer.history.where == "a double"
    assert there.device.type == "cpu"
    for key, array in here.state().items():
        # Adam takes another way for tensors of a kind of its own; hence the last bits.
        np.testing.assert_allclose(there.state()[key], array, rtol=0, atol=2e-4)


def test_what_a_graph_makes_is_made_there(tmp_path: Path, elsewhere: Any) -> None:
    net = opener("places", tmp_path)()
    inputs = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    rounding = RoundingTorchNet(net, QuantizeAware(), [inputs])
    rounding.calibrate([inputs])
    here = rounding.predict([inputs])[0]
    with elsewhere(), rounding.placed(Training(device="gpu")):
        np.testing.assert_allclose(rounding.predict([inputs])[0], here, atol=1e-6)
    np.testing.assert_allclose(rounding.predict([inputs])[0], here, atol=1e-6)


def test_what_is_left_behind_is_seen(opened: Callable[[], Any], elsewhere: Any) -> None:
    """The double does what it is for."""
    net = opened()
    with elsewhere(), net.placed(Training(device="gpu")):
        import torch

        with pytest.raises(RuntimeError, match="tensors on meta and cpu"):
            net.live.call([torch.from_numpy(images(2))], training=False)


def test_mixed_precision_is_near_and_coarser(opened: Callable[[], Any]) -> None:
    net = opened()
    batch, start = Batch((images(8),), np.arange(8) % 5), net.state()

    def losses(settings: Training) -> list[float]:
        net.restore(start)
        net.seed(0)
        learner = net.learner(settings, Loss("classes", 0, 1, probabilities=True))
        return [learner.step(batch, 0.01) for _ in range(10)]

    plain, mixed = losses(Training()), losses(Training(precision="mixed"))
    assert all(one != other for one, other in zip(plain, mixed, strict=True))
    assert mixed == pytest.approx(plain, rel=0.02)
    assert mixed[-1] < 0.98 * mixed[0]
    assert all(str(each.dtype) == "torch.float32" for each in net.module.parameters())


def test_qat_stays_in_float32(trained: Any) -> None:
    mixed = {"device": "cpu", "precision": "mixed"}
    _, trainer = trained("qat", {}, **mixed)
    assert trainer.history.where == ""
    _, trainer = trained("prune", {"sparsity": 0.5}, **mixed)
    assert trainer.history.where == "the CPU in bfloat16 and float32"


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_net.device_for(Training(), mixed=False) == (torch.device("cpu"), "")
    with pytest.raises(UsageError, match=r'device = "gpu", and PyTorch \S+ finds none'):
        torch_net.device_for(Training(device="gpu"), mixed=False)


def test_a_gpu_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert torch_net.device_for(Training(), mixed=False) == (torch.device("cuda"), "Old GPU")
    assert torch_net.device_for(Training(device="cpu"), mixed=False)[0].type == "cpu"
    with pytest.raises(UsageError, match='"mixed" takes bfloat16, which Old GPU does not have'):
        torch_net.device_for(Training(), mixed=True)


def test_memory_of_the_gpu_that_is_too_small(
    opened: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    net = opened()
    learner = net.learner(Training(batch=8), Loss("classes", 0, 1, probabilities=True))

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(net.live.module, "forward", full)
    with pytest.raises(ConversionError, match="8 samples a step do not fit the memory of the GPU"):
        learner.step(Batch((images(8),), np.arange(8) % 5), 0.01)


def test_a_tensor_that_the_module_keeps_for_itself(
    opened: Callable[[], Any], elsewhere: Any
) -> None:
    net = opened()
    with elsewhere(), net.placed(Training(device="gpu")):
        import torch

        net.live.module.norm.running_mean = torch.zeros(8)
        learner = net.learner(Training(), Loss("classes", 0, 1, probabilities=True))
        with pytest.raises(ConversionError, match="InOrder has tensors that do not go to the GPU"):
            learner.step(Batch((images(8),), np.arange(8) % 5), 0.01)


def test_mixed_precision_of_keras_is_refused_before_work() -> None:
    recipe = Recipe.from_json(
        {
            "name": "mine",
            "quantization": "none",
            "passes": [{"name": "prune", "parameters": {"sparsity": 0.5}}],
            "training": {"precision": "mixed"},
        }
    )
    check_passes(recipe, "torch")
    with pytest.raises(PlanError, match='"mixed" is for PyTorch; this is a keras model'):
        check_passes(recipe, "keras")
