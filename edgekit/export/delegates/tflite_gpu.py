"""LiteRT's GPU accelerator (ML Drift): phones and desktops, by OpenCL, WebGPU or Metal.

    # variants
    gpu-float32  gpu-float16  gpu-int8  gpu-int8-io

Nothing is compiled here: the GPU's kernels are made on the device, where the application opens the
file with CompiledModel and the GPU. It is asked on this computer after the conversion, where there
is a Vulkan driver, one in software included. Phones compute all of these in float16 unless the
application asks for more; INT8 is weights in 8 bits with the rounding of integer kernels copied in
float, so it is smaller and not faster.

Not dynamic: the GPU multiplies in float what the CPU first rounds to 8 bits, so what was verified
on the CPU would not be what the board computes. Not int16x8: LiteRT's buffers have no int16.
https://ai.google.dev/edge/litert/next/gpu
"""

from __future__ import annotations

from edgekit.export.delegates.tflite_base import TFLiteDelegate


class GpuDelegate(TFLiteDelegate):
    """The GPU by LiteRT."""

    name = "gpu"
    title = "LiteRT's GPU accelerator"
    quantizations = ("none", "float16", "int8", "original")
    runs_here = True
