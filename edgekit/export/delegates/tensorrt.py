"""TensorRT on NVIDIA's boards (Jetson): the ``.onnx`` that an engine is built from on the device.

    # variants
    onnx-tensorrt-float32  onnx-tensorrt-float16  onnx-tensorrt-int8

An engine only works on the kind of GPU and with the version of TensorRT that built it, so it is
built where it runs; the report says the command. TensorRT computes what QuantizeLinear and
DequantizeLinear in the file say ("explicit quantization"): signed 8 bits without zero points, a
scale for each channel of the weights, biases in float, and no such pair after an operator with
weights, so that it fuses with the activation that follows.
https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-quantized-types.html
"""

from __future__ import annotations

import shlex
from typing import Any, ClassVar

from edgekit.core.recipe import Recipe
from edgekit.export.delegates.onnx_cpu import ONNXDelegate

# What gains by 8 bits there, and takes part in fusions. Others run in the float type of the file.
OPERATORS = [
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "MaxPool", "AveragePool", "GlobalAveragePool",
]  # fmt: skip
# TensorRT 8 (JetPack 5 and 6.0) has no strong typing; there flags allow the precisions.
OLD_FLAGS = {"none": "", "float16": " --fp16", "int8": " --int8"}


class TensorrtDelegate(ONNXDelegate):
    """An ONNX file that TensorRT's parser takes, and the command that builds the engine."""

    title = "TensorRT"
    quantizations = ("none", "float16", "int8")
    quantizer: ClassVar[dict[str, Any]] = {
        "operators": OPERATORS,
        "options": {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": OPERATORS,
        },
        "symmetric": True,
    }

    def notes(self, recipe: Recipe, name: str) -> list[str]:
        """The command for the device."""
        onnx, engine = shlex.quote(f"{name}.onnx"), shlex.quote(f"{name}.engine")
        build = f"trtexec --onnx={onnx} --saveEngine={engine}"
        old = OLD_FLAGS[recipe.quantization]
        return [
            f"build the engine on the device (TensorRT 10 or newer): {build} --stronglyTyped",
            f"with TensorRT 8, which has no strong typing: {build}{old}",
            "an engine only works on the kind of GPU and the version of TensorRT that built it",
        ]
