"""PyTorch modules without some of their channels: what nothing read is not missed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compress.channels import find_families, keep_along
from edgekit.compress.net import Batch, open_net, save_net
from edgekit.compress.shrink import Shrink
from edgekit.compress.training import Trainer
from edgekit.core.compression import Training
from edgekit.core.errors import UsageError
from edgekit.core.model import Model, ModelOptions
from edgekit.core.registry import resolve
from edgekit.core.tensor import Signature, TensorSpec

pytestmark = pytest.mark.slow

# A module of the user's: functions that make others, each with example inputs.
NETS = '''
import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """A block of a random graph: (batch, channels, 6, 6) in and out."""

    def __init__(self, kind, width, number):
        super().__init__()
        self.kind, self.width = kind, width
        if kind in ("conv", "residual", "twice"):
            self.one = nn.Conv2d(width, width, 3, padding=1, bias=number % 2 == 0)
        if kind == "wider":
            self.width = width + 1 + number % 3
            self.one = nn.ConvTranspose2d(width, self.width, 1) if number % 2 else nn.Conv2d(
                width, self.width, 1)
        if kind == "depthwise":
            self.one = nn.Conv2d(width, width, 3, padding=1, groups=width)
        if kind == "norm":
            self.one = nn.BatchNorm2d(width)
        if kind == "prelu":
            self.one = nn.PReLU(width)
        if kind == "excited":
            self.one, self.two = nn.Linear(width, 4), nn.Linear(4, width)
        if kind == "concat":
            self.one = nn.Conv2d(width, 3, 1)
            self.width = width + 3
        if kind == "grouped":
            self.one, self.two = nn.Conv2d(width, 4, 1), nn.Conv2d(4, 4, 1, groups=2)
            self.width = 4

    def forward(self, x):
        if self.kind == "residual":
            return x + F.relu(self.one(x))
        if self.kind == "twice":
            return self.one(F.relu(self.one(x)))
        if self.kind == "excited":
            return x * torch.sigmoid(self.two(F.relu(self.one(x.mean((2, 3))))))[:, :, None, None]
        if self.kind == "concat":
            return torch.cat([x, self.one(x)], 1)
        if self.kind == "grouped":
            return self.two(self.one(x))
        if self.kind == "softmax":
            return x.softmax(1)
        if self.kind == "shuffle":
            return x.unflatten(1, (-1, x.shape[1])).transpose(1, 2).flatten(1, 2)
        if self.kind == "relu":
            return F.relu6(x)
        return self.one(x)


class Random(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        width, found = 6, []
        for kind, number in blocks:
            found.append(Block(kind, width, number))
            width = found[-1].width
        self.blocks = nn.ModuleList(found)
        self.hidden, self.scores = nn.Linear(width * 36, 6), nn.Linear(6, 5)
        self.map = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        x = F.silu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.scores(F.relu(self.hidden(torch.flatten(x, 1)))), self.map(x)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inside = nn.Linear(8, 16)
        self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.norm = nn.LayerNorm(16)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)
        self.scores = nn.Linear(16, 3)

    def forward(self, x):
        x = self.inside(x)
        q, k, v = (f(x).unflatten(2, (4, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = self.norm(x + self.out(y))
        return self.scores((x + self.down(F.gelu(self.up(x)))).mean(1))


class Heads(nn.Module):
    """As Transformers are written: the number of heads, or the size of one, is an attribute."""

    def __init__(self, by):
        super().__init__()
        self.inside = nn.Linear(8, 16)
        self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))
        self.by = by
        if by == "number":
            self.heads = 4
        else:
            self.size = 4
        self.scores = nn.Linear(16, 3)

    def forward(self, x):
        x = self.inside(x)
        shape = (self.heads, -1) if self.by == "number" else (-1, self.size)
        q, k, v = (f(x).unflatten(2, shape).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, scale=0.5).transpose(1, 2).flatten(2)
        return self.scores((x + self.out(y)).mean(1))


class Padded(nn.Module):
    """The shortcut of a ResNet for CIFAR: channels that are missing are zeros."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 1)
        self.scores = nn.Linear(8, 3)

    def forward(self, x):
        x = self.a(x)
        x = self.b(x) + F.pad(x, (0, 0, 0, 0, 4, 4))
        return self.scores(self.c(x).mean((2, 3)))


def chain():
    made = nn.Sequential(
        nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16, 10),
    )
    return made, (torch.zeros(1, 3, 8, 8),)

def recurrent():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.lstm = nn.Embedding(11, 16), nn.LSTM(16, 6, batch_first=True)
            self.scores = nn.Linear(6, 2)
        def forward(self, ids):
            return self.scores(self.lstm(self.table(ids))[0][:, -1])
    return Words(), (torch.zeros(1, 5, dtype=torch.int64),)
