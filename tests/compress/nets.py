"""Tiny models of each framework, opened as passes open them.

The same ones of Keras 3 (keras3), tf_keras (keras2) and PyTorch (torch), by name; what each is for
says `tests/contracts/net.py`. Models of Keras with classes of the user's, and all of PyTorch's, are
made by functions of a module `makers_of_nets` in the folder.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.compress.net import Net, open_net, save_net
from edgekit.core.model import Model, ModelOptions
from edgekit.core.registry import resolve

KERAS = '''
{imports}

L = keras.layers


@keras.saving.register_keras_serializable("users")
class Scaled(L.Layer):
    """A layer of the user's."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inside = L.Dense(units, name="inside")

    def build(self, shape):
        self.inside.build(shape)
        self.kernel = self.add_weight(name="kernel", shape=(self.units,), initializer="ones")
        super().build(shape)

    def call(self, x):
        return self.inside(x) * self.kernel

    def get_config(self):
        return {{**super().get_config(), "units": self.units}}


class Up(L.Conv2DTranspose):
    pass


def seeded(make):
    def made():
        keras.utils.set_random_seed(0)
        return make()
    return made


@seeded
def vector():
    x = L.Input((8,), name="x")
    y = L.Dense(16, "relu", name="hidden")(x)
    y = L.Dropout(0.5)(L.BatchNormalization(name="norm")(y))
    return keras.Model(x, L.Dense(3, "softmax", name="scores")(y))

@seeded
def logits():
    return keras.Sequential([L.Input((8,), name="x"), L.Dense(3, name="scores")])

@seeded
def numbers():
    return keras.Sequential([L.Input((8,), name="x"), L.Dense(2, name="sizes")])

@seeded
def yes():
    return keras.Sequential([L.Input((8,), name="x"), L.Dense(1, "sigmoid", name="yes")])

@seeded
def image():
    x = L.Input((8, 8, 4), name="image")
    y = L.Conv2D(6, 3, name="conv")(x)
    y = L.DepthwiseConv2D(3, depth_multiplier=2, name="depth")(y)
    y = L.Conv2D(12, 1, groups=12, name="groups")(y)
    y = L.Conv2DTranspose(5, 2, strides=2, name="up")(y)
    return keras.Model(x, y)

@seeded
def words():
    x = L.Input((5,), dtype="int32", name="ids")
    return keras.Model(x, L.Dense(2, name="scores")(L.LSTM(3, name="lstm")(
        L.Embedding(11, 4, name="table")(x))))

@seeded
def attention():
    x = L.Input((5, 4), name="x")
    return keras.Model(x, L.MultiHeadAttention(2, 3, name="heads")(x, x))

@seeded
def nested():
    x = L.Input((6,), name="x")
    base = keras.Sequential([L.Input((6,)), L.Dense(6, name="inner")], name="base")
    twice = L.Dense(6, name="twice")
    return keras.Model(x, twice(twice(base(x))))

@seeded
def own():
    x = L.Input((4, 4, 2), name="image")
    return keras.Model(x, Scaled(3, name="scaled")(Up(5, 2, name="up")(x)))
'''

TORCH = """
import torch
from torch import nn


class Vector(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 16)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.5)
        self.scores = nn.Linear(16, 3)

    def forward(self, x):
        return self.scores(self.drop(self.norm(self.hidden(x).relu()))).softmax(-1)


class Linear(nn.Module):
    def __init__(self, size, sigmoid=False):
        super().__init__()
        self.scores, self.sigmoid = nn.Linear(8, size), sigmoid

    def forward(self, x):
        return self.scores(x).sigmoid() if self.sigmoid else self.scores(x)


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3)
        self.depth = nn.Conv2d(6, 6, 3, groups=6)
        self.groups = nn.Conv2d(6, 6, 1, groups=6)
        self.up = nn.ConvTranspose2d(6, 5, 2, stride=2)

    def forward(self, image):
        return self.up(self.groups(self.depth(self.conv(image))))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 4)
        self.lstm = nn.LSTM(4, 3, batch_first=True)
        self.scores = nn.Linear(3, 2)

    def forward(self, ids):
        return self.scores(self.lstm(self.table(ids))[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.heads(x, x, x, need_weights=False)[0]


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.base = nn.Sequential(nn.Linear(6, 6))
        self.twice = nn.Linear(6, 6)
        self.again = self.twice

    def forward(self, x):
        return self.again(self.twice(self.base(x)))


def made(module, *shape, of=torch.float32):
    return module.eval(), (torch.zeros(1, *shape, dtype=of),)

# No seed: weights are those that were saved, whatever the function starts with.
def vector():
    return made(Vector(), 8)

def logits():
    return made(Linear(3), 8)

def numbers():
    return made(Linear(2), 8)

def yes():
    return made(Linear(1, sigmoid=True), 8)

def image():
    return made(Image(), 4, 8, 8)

def words():
    return made(Words(), 5, of=torch.int64)

def attention():
    return made(Attention(), 5, 4)

def nested():
    return made(Nested(), 6)

def own():
    return made(Image(), 4, 8, 8)
"""
MODULE = "makers_of_nets"
LOSS = '''

def twice_wrong(outputs, targets):
    """A loss of the user's: the mean of absolute differences, doubled."""
    return 2 * abs(outputs - targets)
'''


@dataclass
class Opened:
    """A net and how it was opened."""

    net: Net
    origin: Model
    model: Model
    opener: str

    def again(self, out: Path) -> Opened:
        """Saved as it is now, and opened as the next pass would."""
        out.mkdir(parents=True)
        made = save_net(self.net, out)
        model = made.model_copy(update={"path": str(out / made.path)})
        return Opened(open_net(self.opener, self.origin, model), self.origin, model, self.opener)


def write_module(kind: str, folder: Path) -> None:
    """The user's module; it has to be found from the folder."""
    text = TORCH
    if kind != "torch":
        package = {"keras3": "keras", "keras2": "tf_keras"}[kind]
        text = KERAS.format(imports=f"import {package} as keras")
    (folder / f"{MODULE}.py").write_text(text + LOSS, encoding="utf-8")


def opened(kind: str, name: str, folder: Path, **options: Any) -> Opened:
    """The model called `name`, its weights those that lie in the folder already, if any do."""
    from edgekit.sources import SOURCES

    if not (folder / f"{MODULE}.py").exists():
        write_module(kind, folder)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    framework = "torch" if kind == "torch" else "keras"
    source = SOURCES[framework]()
    origin = source.open(f"{framework}:{MODULE}:{name}", ModelOptions(**options))
    step = source.materialise(origin)
    out = folder / f"made-{name}"
    kept = folder / f"made-{name}.json"
    if not kept.exists():
        out.mkdir()
        made = resolve(step.function)(out, **step.arguments)["model"]
        kept.write_text(Model.from_json(made).model_dump_json())
    model = Model.model_validate_json(kept.read_text())
    model = model.model_copy(update={"path": str(out / model.path)})
    opener = source.opener(origin)
    return Opened(open_net(opener, origin, model), origin, model, opener)
