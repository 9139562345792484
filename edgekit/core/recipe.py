"""How an artifact is made: format, delegate, quantization, and the budget it must keep.

A variant's name says all three: ``[FORMAT-][DELEGATE-]QUANTIZATION``, as in ``int8`` (TFLite for
the CPU), ``gpu-float16``, ``pte-int8`` (ExecuTorch with XNNPACK), ``pte-vulkan-float32``,
``onnx-int8``. A recipe file is the same thing in TOML:

    schema = 1
    name = "int8-strict"
    quantization = "int8"
    io = "integer"
    [quantize]
    ranges = "mse"
    [budget]
    max_drop = 0.5

The README's section "Recipes" tells all keys.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from edgekit.core.compression import PassSpec, Training
from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.locate import shipped
from edgekit.core.noun import Noun
from edgekit.core.quantize import Quantize

QuantizationKind = Literal[
    "none", "float16", "dynamic-int8", "dynamic-int4", "int8", "int16x8", "original"
]
Format = Literal["tflite", "executorch", "onnx"]

# What stands before the quantization in a variant's name; nothing for TFLite.
PREFIXES: dict[str, Format] = {"": "tflite", "pte": "executorch", "onnx": "onnx"}
# The delegate that is meant where a name says none.
USUAL_DELEGATE: dict[Format, str] = {"tflite": "xnnpack", "executorch": "xnnpack", "onnx": "cpu"}
SUFFIXES: dict[Format, str] = {"tflite": ".tflite", "executorch": ".pte", "onnx": ".onnx"}


class Budget(Noun):
    """What an artifact may lose against its source model.

    With labels, `max_drop` decides; without, `min_snr_db` does, measured before a final softmax.

    Attributes:
        metric: what is measured with labels, a name in `edgekit.verify.metrics.METRICS` or
            ``package.module:function``.
        max_drop: of that: percentage points where it is a share, else percent of the source's
            value.
        min_snr_db: signal-to-noise ratio of every output, 10·log10(Σ signal² / Σ error²), in dB.
    """

    metric: str = Field(default="top1", min_length=1)
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

    Attributes:
        passes: what is done to the model first, in this order.
        training: how those of them that train do it.
        delegate: what computes it, a name in `edgekit.export.delegates.DELEGATES` after the format;
            the format's usual one where a recipe file says none.
        options: what the delegate is told (an accelerator's configuration, say); a device profile
            fills in what is left open.
        quantization: "original" takes a model that is such a file already as it is.
        io: what the artifact's own inputs and outputs are where the inside is integer: `float`
            (quantized at the border) or `integer`.
        quantize: how the numbers are quantized beyond their kind; see `edgekit.core.quantize`.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    format: Format = "tflite"
    delegate: str = Field(default="", pattern=r"^[a-z0-9-]*$")
    options: dict[str, str] = Field(default_factory=dict)
    quantization: QuantizationKind
    io: Literal["float", "integer"] = "float"
    quantize: Quantize = Quantize()
    calibration: Calibration = Calibration()
    budget: Budget = Budget()
    passes: tuple[PassSpec, ...] = ()
    training: Training = Training()

    @property
    def weight_bits(self) -> int:
        """Of quantized weights."""
        return self.quantize.bits or (4 if self.quantization == "dynamic-int4" else 8)

    @property
    def needs_calibration(self) -> bool:
        return self.quantization in ("int8", "int16x8")

    @model_validator(mode="before")
    @classmethod
    def _usual_delegate(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("delegate"):
            usual = USUAL_DELEGATE.get(data.get("format", "tflite"))
            if usual is not None:
                return {**data, "delegate": usual}
        return data

    @property
    def kind(self) -> str:
        """What is done to the numbers, as the last part of a variant's name ("int8-io")."""
        for name, (quantization, io, _) in KINDS.items():
            if (quantization, io) == (self.quantization, self.io):
                return name
        return self.quantization

    @property
    def variant(self) -> str:
        """The name of the variant that makes the same kind of file."""
        prefix = _prefix(self.format)
        delegate = "" if self.delegate == USUAL_DELEGATE[self.format] else self.delegate
        return "-".join(part for part in (prefix, delegate, self.kind) if part)

    @property
    def suffix(self) -> str:
        """Of the artifact's file."""
        return SUFFIXES[self.format]


