"""Parts of a program that delegates do not take → the same computed with what they take."""

from __future__ import annotations

from typing import Any


def pooled(program: Any) -> Any:
    """Means over whole images as the pooling that they are.

    XNNPACK and Vulkan take the one and not the other; a mean in the middle would split the graph in
    two and stay in float.
    """
    import torch

    aten, module = torch.ops.aten, program.graph_module
    found = [node for node in module.graph.nodes if _is_image_mean(node)]
    for node in found:
        value = node.args[0]
        shape = list(value.meta["val"].shape[:2])
        with module.graph.inserting_before(node):
            if value.meta["val"].is_contiguous():  # quantizers know it by this name
                pooled = module.graph.call_function(
                    aten.adaptive_avg_pool2d.default, (value, [1, 1])
                )
            else:  # whose decomposition would pick numbers by their strides
                pooled = module.graph.call_function(aten.mean.dim, (value, [-1, -2], True))
            pooled.meta = dict(node.meta)
            pooled.meta["val"] = node.meta["val"].reshape([*shape, 1, 1])
            last = module.graph.call_function(aten.reshape.default, (pooled, shape))
            last.meta = dict(node.meta)
        node.replace_all_uses_with(last)
        module.graph.erase_node(node)
        for spec in program.graph_signature.output_specs:
            if spec.arg.name == node.name:
                spec.arg.name = last.name
    module.recompile()
    return program


def _is_image_mean(node: Any) -> bool:
    import torch

    if node.target is not torch.ops.aten.mean.dim or node.kwargs:
        return False
    if len(node.args) > 2 and node.args[2]:  # delegates take it with its axes kept
        return False
    rank = node.args[0].meta["val"].dim()
    axes = node.args[1] or []
    return rank == 4 and sorted(axis % rank for axis in axes) == [2, 3]


def strided(program: Any) -> Any:
    """Poolings with the stride that they have by default written out, which Core ML's converter
    asks for.
    """
    import torch

    aten, module = torch.ops.aten, program.graph_module
    kinds = (aten.max_pool2d.default, aten.max_pool2d_with_indices.default, aten.avg_pool2d.default)
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in kinds and len(node.args) == 2:
            node.args = (*node.args, list(node.args[1]))
    module.recompile()
    return program
