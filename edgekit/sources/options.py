"""Options that only some sources take: what the others say of them."""

from __future__ import annotations

from edgekit.core.errors import UsageError
from edgekit.core.model import ModelOptions


def refuse_weights(options: ModelOptions, hint: str) -> None:
    """Raise UsageError if weights are given for a file that holds its own."""
    if options.weights:
        raise UsageError("--weights goes with a function that makes a PyTorch model", hint=hint)


def refuse_nms(options: ModelOptions) -> None:
    """Raise UsageError if a detector's non-maximum suppression shall be cut off."""
    if options.nms:
        raise UsageError(
            f"--nms {options.nms} goes with an ONNX model, in whose graph non-maximum suppression "
            "is an operator",
            hint="export the model as ONNX, or export it without its non-maximum suppression",
        )
