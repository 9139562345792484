"""What a recipe's [quantize] may say, and which operators a pattern means."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.errors import UsageError
from edgekit.core.layers import Labelled, chosen
from edgekit.core.quantize import Choices, Quantize, refusal
from edgekit.core.recipe import BUILTIN, Recipe, load_recipe

OPERATORS = [
    Labelled("CONV_2D", ("features.0", "features.1"), "a;"),
    Labelled("CONV_2D", ("features.3",), "b;"),
    Labelled("SOFTMAX", ("head",), "c;"),
    Labelled("aten.softmax.int", ("out",), "d"),
]


def recipe(tmp_path: Path, table: str) -> Recipe:
    path = tmp_path / "r.toml"
    path.write_text(f'schema = 1\nname = "x"\nquantization = "int8"\n[quantize]\n{table}\n')
    return load_recipe(str(path))


def test_the_table_is_read(tmp_path: Path) -> None:
    made = recipe(tmp_path, 'weights = "per-tensor"\nranges = "percentile"\nfloat = ["op:ADD"]')
    assert made.quantize.percentile == 99.99
    assert (made.quantize.weights, made.quantize.in_float) == ("per-tensor", ("op:ADD",))
    assert Recipe.from_json(made.to_json()) == made
    assert BUILTIN["int4"].weight_bits == 4


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('ranges = "kl"', "'entropy'"),
        ("bits = 5", "quantize.bits = 5"),
        ("percentile = 99", "percentile goes with"),
        ('float = ["op:"]', "an empty pattern"),
        (
            'flaot = ["a"]',
            "known: weights, bits, ranges, percentile, layers, wider, float, sparse,",
        ),
        ('wider = ["float32"]', 'wider goes with layers = "auto"'),
        ('layers = "auto"\nwider = ["int4"]', "'int16x8', 'float16' or 'float32'"),
        ('layers = "auto"\nwider = []', "quantize.wider"),
        ('layers = "auto"\nfloat = "auto"', "layers cannot be given"),
        ('ranges = "percentile"\npercentile = 12', "quantize.percentile = 12"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, table: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe(tmp_path, table)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("patterns", "places"),
    [
        (["features.3"], [1]),
        (["features.*"], [0, 1]),
        (["features.1", "head"], [0, 2]),
        (["op:conv_2d"], [0, 1]),
        (["op:softmax"], [2, 3]),
        ([], []),
    ],
)
def test_a_pattern_means_layers_or_operators(patterns: list[str], places: list[int]) -> None:
    assert chosen(patterns, OPERATORS) == places


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("feature.3", "features.3"),
        ("Head", "head"),  # case counts
        ("op:conv", "op:CONV_2D"),
        ("zzz", "among others: features.0, features.3"),
    ],
)
def test_a_pattern_that_means_nothing_names_near_ones(pattern: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(["head", pattern], OPERATORS)
    assert says in str(caught.value)


def test_what_a_delegate_cannot_do_is_said_with_what_it_can() -> None:
    known = Choices(weights={8: ("per-channel",)}, ranges=("min-max", "mse"))
    assert refusal(Quantize(ranges="mse", bits=8), 8, known) == ""
    assert "it has per-channel in 8 bits" in refusal(Quantize(weights="block-32"), 8, known)
    assert "it does by min-max, mse" in refusal(Quantize(ranges="entropy"), 8, known)
    assert "in float" in refusal(Quantize.from_json({"float": ["a"]}), 8, known)
    assert "find out which" in refusal(Quantize.from_json({"float": "auto"}), 8, known)
    assert "need wider numbers" in refusal(Quantize(layers="auto"), 8, known)
    selects = known.model_copy(update={"selects": True, "mixes": ("float16",)})
    assert "no layers in int16x8" in refusal(Quantize(layers="auto"), 8, selects)
    assert refusal(Quantize(layers="auto", wider=("float16",)), 8, selects) == ""
    assert "has no short scales" in refusal(Quantize(scales="short"), 8, selects)
    assert refusal(Quantize(), 8, Choices()) == ""
