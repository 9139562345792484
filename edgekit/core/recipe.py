"""How an artifact is made: format, quantization, and the budget it must keep.

The built-in recipes are the named variants. A recipe file is the same thing in TOML:

    schema = 1
    name = "int8-strict"
    quantization = "int8"
    io = "integer"
    [budget]
    max_drop = 0.5

The README's section "Recipes" tells all keys.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.noun import Noun

QuantizationKind = Literal["none", "float16", "dynamic-int8", "int8", "int16x8"]


class Budget(Noun):
    """What an artifact may lose against its source model.

    With labels, `max_drop` decides; without, `min_snr_db` does, measured before a final softmax.

    Attributes:
        max_drop: percentage points of top-1 accuracy.
        min_snr_db: signal-to-noise ratio of every output, 10·log10(Σ signal² / Σ error²), in dB.
    """

    max_drop: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    min_snr_db: float = Field(default=10.0, allow_inf_nan=False)


class Calibration(Noun):
    """Which samples set the ranges of integer activations.

    `spread` takes evenly spaced samples of the whole set, `first` the first ones, `random` a draw
    with `seed`.
    """

    samples: int = Field(default=100, ge=1)
    choice: Literal["spread", "first", "random"] = "spread"
    seed: int = 0


class Recipe(Noun):
    """How one artifact is made.

    `io` says what the artifact's own inputs and outputs are where the inside is integer: `float`
    (quantized at the border) or `integer`.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    format: Literal["tflite"] = "tflite"
    quantization: QuantizationKind
    io: Literal["float", "integer"] = "float"
    calibration: Calibration = Calibration()
    budget: Budget = Budget()

    @property
    def needs_calibration(self) -> bool:
        return self.quantization in ("int8", "int16x8")

    @property
    def variant(self) -> str:
        """The name of the built-in recipe that makes the same kind of file."""
        for name, recipe in BUILTIN.items():
            if (recipe.quantization, recipe.io) == (self.quantization, self.io):
                return name
        return self.quantization


class _RecipeFile(Recipe):
    """A recipe as written by a person, who says which schema it is."""

    schema_version: Literal[1] = Field(alias="schema")


# Budgets: float files must reproduce the source nearly to rounding. 8-bit weights alone leave 20 to
# 40 dB on healthy networks, 8-bit activations with them some less; below 10 dB a tenth of the
# output's power is error.
BUILTIN: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="float32", quantization="none", budget=Budget(min_snr_db=60)),
        Recipe(name="float16", quantization="float16", budget=Budget(min_snr_db=40)),
        Recipe(name="dynamic", quantization="dynamic-int8", budget=Budget(min_snr_db=15)),
        Recipe(name="int8", quantization="int8"),
        Recipe(name="int8-io", quantization="int8", io="integer"),
        Recipe(name="int16x8", quantization="int16x8", budget=Budget(min_snr_db=15)),
    )
}


def load_recipe(reference: str) -> Recipe:
    """A built-in recipe by name, or the recipe in the file that `reference` is the path of.

    Raises:
        UnknownNameError: no built-in recipe has that name.
        UsageError: the file is missing or not a valid recipe, or takes a built-in one's name.
    """
    if not reference.endswith(".toml"):
        if reference not in BUILTIN:
            raise UnknownNameError("variant", reference, BUILTIN)
        return BUILTIN[reference]
    path = Path(reference)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise UsageError(f"cannot read the recipe {reference!r}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{reference}: not valid TOML: {exc}") from exc
    try:
        written = _RecipeFile.from_json(data, where=reference)
    except UsageError as exc:
        if "schema" not in data:
            exc.hint = "write schema = 1 in its first line"
        raise
    recipe = Recipe.from_json(written.to_json(), where=reference)
    if recipe != BUILTIN.get(recipe.name, recipe):
        raise UsageError(
            f"{reference}: name = {recipe.name!r} is a built-in variant's, and that is another "
            "recipe; choose another name"
        )
    return recipe
