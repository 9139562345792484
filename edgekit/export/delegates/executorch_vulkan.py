"""Vulkan in ExecuTorch: GPUs of Android phones and other boards with a Vulkan 1.1 driver.

    # variants
    pte-vulkan-float32  pte-vulkan-float16  pte-vulkan-dynamic

float16 keeps weights and activations in halves; dynamic has 8-bit weights in dense layers, which is
all that the backend's quantizer knows. ExecuTorch's Python runtime has no Vulkan, so the file is
opened again and checked, not run.
https://docs.pytorch.org/executorch/stable/backends/vulkan/vulkan-overview.html
"""

from __future__ import annotations

from typing import Any

from edgekit.core.errors import ConversionError
from edgekit.core.recipe import Recipe
from edgekit.export.delegates.executorch_base import ExecuTorchDelegate


class VulkanDelegate(ExecuTorchDelegate):
    """The GPU by Vulkan's compute shaders."""

    name = "vulkan"
    title = "Vulkan"
    backend = "VulkanBackend"
    quantizations = ("none", "float16", "dynamic-int8")

    def prepared(self, program: Any) -> Any:
        from edgekit.export.executorch_rewrite import pooled

        return pooled(program)

    def partitioners(self, recipe: Recipe) -> list[Any]:
        from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

        half = recipe.quantization == "float16"
        return [VulkanPartitioner({"force_fp16": True} if half else {})]

    def quantizer(self, recipe: Recipe) -> Any:
        from executorch.backends.vulkan.quantizer.vulkan_quantizer import (
            VulkanQuantizer,
            get_symmetric_quantization_config,
        )

        return VulkanQuantizer().set_global(get_symmetric_quantization_config(is_dynamic=True))

    def reopened(self, blobs: list[bytes]) -> None:
        from executorch.backends.vulkan.serialization.vulkan_graph_serialize import (
            extract_vk_flatbuffer,
        )

        for blob in blobs:
            graph = extract_vk_flatbuffer(blob)
            if not _length(graph, CHAIN) or not _length(graph, OUTPUT_IDS):
                raise ConversionError("a Vulkan graph in the file has no operators or no outputs")


# Fields of VkGraph in schema.fbs, in the order of the table.
CHAIN, OUTPUT_IDS = 1, 4


def _length(flatbuffer: bytes, field: int) -> int:
    """How many entries the list in that field of the root has.

    Not by ExecuTorch's own reader: that goes through flatc's JSON, which cannot be read where a
    constant is infinite, as the padding of a maximum is.
    """
    from flatbuffers import encode, packer, table

    root = table.Table(flatbuffer, encode.Get(packer.uoffset, flatbuffer, 0))
    offset = root.Offset(4 + 2 * field)
    return int(root.VectorLen(offset)) if offset else 0
