"""Saves small programs, made by torch and ExecuTorch, into a folder: ``python -m … FOLDER``.

In a process of its own, since torch and TensorFlow never share one.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    import torch
    from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    class Net(torch.nn.Module):
        """Convolution 3→8, depthwise, dense 8→5 on 3×16×16: 55 296 + 4608 + 40 multiply-adds."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
            self.depth = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
            self.head = torch.nn.Linear(8, 5)

        def forward(self, image: Any) -> Any:
            kept = torch.relu(self.depth(self.stem(image)))
            return self.head(kept.mean((2, 3)))

    torch.manual_seed(0)
    example = (torch.randn(1, 3, 16, 16),)
    program = torch.export.export(Net().eval(), example)
    torch.export.save(program, folder / "net.pt2")

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(True))
    prepared = prepare_pt2e(program.module(), quantizer)
    prepared(*example)
    quantized = torch.export.export(convert_pt2e(prepared), example)
    for name, source, partitioners in (
        ("portable", program, []),
        ("xnnpack", program, [XnnpackPartitioner()]),
        ("int8", quantized, [XnnpackPartitioner()]),
        ("vulkan", program, [VulkanPartitioner()]),
    ):
        lowered = to_edge_transform_and_lower(
            source, partitioner=partitioners, constant_methods={"get_labels": 5}
        )
        (folder / f"{name}.pte").write_bytes(lowered.to_executorch().buffer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