class _RecipeFile(Recipe):
    """A recipe as written by a person, who says which schema it is."""

    schema_version: Literal[1] = Field(alias="schema")


# Name: quantization, border, budget in dB. Float files must reproduce the source nearly to
# rounding. 8-bit weights alone leave 20 to 40 dB on healthy networks, 8-bit activations with them
# some less; below 10 dB a tenth of the output's power is error.
KINDS: dict[str, tuple[QuantizationKind, Literal["float", "integer"], float]] = {
    "float32": ("none", "float", 60),
    "float16": ("float16", "float", 40),
    "dynamic": ("dynamic-int8", "float", 15),
    "int4": ("dynamic-int4", "float", 10),  # 4-bit weights alone leave 12 to 25 dB
    "int8": ("int8", "float", 10),
    "int8-io": ("int8", "integer", 10),
    "int16x8": ("int16x8", "float", 15),
    "original": ("original", "float", 30),  # what differs is only other kernels' rounding
}


def named_recipe(name: str) -> Recipe:
    """The recipe that a variant's name stands for.

    That there is such a delegate is for the plan to say, which knows them.

    Raises:
        UnknownNameError: it does not end in a kind of numbers.
    """
    for kind in sorted(KINDS, key=len, reverse=True):
        if name == kind or name.endswith("-" + kind):
            break
    else:
        raise UnknownNameError("variant", name, EXAMPLES)
    before = name.removesuffix(kind).removesuffix("-")
    prefix, _, delegate = before.partition("-")
    if prefix not in PREFIXES:
        prefix, delegate = "", before
    quantization, io, snr = KINDS[kind]
    recipe = Recipe(
        name=name,
        format=PREFIXES[prefix],
        delegate=delegate,
        quantization=quantization,
        io=io,
        budget=Budget(min_snr_db=snr),
    )
    return recipe.model_copy(update={"name": recipe.variant})


def float_recipe(recipe: Recipe) -> Recipe:
    """The float32 recipe of the same format, for the CPU: what the others are compared with."""
    return named_recipe("-".join(part for part in (_prefix(recipe.format), "float32") if part))


def _prefix(file_format: Format) -> str:
    return next(prefix for prefix, name in PREFIXES.items() if name == file_format)


# TFLite's own for the CPU, in the order in which they are shown.
BUILTIN: dict[str, Recipe] = {
    name: named_recipe(name)
    for name in ("float32", "float16", "dynamic", "int4", "int8", "int8-io", "int16x8")
}
EXAMPLES = (*BUILTIN, "pte-float32", "pte-dynamic", "pte-int8", "onnx-float32", "onnx-int8")


def shipped_recipes() -> dict[str, str]:
    """What each recipe that comes with edgekit is for, by name: the first line of its file."""
    found = {}
    for path in sorted(shipped("recipes").glob("*.toml")):
        found[path.stem] = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    return found


def shipped_recipe(name: str) -> Path:
    """The file of a recipe that comes with edgekit. Raises UnknownNameError."""
    if name not in shipped_recipes():
        raise UnknownNameError("recipe", name, shipped_recipes())
    return shipped("recipes") / f"{name}.toml"


def load_recipe(reference: str) -> Recipe:
    """The recipe of a variant's name, one that comes with edgekit, or the recipe in the file that
    `reference` is the path of.

    Raises:
        UnknownNameError: no variant has that name.
        UsageError: the file is missing or not a valid recipe, or takes a variant's name.
    """
    if not reference.endswith(".toml"):
        try:
            return named_recipe(reference)
        except UnknownNameError:
            known = shipped_recipes()
            if reference not in known:
                raise UnknownNameError("variant", reference, (*EXAMPLES, *known)) from None
    path = Path(reference) if reference.endswith(".toml") else shipped_recipe(reference)
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
    if recipe != _variant_named(recipe.name, recipe):
        raise UsageError(
            f"{reference}: name = {recipe.name!r} is a built-in variant's, and that is another "
            "recipe; choose another name"
        )
    return recipe


def _variant_named(name: str, otherwise: Recipe) -> Recipe:
    """A file may be called ``my-int8``, but not like a variant that there may be."""
    try:
        meant = named_recipe(name)
    except UnknownNameError:
        return otherwise
    usual = meant.delegate == USUAL_DELEGATE[meant.format]
    return meant if usual else otherwise
