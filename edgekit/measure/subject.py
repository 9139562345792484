"""What is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.core.description import Node
from edgekit.core.recipe import Format, QuantizationKind


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        path: the artifact's file here; `sha256` is its digest.
        delegate: what computes it, as in the recipe; "" for what is usual in that format.
        runner: what runs it, a name in `edgekit.measure.runners.RUNNERS`.
        file_format: "tflite", "executorch" or "onnx".
        names: of its inputs and of its outputs, in order.
        quantization: how it computes; decides how near the board's outputs must be.
        check: .npz with its inputs (``in:<name>``) and this computer's outputs (``out:<name>``),
            one row a sample; None leaves the check out.
        nodes: the file's operators in its order, as far as they are known.
    """

    path: Path
    sha256: str
    quantization: QuantizationKind
    build_name: str
    variant: str
    check: Path | None = None
    file_format: Format = "tflite"
    delegate: str = ""
    runner: str = "python"
    names: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    nodes: tuple[Node, ...] = ()
