"""A lowered program that takes and gives 8-bit numbers instead of converting them itself."""

from __future__ import annotations

from typing import Any

from edgekit.core.tensor import Quantization, Signature, TensorSpec


def integer_border(manager: Any, signature: Signature) -> tuple[Any, Signature]:
    """`manager` without the conversions at its border, and the signature that says their scales.

    Only what a conversion stands at is changed: token ids and masks stay as they are, and so does
    an output that is computed in float. The runtime's methods ``input0_scale`` and so on say the
    same inside the file.
    """
    from executorch.exir.passes.quantize_io_pass import QuantizeInputs, QuantizeOutputs

    program = manager.exported_program()
    nodes = {node.name: node for node in program.graph_module.graph.nodes}
    inputs = [
        index
        for index, name in enumerate(program.graph_signature.user_inputs)
        if len(nodes[name].users) == 1
        and all(".quantize_per_tensor" in str(user.target) for user in nodes[name].users)
    ]
    outputs = [
        index
        for index, name in enumerate(program.graph_signature.user_outputs)
        if ".dequantize_per_tensor" in str(nodes[name].target)
    ]
    into, outof = QuantizeInputs(manager, inputs), QuantizeOutputs(manager, outputs)
    manager = manager.transform([into, outof])
    changed = Signature(
        name=signature.name,
        inputs=_scaled(signature.inputs, into.quant_args),
        outputs=_scaled(signature.outputs, outof.dequant_args),
    )
    return manager, changed


def _scaled(
    specs: tuple[TensorSpec, ...], arguments: dict[int, tuple[Any, ...]]
) -> tuple[TensorSpec, ...]:
    return tuple(
        spec.model_copy(
            update={
                "quantization": Quantization(
                    scale=(float(arguments[index][0]),), zero_point=(int(arguments[index][1]),)
                )
            }
        )
        if index in arguments
        else spec
        for index, spec in enumerate(specs)
    )
