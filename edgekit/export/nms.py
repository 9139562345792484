"""What a model with non-maximum suppression inside cannot be made into."""

from __future__ import annotations

from edgekit.core.errors import PlanError
from edgekit.core.model import Model
from edgekit.core.recipe import Recipe

_INTEGER = ("int8", "int16x8")


def check(model: Model, recipe: Recipe) -> None:
    """Refuse what has no such operator, and what would change the choice of boxes.

    Raises:
        PlanError: the recipe cannot be made of it.
    """
    if not model.nms.startswith("inside"):
        return
    outside = "leave it to the device: --nms outside"
    if recipe.format == "executorch":
        raise PlanError(
            f"{recipe.name}: ExecuTorch has no kernel for non-maximum suppression", hint=outside
        )
    if recipe.quantization in _INTEGER:
        raise PlanError(
            f"{recipe.name}: non-maximum suppression chooses by comparing scores, and integers "
            "make many of them equal: it cannot be inside",
            hint=f"{outside}; or take float32 or float16",
        )