'''
KINDS = [
    "conv", "residual", "twice", "wider", "depthwise", "norm", "prelu", "excited", "concat",
    "grouped", "softmax", "shuffle", "relu",
]  # fmt: skip


@pytest.fixture(scope="module")
def nets() -> Any:
    found: dict[str, Any] = {}
    exec(compile(NETS, "nets", "exec"), found)
    return SimpleNamespace(**found)


def net_of(module: Any, *args: Any) -> Any:
    """A `TorchNet` of a module that no function makes."""
    import torch

    from edgekit.compress.torch_net import TorchNet

    torch.set_num_threads(1)
    live = SimpleNamespace(module=module.eval(), example=(args, {}), edits=[])

    def call(inputs: Sequence[Any], *, training: bool) -> list[Any]:
        found = live.module.train(training)(*inputs)
        return list(found) if isinstance(found, tuple) else [found]

    live.call = call
    return TorchNet(live)


def cutter_of(net: Any) -> Any:
    from edgekit.compress.shrink_torch import TorchCutter

    return TorchCutter(net)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    blocks=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5)), max_size=5),
    seed=st.integers(0, 99),
)
def test_what_nothing_reads_is_not_missed_in_random_graphs(
    nets: Any, blocks: list[tuple[str, int]], seed: int
) -> None:
    import torch

    from edgekit.compress.shrink_torch import replay

    torch.manual_seed(seed)
    module = nets.Random(blocks)
    fresh = copy.deepcopy(module)
    net = net_of(module, torch.zeros(1, 3, 6, 6))
    cutter = cutter_of(net)
    families = find_families(cutter.channels, cutter.sites)
    free = {name for family in families if family.free.any() for name in family.layers}
    assert "hidden" in free
    assert not free & {"scores", "map"}
    draw = np.random.default_rng(seed)
    kept = np.ones(len(cutter.channels), dtype=bool)
    for family in families:
        may = family.units[family.free]
        count = min(len(may), len(family.units) - 1)
        kept[draw.permutation(may)[: draw.integers(0, count + 1)]] = False
    with torch.no_grad():
        for site in cutter.sites:
            if site.reads is not None:
                stay = keep_along(site.axes[site.reads], kept)
                values = module.get_parameter(site.name).movedim(site.reads, 0)
                gone = torch.ones(len(values), dtype=torch.bool)
                gone[stay] = False
                values[gone] = 0
        image = torch.from_numpy(draw.normal(size=(2, 3, 6, 6)).astype(np.float32))
        before = net.live.call([image], training=False)
        cutter.cut(kept)
        after = net.live.call([image], training=False)
        again = fresh
        for edit in json.loads(json.dumps(net.live.edits)):
            again = replay(again, edit)
        again.load_state_dict(net.module.state_dict(), strict=True)
        third = again.eval()(image)
    for one, other, same in zip(before, after, third, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * max(1, one.abs().max()))
        np.testing.assert_array_equal(same, other)


def test_heads_whose_number_the_code_has_keep_their_channels(nets: Any) -> None:
    import torch

    net = net_of(nets.Attention(), torch.zeros(1, 5, 8))
    notes = Shrink(remove=0.3, round_to=2).apply(net, None)
    assert net.module.q.out_features == 16
    assert net.module.up.out_features < 32
    assert net.module.norm.normalized_shape == (net.module.inside.out_features,)
    assert any(note.startswith("q (+2) kept all channels") for note in notes)


@pytest.mark.parametrize("by", ["number", "size"])
def test_whole_heads_go_where_their_number_is_an_attribute(nets: Any, by: str) -> None:
    import torch

    from edgekit.compress.shrink_torch import replay

    fresh = nets.Heads(by)
    net = net_of(copy.deepcopy(fresh), torch.zeros(1, 5, 8))
    cutter = cutter_of(net)
    heads = next(f for f in find_families(cutter.channels, cutter.sites) if f.single)
    assert set(heads.layers) == {"q", "k", "v"}
    assert len(heads.units) == 4
    Shrink(remove=0.3, of="parameters", only=("q",)).apply(net, None)
    assert net.module.q.out_features in (4, 8)
    assert net.module.out.in_features == net.module.q.out_features
    if by == "number":
        assert net.module.heads == net.module.q.out_features // 4
    (edit,) = json.loads(json.dumps(net.live.edits))
    again = replay(fresh, edit)
    again.load_state_dict(net.module.state_dict(), strict=True)
    x = torch.ones(2, 5, 8)
    torch.testing.assert_close(again(x), net.module(x), rtol=0, atol=0)


def test_what_torch_pruning_takes_for_elementwise_is_found_out(nets: Any) -> None:
    import torch

    cutter = cutter_of(net_of(nets.Padded(), torch.zeros(1, 3, 4, 4)))
    families = find_families(cutter.channels, cutter.sites)
    free = {name for family in families if family.free.any() for name in family.layers}
    assert not free & {"a", "b"}


def test_what_an_lstm_reads_may_shrink(nets: Any) -> None:
    module, args = nets.recurrent()
    net = net_of(module, *args)
    Shrink(remove=0.2, of="parameters").apply(net, None)
    width = net.module.table.embedding_dim
    assert width < 16
    assert net.module.lstm.weight_ih_l0.shape == (24, width)
    assert net.module.lstm.input_size == width


def test_a_frozen_layer_stays_frozen(nets: Any) -> None:
    module, args = nets.chain()
    module[0].weight.requires_grad_(False)
    net = net_of(module, *args)
    Shrink(remove=0.5).apply(net, None)
    assert len(net.module[0].weight) < 32
    assert not net.module[0].weight.requires_grad
    assert net.module[3].weight.requires_grad


def test_too_much_is_an_error_that_says_how_much_is_possible(nets: Any) -> None:
    module, args = nets.chain()
    with pytest.raises(UsageError, match="is not possible: no more than 0") as no:
        Shrink(remove=0.99).apply(net_of(module, *args), None)
    possible = float(str(no.value).split("no more than ")[1].split()[0])
    assert Shrink(remove=possible).apply(net_of(module, *args), None)


# ----------------------------------------------------------------------------- training


def trainer_of(net: Any, folder: Path, epochs: int = 2) -> Trainer:
    """Colours to tell apart, for `chain`."""
    draw = np.random.default_rng(0)
    targets = draw.integers(0, 3, 64)
    images = draw.normal(size=(64, 3, 8, 8)).astype(np.float32)
    images[np.arange(64), targets] += 2
    spec = TensorSpec(name="y", shape=(1, 10), dtype="float32")
    samples = SimpleNamespace(
        data=SimpleNamespace(count=64, origin="here", labelled=True),
        live=SimpleNamespace(signature=Signature(inputs=(spec,), outputs=(spec,))),
        targets=targets,
        inputs=lambda indices: (images[indices],),
        batch=lambda indices: Batch((images[indices],), targets[indices]),
    )
    return Trainer("shrink", net, samples, Training(epochs=epochs, batch=16), folder)  # type: ignore[arg-type]


@pytest.mark.parametrize("importance", ["taylor", "activation"])
def test_what_data_does_not_need_goes_first(nets: Any, tmp_path: Path, importance: str) -> None:
    """Filters that are large, but whose outputs are always below the ReLU."""
    import torch

    module, args = nets.chain()
    with torch.no_grad():
        module[1].bias[:16] = -100
        module[0].weight[:16] *= 50
        module[1].running_var[:16] *= 2500
        module[0].weight.add_(1e-3 * torch.arange(32)[:, None, None, None])
    dead = module[1].running_var.clone()
    net = net_of(module, *args)
    how = {"remove": 0.4, "only": ("0",), "round_to": 16}
    Shrink(importance=importance, **how).apply(net, trainer_of(net, tmp_path, 1))
    assert len(net.module[0].weight) == 16
    assert (net.module[1].running_var < float(dead[:16].min())).all()


def test_rounds_that_are_interrupted_are_gone_on_with(nets: Any, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    module, args = nets.chain()
    pristine = copy.deepcopy(module)
    wanted = Shrink(remove=0.6, steps=2, round_to=2)
    whole = net_of(copy.deepcopy(pristine), *args)
    whole_trainer = trainer_of(whole, tmp_path / "whole", 4)
    wanted.apply(whole, whole_trainer)
    assert whole_trainer.history is not None
    assert (whole_trainer.history.epochs, len(whole_trainer.history.loss)) == (4, 4)
    assert len(whole.live.edits) == 2

    net = net_of(copy.deepcopy(pristine), *args)
    trainer = trainer_of(net, tmp_path / "again", 4)
    killed = kill_after(6)  # in the first epoch of the second round: 3 steps are an epoch
    trainer.find_holds = lambda: [killed]
    with pytest.raises(KeyboardInterrupt):
        wanted.apply(net, trainer)
    net = net_of(copy.deepcopy(pristine), *args)
    trainer = trainer_of(net, tmp_path / "again", 4)
    wanted.apply(net, trainer)
    assert trainer.history is not None
    assert trainer.history.epochs == 4
    assert net.live.edits == whole.live.edits
    for name, values in whole.state().items():
        np.testing.assert_allclose(net.state()[name], values, rtol=1e-3, atol=1e-4)
    assert not (tmp_path / "again").exists()


def kill_after(steps: int) -> Callable[[], None]:
    left = [steps]

    def hold() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    return hold


def test_a_shrunk_module_is_built_again_by_the_users_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.sources import SOURCES

    (tmp_path / "users_shrunk.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    source = SOURCES["torch"]()
    origin = source.open("torch:users_shrunk:chain", ModelOptions())
    step = source.materialise(origin)
    (tmp_path / "made").mkdir()
    made = Model.from_json(resolve(step.function)(tmp_path / "made", **step.arguments)["model"])
    model = made.model_copy(update={"path": str(tmp_path / "made" / made.path)})
    net = open_net(source.opener(origin), origin, model)
    x = np.ones((2, 3, 8, 8), np.float32)
    for index in range(2):  # edits add up
        before = net.live.module[0].out_channels
        Shrink(remove=0.4, only=("0",), round_to=2).apply(net, None)
        assert net.live.module[0].out_channels < before
        out = tmp_path / f"shrunk{index}"
        out.mkdir()
        saved = save_net(net, out)
        model = saved.model_copy(update={"path": str(out / saved.path)})
        again = open_net(source.opener(origin), origin, model)
        np.testing.assert_array_equal(again.predict([x])[0], net.predict([x])[0])
        net = again
    assert len(net.live.edits) == 2
