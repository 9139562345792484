"""A program in float32 → the same program in float16 with float32 at its border."""

from __future__ import annotations

from typing import Any

from edgekit.export.program import dynamic_shapes_of


def halved(program: Any) -> Any:
    """Weights, activations and type conversions of an ``ExportedProgram`` in float16.

    Inputs and outputs keep their types, so whoever calls it sees no difference but rounding.
    """
    import torch

    inner = program.module().half()
    for module in inner.modules():
        if isinstance(module, torch.fx.GraphModule):
            _retype(module)
    example = tuple(program.example_inputs[0])
    _convert_border(inner, example)
    with torch.no_grad():
        return torch.export.export(
            inner, example, dynamic_shapes=dynamic_shapes_of(program), strict=False
        )


def _convert_border(module: Any, example: tuple[Any, ...]) -> None:
    """Put conversions behind the inputs and before the outputs of a graph in float16."""
    import torch

    convert, graph = torch.ops.aten.to.dtype, module.graph
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for node, given in zip(placeholders, example, strict=True):
        if given.dtype == torch.float32:
            users = list(node.users)
            with graph.inserting_after(placeholders[-1]):
                half = graph.call_function(convert, (node, torch.float16))
            for user in users:
                user.replace_input_with(node, half)
    (output,) = (node for node in graph.nodes if node.op == "output")

    def widened(node: Any) -> Any:
        value = node.meta.get("val")
        if value is None or value.dtype != torch.float32:  # what it was before the weights changed
            return node
        with graph.inserting_before(output):
            return graph.call_function(convert, (node, torch.float32))

    output.args = torch.fx.node.map_arg(output.args, widened)
    module.recompile()


def _retype(module: Any) -> None:
    """Operators that name float32 as their type name float16; constants that are no buffers too."""
    import torch

    for node in list(module.graph.nodes):
        if node.op == "get_attr":
            value = getattr(module, node.target, None)
            if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
                setattr(module, node.target, value.half())
        elif node.op == "call_function":
            if node.target is torch.ops.aten._assert_tensor_metadata.default:
                module.graph.erase_node(node)  # it holds the type that was
                continue
            node.args = tuple(_half_type(arg) for arg in node.args)
            node.kwargs = {key: _half_type(value) for key, value in node.kwargs.items()}
    module.recompile()


def _half_type(value: Any) -> Any:
    import torch

    return torch.float16 if value is torch.float32 else value
