"""What computes an artifact: one file an accelerator, registered with one line here.

The key is the format, a slash, and the name that stands in variants (``pte-vulkan-float16``) and in
device profiles.
"""

from __future__ import annotations

from edgekit.core.registry import Registry

DELEGATES: Registry = Registry(
    "delegate",
    {
        "executorch/xnnpack": "edgekit.export.delegates.executorch_xnnpack:XnnpackDelegate",
        "executorch/portable": "edgekit.export.delegates.executorch_portable:PortableDelegate",
        "executorch/vulkan": "edgekit.export.delegates.executorch_vulkan:VulkanDelegate",
        "executorch/coreml": "edgekit.export.delegates.executorch_coreml:CoreMLDelegate",
        "executorch/openvino": "edgekit.export.delegates.executorch_openvino:OpenVinoDelegate",
        "executorch/ethos-u": "edgekit.export.delegates.executorch_ethos_u:EthosUDelegate",
        "executorch/qnn": "edgekit.export.delegates.executorch_qnn:QnnDelegate",
        "tflite/xnnpack": "edgekit.export.delegates.tflite_xnnpack:XnnpackDelegate",
        "tflite/gpu": "edgekit.export.delegates.tflite_gpu:GpuDelegate",
        "tflite/ethos-u": "edgekit.export.delegates.tflite_ethos_u:EthosUDelegate",
        "tflite/edgetpu": "edgekit.export.delegates.tflite_edgetpu:EdgeTpuDelegate",
        "tflite/npu": "edgekit.export.delegates.tflite_npu:NpuDelegate",
        "onnx/cpu": "edgekit.export.delegates.onnx_cpu:CpuDelegate",
        "onnx/tensorrt": "edgekit.export.delegates.tensorrt:TensorrtDelegate",
    },
)
