"""Options that only some sources take: what the others say of them, and how they are written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgekit.core.errors import UsageError
from edgekit.core.model import ModelOptions

_INSIDE = re.compile(r"inside(?::(?P<limits>.+))?")


@dataclass(frozen=True)
class Suppression:
    """Limits of a non-maximum suppression that shall be inside; None is for the model to say.

    Attributes:
        iou: boxes that overlap more than this are one.
        score: what has less is nothing.
        most: boxes that come out.
    """

    iou: float | None = None
    score: float | None = None
    most: int | None = None


def suppression(text: str) -> Suppression | None:
    """``--nms``: limits for ``inside[:iou=…,score=…,most=…]``, None for ``outside``.

    Raises:
        UsageError: it is neither.
    """
    if text == "outside":
        return None
    match = _INSIDE.fullmatch(text)
    if match is None:
        raise _unclear(text)
    given: dict[str, float] = {}
    for part in (match["limits"] or "").split(",") if match["limits"] else []:
        name, _, number = part.partition("=")
        try:
            given[name] = float(number)
        except ValueError:
            raise _unclear(text) from None
    most = given.pop("most", None)
    share = all(name in ("iou", "score") and 0 <= each <= 1 for name, each in given.items())
    if not share or (most is not None and (most < 1 or most != int(most))):
        raise _unclear(text)
    return Suppression(given.get("iou"), given.get("score"), None if most is None else int(most))


def _unclear(text: str) -> UsageError:
    return UsageError(
        f"--nms {text!r} is not of the form outside or inside[:iou=SHARE,score=SHARE,most=COUNT]",
        hint="for example --nms inside:iou=0.5,score=0.25,most=100",
    )


def refuse_weights(options: ModelOptions, hint: str) -> None:
    """Raise UsageError if weights are given for a file that holds its own."""
    if options.weights:
        raise UsageError("--weights goes with a function that makes a PyTorch model", hint=hint)


def refuse_nms(options: ModelOptions) -> None:
    """Raise UsageError if something is said of a detector's non-maximum suppression."""
    if options.nms:
        raise UsageError(
            f"--nms {options.nms} goes with an ONNX model, in whose graph non-maximum suppression "
            "is an operator",
            hint="export the model as ONNX, or export it without its non-maximum suppression",
        )
