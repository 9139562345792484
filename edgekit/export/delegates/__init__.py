"""What computes an artifact: one file an accelerator, registered with one line here.

The key is the format, a slash, and the name that stands in variants (``pte-vulkan-float16``) and in
device profiles.
"""

from __future__ import annotations

from edgekit.core.registry import Registry

DELEGATES: Registry = Registry(
    "delegate",
    {
        "onnx/cpu": "edgekit.export.delegates.onnx_cpu:CpuDelegate",
        "onnx/tensorrt": "edgekit.export.delegates.tensorrt:TensorrtDelegate",
    },
)
