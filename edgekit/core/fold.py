"""Moves the last part of the preprocessing into the artifact: normalisation and layout."""

from __future__ import annotations

from edgekit.core.errors import UsageError
from edgekit.core.model import InputForm, Layout
from edgekit.core.preprocessing import Cast, Normalize, Preprocessing, ToLayout


def fold(
    preprocessing: Preprocessing, *, layout: Layout, raw_pixels: bool
) -> tuple[Preprocessing, InputForm]:
    """What is left to do before the artifact, and how the artifact takes its input.

    Args:
        preprocessing: what is done to an image before the model sees it.
        layout: "nhwc" or "nchw" where the artifact's layout shall be another than the model's; "".
        raw_pixels: the artifact takes uint8 pixels; casts and normalisation move into it.

    Raises:
        UsageError: the preprocessing has steps that cannot move.
    """
    operations = list(preprocessing.operations)
    if not raw_pixels:
        if layout == "nhwc":
            operations = [op for op in operations if not isinstance(op, ToLayout)]
        return Preprocessing(operations=tuple(operations)), InputForm(layout=layout)
    first = next(
        (i for i, op in enumerate(operations) if isinstance(op, (Normalize, Cast, ToLayout))),
        len(operations),
    )
    kept, moved = operations[:first], operations[first:]
    normalize = [op for op in moved if isinstance(op, Normalize)]
    odd = [op for op in moved if not isinstance(op, (Normalize, ToLayout)) and not _to_float(op)]
    if len(normalize) > 1 or odd:
        said = odd[0].op if odd else "normalize, twice"
        raise UsageError(
            f"--raw-pixels cannot move {said} into the artifact; "
            "it moves one normalize, the layout, and a cast to float32",
            hint="leave out --raw-pixels, or simplify --preprocess",
        )
    moves_channels = any(isinstance(op, ToLayout) for op in moved)
    return Preprocessing(operations=tuple(kept)), InputForm(
        layout="nhwc" if moves_channels else layout,
        dtype="uint8",
        mean=normalize[0].mean if normalize else (),
        std=normalize[0].std if normalize else (),
    )


def _to_float(op: object) -> bool:
    return isinstance(op, Cast) and op.dtype == "float32"
