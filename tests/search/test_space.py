"""Spaces: what they leave open, which recipes they hold, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from edgekit.compress import check_passes
from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.recipe import Recipe, named_recipe
from edgekit.search.space import Space, load_spaces, parse_space, shipped_spaces

CPU = [("tflite", "xnnpack")]
BOTH = [*CPU, ("executorch", "xnnpack")]
LEAN = """
schema = 1

[[family]]
name = "lean"
quantization = "int8"
quantize = { ranges = { any = ["mse", "min-max"] } }

[[family.passes]]
pass = "shrink"
remove = { from = 0.2, to = 0.5, step = 0.1 }

[[family.passes]]
pass = "qat"
use = { any = [true, false] }
"""


def space(text: str, places: list[tuple[str, str]] = CPU) -> Space:
    return Space(tuple(parse_space(text, places, where="mine.toml")))


def family(body: str) -> str:
    return f'schema = 1\n[[family]]\nname = "one"\nquantization = "int8"\n{body}\n'


def test_a_family_holds_every_combination_of_what_it_leaves_open() -> None:
    lean = space(LEAN)
    assert lean.size == 2 * 4 * 2
    points = lean.points()
    assert len({str(point) for point in points}) == lean.size
    assert points[0] == {
        "family": "lean",
        "quantize.ranges": "mse",
        "shrink.remove": 0.2,
        "qat.use": True,
    }
    # Those that differ from the first in one choice come before those that differ in two.
    changes = [sum(point[key] != points[0][key] for key in point) for point in points]
    assert changes == sorted(changes)


def test_a_point_becomes_an_ordinary_recipe() -> None:
    lean = space(LEAN)
    with_both, without = lean.recipe(lean.points()[0]), lean.recipe(lean.points()[-1])
    assert [spec.text for spec in with_both.passes] == ["shrink remove=0.2", "qat"]
    assert with_both.quantize.ranges == "mse"
    assert with_both.budget == named_recipe("int8").budget
    assert [spec.name for spec in without.passes] == ["shrink"]
    assert with_both.name == "int8"


def test_numbers_of_a_range_are_those_that_a_person_would_write() -> None:
    tenths = space(
        family('[[family.passes]]\npass = "prune"\nsparsity = { from = 0.1, to = 0.9, step = 0.1 }')
    )
    assert [p["prune.sparsity"] for p in tenths.points()] == [n / 10 for n in range(1, 10)]
    whole = space(
        family('[[family.passes]]\npass = "cluster"\nclusters = { from = 8, to = 32, step = 8 }')
    )
    assert [p["cluster.clusters"] for p in whole.points()] == [8, 16, 24, 32]


def test_a_family_without_a_format_is_tried_wherever_the_board_computes() -> None:
    both = space(family(""), BOTH)
    assert [both.recipe(point).name for point in both.points()] == ["int8", "pte-int8"]
    fixed = space(family('format = "onnx"'), BOTH)
    assert [fixed.recipe(point).name for point in fixed.points()] == ["onnx-int8"]


def test_two_passes_of_a_kind_are_told_apart() -> None:
    twice = '[[family.passes]]\npass = "prune"\nsparsity = { any = [0.5, 0.6] }\n' * 2
    assert set(space(family(twice)).points()[0]) == {
        "family",
        "prune#1.sparsity",
        "prune#2.sparsity",
    }


@pytest.mark.parametrize("name", shipped_spaces())
def test_every_recipe_of_a_space_that_comes_along_can_be_read_and_its_passes_too(name: str) -> None:
    found = load_spaces([name], BOTH)
    for point in found.points():
        recipe = found.recipe(point)
        assert Recipe.from_json(recipe.to_json()) == recipe
        check_passes(recipe, "keras")
    assert "\n" not in shipped_spaces()[name]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema = 1", r"mine.toml: there is no \[\[family\]\] in it"),
        ("[[family]]", "mine.toml: schema is missing"),
        ("schema = 2\n[[family]]", "mine.toml: schema is missing"),
        ("schema = [", "mine.toml: not valid TOML"),
        ("schema = 1\nfamilies = 3", "mine.toml: unknown key 'families'"),
        ("schema = 1\n[[family]]\nquantization = 'int8'", r"\[\[family\]\] no. 1 has no name"),
        (
            family("quantisation = 'int8'"),
            "mine.toml: the family 'one': unknown key 'quantisation'",
        ),
        (family("calibration = { samples = 3 }"), "'calibration' cannot stand in a family"),
        (family("io = { any = [] }"), "'one': io: any = \\[\\] leaves nothing to choose from"),
        (family("io = { any = ['whole'] }"), "the family 'one': io = 'whole'"),
        (
            family('[[family.passes]]\npass = "prune"\nsparsity = { from = 0.9, to = 0.1 }'),
            "prune.sparsity: from = 0.9, to = 0.1, step = .* is no range",
        ),
        (
            family('[[family.passes]]\npass = "prune"\nsparsity = { from = 0, to = 9, step = -1 }'),
            "is no range",
        ),
        (
            family('[[family.passes]]\npass = "cluster"\nclusters = { from = 1, to = 99999 }'),
            "99999 values are too many",
        ),
    ],
)
def test_what_is_wrong_with_a_space_is_said(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        space(text)


def test_families_of_several_spaces_have_names_of_their_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(LEAN)
    assert len(load_spaces(["untrained", str(mine)], CPU).families) == 6
    with pytest.raises(UsageError, match="the family 'lean' is there twice"):
        load_spaces([str(mine), str(mine)], CPU)


def test_a_space_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="untrained"):
        load_spaces(["untraned"], CPU)
    with pytest.raises(UsageError, match="cannot read the space"):
        load_spaces([str(tmp_path / "none.toml")], CPU)


values = st.one_of(
    st.lists(st.sampled_from(["min-max", "mse", "percentile"]), min_size=1, unique=True).map(
        lambda chosen: {"any": chosen}
    ),
    st.just("mse"),
)
numbers = st.one_of(
    st.floats(0.05, 0.9).map(lambda x: round(x, 3)),
    st.lists(st.sampled_from([0.1, 0.2, 0.5]), min_size=1, unique=True).map(
        lambda chosen: {"any": chosen}
    ),
    st.tuples(st.floats(0.01, 0.4), st.floats(0.5, 0.9), st.floats(0.05, 0.3)).map(
        lambda r: {"from": r[0], "to": r[1], "step": r[2]}
    ),
)


@given(ranges=values, sparsity=numbers, use=st.sampled_from([{"any": [True, False]}, True]))
def test_whatever_is_left_open_every_point_is_a_recipe_and_no_two_are_alike(
    ranges: Any, sparsity: Any, use: Any
) -> None:
    one = {
        "name": "one",
        "quantization": "int8",
        "quantize": {"ranges": ranges},
        "passes": [{"pass": "prune", "sparsity": sparsity, "use": use}],
    }
    found = space(tomli_w.dumps({"schema": 1, "family": [one]}))
    recipes = [found.recipe(point).fingerprint() for point in found.points()]
    assert len(recipes) == found.size
    # A pass that is left out makes the same recipe whatever its own choices are.
    different = len(set(recipes))
    sparsities = len({point.get("prune.sparsity") for point in found.points()})
    assert (
        different == found.size
        if use is True
        else different == found.size // 2 * (sparsities + 1) // sparsities
    )
