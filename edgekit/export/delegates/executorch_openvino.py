"""OpenVINO in ExecuTorch: Intel's CPUs, GPUs and NPUs.

    # variants
    pte-openvino-float32  pte-openvino-int8

    # in a recipe file
    [options]
    device = "CPU"                # "GPU" | "NPU"

Its packages pin other versions than ours, so they live in an environment of their own
(``edgekit toolchain add executorch-openvino``): executorch[openvino]==1.5.1, torch==2.13.0,
openvino==2025.4.1, and for int8 nncf==3.2.0 (3.0 wants an older torch, 3.4 a newer OpenVINO).

Where a CPU has bfloat16 (AVX512_BF16, AMX) OpenVINO computes float32 in it: 41 to 58 dB on small
networks, where float32 gives over 120. The setting that it has against this
(INFERENCE_PRECISION_HINT) is lost when a compiled model is stored, and ExecuTorch's runtime passes
none. Files are compared in float32 here (`edgekit.work.pool.KINDS`), and say so in a note; a board
that measures them may differ by as much as one that computes in 8 bits.
https://docs.pytorch.org/executorch/stable/build-run-openvino.html
"""

from __future__ import annotations

from typing import Any, ClassVar

from edgekit.core.description import Coverage
from edgekit.core.errors import ConversionError, PlanError
from edgekit.core.recipe import QuantizationKind, Recipe
from edgekit.core.requirement import Requirement
from edgekit.export.delegates.executorch_base import ExecuTorchDelegate
from edgekit.export.executorch_coverage import layer

TOOLCHAIN = "executorch-openvino"
DEVICES = ("CPU", "GPU", "NPU")
_MARKS = "quantization_annotation"
_SEQUENCES = ("aten.lstm", "aten.gru", "aten.rnn")


class OpenVinoDelegate(ExecuTorchDelegate):
    """Intel's OpenVINO."""

    name = "openvino"
    title = "OpenVINO"
    backend = "OpenvinoBackend"
    quantizations = ("none", "int8")
    requirements = (
        Requirement(
            kind="toolchain", name=TOOLCHAIN, how=f"run: edgekit toolchain add {TOOLCHAIN}"
        ),
    )
    runs_here = True
    worker = TOOLCHAIN
    tools = ("openvino", "nncf")
    folded = False
    # A board may compute in bfloat16, of 8 significant bits, what was checked here in float32.
    coarser: ClassVar[dict[QuantizationKind, QuantizationKind]] = {"none": "int8"}
    known_options: ClassVar[dict[str, str]] = {"device": " | ".join(DEVICES)}

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        device = recipe.options.get("device", "CPU")
        if device not in DEVICES:
            raise PlanError(f"{recipe.name}: device = {device!r}; known: {', '.join(DEVICES)}")

    def partitioners(self, recipe: Recipe) -> list[Any]:
        from executorch.backends.openvino.partitioner import OpenvinoPartitioner
        from executorch.exir.backend.backend_details import CompileSpec

        device = recipe.options.get("device", "CPU")
        return [OpenvinoPartitioner([CompileSpec("device", device.encode())])]

    def lowered(self, program: Any, recipe: Recipe) -> Any:
        from openvino import Core

        device = recipe.options.get("device", "CPU")
        found = Core().available_devices  # "CPU", "GPU.0"
        if not any(name.partition(".")[0] == device for name in found):
            raise ConversionError(
                f"OpenVINO compiles for a device that is there, and finds no {device} on this "
                f"computer, only {', '.join(found)}",
                hint=f'convert on a computer with the {device}, or take device = "CPU"',
            )
        return super().lowered(program, recipe)

    def quantizer(self, recipe: Recipe) -> Any:
        from executorch.backends.openvino.quantizer import OpenVINOQuantizer

        quantizer = OpenVINOQuantizer()
        annotate = quantizer.annotate

        def annotated(model: Any) -> Any:
            _refuse_sequences(model)
            return _mended(annotate(model))

        quantizer.annotate = annotated
        return quantizer

    def notes(self, recipe: Recipe, covered: Coverage) -> list[str]:
        if recipe.quantization == "none" and recipe.options.get("device", "CPU") == "CPU":
            return [
                "it was compared with float32 arithmetic; on a CPU that has bfloat16 OpenVINO "
                "computes in that, to about three digits, unless ONEDNN_MAX_CPU_ISA is "
                "AVX512_CORE_VNNI"
            ]
        return []


def _refuse_sequences(model: Any) -> None:
    """NNCF asks every edge of a graph for the shape of its tensor, and knows none where an operator
    has several outputs that it was not told of.

    Raises:
        ConversionError: names the operator.
    """
    for node in model.graph.nodes:
        if str(node.target).startswith(_SEQUENCES):
            of = f" of layer {layer(node)}" if layer(node) else ""
            raise ConversionError(
                f"NNCF 3.2.0, which quantizes for OpenVINO, reads no graph with {node.target}{of}",
                hint="take pte-openvino-float32, or pte-int8 for the CPU",
            )


def _mended(model: Any) -> Any:
    """`model` with marks that torchao understands.

    NNCF marks the bias of a LayerNorm as a weight with a scale for each output channel, which
    torchao looks for on a second axis: the mark goes, OpenVINO adds biases in float. And it marks
    what `unbind` gives, a list, where only the tensors taken from it can have one.
    """
    for node in model.graph.nodes:
        marks = node.meta.get(_MARKS)
        for read in list(marks.input_qspec_map) if marks is not None else ():
            value = read.meta.get("val")
            if isinstance(value, (list, tuple)):
                marks.output_qspec = marks.input_qspec_map.pop(read)
            elif read.op == "get_attr" and value is not None and value.dim() < 2:
                del marks.input_qspec_map[read]
    return model
