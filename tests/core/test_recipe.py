from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.recipe import BUILTIN, Budget, Calibration, Recipe, load_recipe


def test_the_built_in_recipes_are_what_the_variants_are_called() -> None:
    assert list(BUILTIN) == ["float32", "float16", "dynamic", "int4", "int8", "int8-io", "int16x8"]
    assert all(load_recipe(name).variant == name for name in BUILTIN)


def test_a_recipe_file_is_named_by_itself_and_is_of_a_known_variant(tmp_path: Path) -> None:
    path = tmp_path / "strict.toml"
    path.write_text(
        'schema = 1\nname = "strict"\nquantization = "int8"\nio = "integer"\n'
        "[budget]\nmetric = 'f1'\nmax_drop = 0.25\n"
    )
    recipe = load_recipe(str(path))
    assert (recipe.name, recipe.variant, recipe.budget.max_drop) == ("strict", "int8-io", 0.25)
    assert recipe.budget.metric == "f1"
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_the_fingerprint_tells_recipes_apart() -> None:
    assert len({recipe.fingerprint() for recipe in BUILTIN.values()}) == len(BUILTIN)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('schema = 1\nname = "x"\nquantization = "int7"', "int7"),
        ('schema = 1\nname = "x"\nquantization = "int8"\nbugdet = 1', "unknown key 'bugdet'"),
        (
            'schema = 1\nname = "x"\nquantization = "int8"\nbugdet = 1',
            "(known: schema, name, format, delegate, options, quantization, io, quantize, "
            "calibration, budget, passes, training)",
        ),
        (
            'schema = 1\nname = "x"\nquantization = "int8"\n[budget]\nmax_dorp = 1',
            "unknown key 'budget.max_dorp' (known: metric, max_drop, min_snr_db)",
        ),
        (
            'quantisation = "int8"',
            "keys 'schema', 'name' and 'quantization' are missing; unknown key 'quantisation'",
        ),
        ('name = "x"\nquantization = "int8"', "write schema = 1"),
        ('schema = 1\nname = "../x"\nquantization = "int8"', "'../x'"),
        ("schema = ", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_recipe_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_recipe(str(path))
    assert says in str(caught.value)


def test_a_built_in_name_stays_the_built_in_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('schema = 1\nname = "int8"\nquantization = "int8"\n')
    assert load_recipe(str(path)) == BUILTIN["int8"]
    path.write_text('schema = 1\nname = "int8"\nquantization = "float16"\n')
    with pytest.raises(UsageError, match=r"name = 'int8' is a built-in .* choose another name"):
        load_recipe(str(path))


def test_the_recipe_in_the_readme_is_one(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    plain, changed = re.findall(r"```toml\n(schema.*?)```", readme, re.DOTALL)[:2]
    path = tmp_path / "r.toml"
    path.write_text(plain)
    assert load_recipe(str(path)).variant == "int8-io"
    path.write_text(changed)
    assert [each.name for each in load_recipe(str(path)).passes] == ["prune", "cluster"]
    section = readme.partition("\n## Recipes\n")[2].partition("\n## ")[0]
    for name in ("schema", "name", "format", "delegate", "quantization", "io"):
        assert f"| `{name}` |" in section
    for name in Calibration.model_fields:
        assert f"| `calibration.{name}` |" in section
    for name in Budget.model_fields:
        assert f"| `budget.{name}` |" in section


def test_an_unknown_variant_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="int8"):
        load_recipe("int-8")
    with pytest.raises(UsageError, match="cannot read the recipe"):
        load_recipe(str(tmp_path / "none.toml"))
