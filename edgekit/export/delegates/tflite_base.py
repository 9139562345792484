"""What a delegate of TFLite says of itself; each of its files is a class of this kind.

A delegate either takes the CPU's file as it is, when a board loads it, or compiles another file
from it. https://ai.google.dev/edge/litert/next
"""

from __future__ import annotations

from typing import ClassVar

from edgekit.core.errors import PlanError
from edgekit.core.quantize import EVERY_RANGE, Choices, Spread
from edgekit.core.recipe import QuantizationKind, Recipe
from edgekit.core.requirement import Requirement
from edgekit.work.requirements import missing
from edgekit.work.steps import Step

SCALES: tuple[Spread, ...] = ("per-channel", "per-tensor")
# What ai-edge-quantizer can make and every delegate can take. entropy compares histograms of 256
# levels, so it says nothing of 16 bits.
CHOICES = {
    "float16": Choices(spares=True),
    "dynamic-int8": Choices(weights={8: SCALES}, spares=True),
    "int8": Choices(weights={8: SCALES}, ranges=EVERY_RANGE, spares=True, selects=True),
    "int16x8": Choices(weights={8: SCALES}, ranges=EVERY_RANGE[:-1], spares=True, selects=True),
}


class TFLiteDelegate:
    """A `Delegate`; as it stands, one that needs no compiler.

    Attributes:
        name: what stands in variants and coverage tables.
        open_sizes: whether its artifacts can take any size in a range.
        integer_io: whether 8-bit inputs and outputs may be asked for.
        known_options: name of an option → what it says, for people.
    """

    name = ""
    title = ""
    quantizations: tuple[QuantizationKind, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    runs_here = False
    open_sizes = False
    integer_io = True
    known_options: ClassVar[dict[str, str]] = {}
    choices: ClassVar[dict[str, Choices]] = CHOICES

    def check(self, recipe: Recipe) -> None:
        """Raise PlanError if `recipe` cannot be made with this delegate, or not here."""
        if recipe.quantization not in self.quantizations:
            kinds = ("float32" if kind == "none" else kind for kind in self.quantizations)
            raise PlanError(
                f"{recipe.name}: {self.title} has no {recipe.quantization}; it has "
                f"{', '.join(kinds)}"
            )
        if recipe.io == "integer" and not self.integer_io:
            raise PlanError(f"{recipe.name}: {self.title} takes and gives float numbers only")
        unknown = sorted(set(recipe.options) - set(self.known_options))
        if unknown:
            known = ", ".join(self.known_options) or "none"
            raise PlanError(
                f"{recipe.name}: {self.title} has no option {unknown[0]!r}; known: {known}"
            )
        for requirement in self.required(recipe):
            if reason := missing(requirement):
                raise PlanError(
                    f"{recipe.name}: {self.title} needs {requirement}: {reason}",
                    hint=requirement.how,
                )

    def required(self, recipe: Recipe) -> tuple[Requirement, ...]:
        """Of the requirements, those for this recipe."""
        return self.requirements

    def step(self, made: Step, recipe: Recipe) -> Step:
        """The step of the final artifact.

        Args:
            made: the step that makes the CPU's file; its folder and result are as
                `Exporter.step` says.
            recipe: its options may come from the board's profile.

        Raises:
            PlanError: the recipe cannot be made with this delegate, or its compiler is not here.
        """
        self.check(recipe)
        return made
