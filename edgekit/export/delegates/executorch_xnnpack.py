"""XNNPACK in ExecuTorch: Arm and x86 CPUs, the usual way of a ``.pte``.

    # variants
    pte-float32  pte-float16  pte-dynamic  pte-int8

float16 computes in halves where the CPU has them (Arm v8.2 and newer, x86 with F16C) and keeps
float32 at the border. dynamic has 8-bit weights per channel and quantizes activations as they
come, in dense layers and convolutions. int8 takes ranges from calibration data.
https://docs.pytorch.org/executorch/stable/backends-xnnpack.html
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

from edgekit.core.description import Coverage
from edgekit.core.quantize import Choices
from edgekit.core.recipe import Recipe
from edgekit.export.delegates.executorch_base import ExecuTorchDelegate


class XnnpackDelegate(ExecuTorchDelegate):
    """The CPU by XNNPACK; what it does not take runs on portable kernels and is reported."""

    name = "xnnpack"
    title = "XNNPACK"
    backend = "XnnpackBackend"
    quantizations = ("none", "float16", "dynamic-int8", "int8")
    runs_here = True
    open_sizes = True
    choices: ClassVar[dict[str, Choices]] = {
        "dynamic-int8": Choices(spares=True),
        "int8": Choices(
            weights={8: ("per-channel", "per-tensor")},
            ranges=("min-max", "moving-average", "mse"),
            spares=True,
        ),
    }

    def prepared(self, program: Any) -> Any:
        from edgekit.export.executorch_rewrite import pooled

        return pooled(program)

    def partitioners(self, recipe: Recipe) -> list[Any]:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import (
            XnnpackDynamicallyQuantizedPartitioner,
            XnnpackPartitioner,
        )

        if recipe.quantization == "dynamic-int8":
            # One partition a dense layer first: XNNPACK quantizes what comes into a partition.
            return [XnnpackDynamicallyQuantizedPartitioner(per_op_mode=True), XnnpackPartitioner()]
        return [XnnpackPartitioner()]

    def quantizer(self, recipe: Recipe) -> Any:
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )

        config = get_symmetric_quantization_config(
            is_per_channel=recipe.quantize.weights == "per-channel",
            is_dynamic=recipe.quantization == "dynamic-int8",
        )
        return XNNPACKQuantizer().set_global(_observed(config, recipe))

    def lowered(self, program: Any, recipe: Recipe) -> Any:
        with _needed_passes(program), _softmax_over_columns():
            return super().lowered(program, recipe)

    def notes(self, recipe: Recipe, covered: Coverage) -> list[str]:
        if recipe.quantization == "float16" and any(
            node.operator == "aten.convolution.default" for node in covered.delegated(self.name)
        ):
            return [
                "ExecuTorch keeps convolution weights in float32 inside XNNPACK's part, so the "
                "file is smaller only by its other layers"
            ]
        return []

    def half(self, program: Any) -> Any:
        from edgekit.export.executorch_half import halved

        return halved(program)


def _observed(config: Any, recipe: Recipe) -> Any:
    """`config` with the activations' ranges set as the recipe says.

    The quantizer's own way is a histogram that is cut off where the squared error is least.
    """
    if recipe.quantize.ranges in (None, "mse"):
        return config
    from torchao.quantization.pt2e import MinMaxObserver, MovingAverageMinMaxObserver

    from edgekit.core.quantize import AVERAGING

    observer = (
        MinMaxObserver.with_args(eps=2**-12)
        if recipe.quantize.ranges == "min-max"
        else MovingAverageMinMaxObserver.with_args(averaging_constant=AVERAGING, eps=2**-12)
    )
    spec = replace(config.input_activation, observer_or_fake_quant_ctr=observer)
    return replace(config, input_activation=spec, output_activation=spec)


@contextmanager
def _softmax_over_columns() -> Iterator[None]:
    """Have the layout changed back in front of a softmax.

    It goes over the last axis, which in the layout that convolutions leave is the channels:
    without this a softmax over an image's columns computes one over its channels, in silence.
    """
    from executorch.backends.xnnpack._passes.channels_last_tagged_reshape_pass import (
        ChannelsLastTaggedReshapePass,
    )
    from executorch.exir.dialects._ops import ops

    sensitive = ChannelsLastTaggedReshapePass.memory_sensitive_ops_nchw
    softmax = ops.edge.aten._softmax.default
    absent = softmax not in sensitive
    sensitive.add(softmax)
    try:
        yield
    finally:
        if absent:
            sensitive.discard(softmax)


@contextmanager
def _needed_passes(program: Any) -> Iterator[None]:
    """Leave out passes that look for what cannot be in `program`.

    XNNPACK looks for attention and bilinear resizing as patterns of edge operators, which it makes
    by exporting example modules: 2 s, where MobileNetV2's own lowering takes 6.
    """
    from executorch.backends.xnnpack._passes import convert_to_sdpa, convert_to_upsample_bilinear2d
    from torch.fx.passes.infra.pass_base import PassResult

    names = {
        str(node.target)
        for module in program.graph_module.modules()
        if hasattr(module, "graph")
        for node in module.graph.nodes
        if node.op == "call_function"
    }
    idle: list[Any] = []
    if not any("softmax" in name or "attention" in name for name in names):
        idle.append(convert_to_sdpa.ConvertToSDPAPass)
    if not any("upsample" in name or "index" in name for name in names):
        idle.append(convert_to_upsample_bilinear2d.ConvertToUpsampleBilinear2d)
    before = [(kind, kind.call) for kind in idle]
    for kind in idle:
        kind.call = lambda self, graph_module: PassResult(graph_module, False)
    try:
        yield
    finally:
        for kind, call in before:
            kind.call = call
