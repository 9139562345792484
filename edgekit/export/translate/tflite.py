"""Float TFLite → a torch module: https://ai.google.dev/edge/litert/conversion/tensorflow/op_compat

Images keep their channels in front inside (torch's layout, which its backends compute in); they
are turned only where an operator's meaning depends on the file's layout.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def module(path: Path) -> torch.nn.Module:
    """The signature's inputs in their order → a tuple of its outputs; layout as in the file.

    Without a signature the order is that of the main graph. An open batch is 1.

    Raises:
        ConversionError: not a TFLite file, a quantized one, an open shape, or operators without
            a translation; all of these are named at once.
    """
    from edgekit.export.translate.tflite_graph import translate

    return translate(path)
