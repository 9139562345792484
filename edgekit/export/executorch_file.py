"""What a ``.pte`` says of itself: inputs, outputs, delegates, the operators left to kernels.

The format: https://docs.pytorch.org/executorch/stable/pte-file-format.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError
from edgekit.core.tensor import Signature, TensorSpec

_DTYPES = {
    "BYTE": "uint8", "CHAR": "int8", "SHORT": "int16", "INT": "int32", "LONG": "int64",
    "HALF": "float16", "FLOAT": "float32", "DOUBLE": "float64", "BOOL": "bool",
    "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
}  # fmt: skip


def read(path: Path) -> Any:
    """The file as executorch's dataclasses (`PTEFile`: program, data of delegates and segments)."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    return deserialize_pte_binary(path.read_bytes())


def plan(file: Any) -> Any:
    """The execution plan called "forward"."""
    return next(each for each in file.program.execution_plan if each.name == "forward")


def delegates(file: Any) -> list[str]:
    """The backend of every delegate call, in the order of the file."""
    return [delegate.id for delegate in plan(file).delegates]


def blobs(file: Any) -> list[bytes]:
    """What the delegates' compilers wrote, one for each delegate.

    Reading a file puts the segments' content back in line.
    """
    data = file.program.backend_delegate_data
    return [data[delegate.processed.index].data for delegate in plan(file).delegates]


def kernels(file: Any) -> list[str]:
    """The operators that kernels have to run, as the runtime's registry names them."""
    return sorted({_full(each) for each in plan(file).operators})


def _full(operator: Any) -> str:
    return f"{operator.name}.{operator.overload}" if operator.overload else operator.name


def signature(file: Any, names: Signature) -> Signature:
    """Shapes and types from the file, names from `names` (a ``.pte`` holds none).

    Raises:
        ConversionError: the file has other inputs or outputs.
    """
    entry = plan(file)
    made = Signature(
        name=names.name,
        inputs=_specs(entry, entry.inputs, names.inputs, "input"),
        outputs=_specs(entry, entry.outputs, names.outputs, "output"),
    )
    return made.opened(names)


def _shape(value: Any, spec: TensorSpec) -> tuple[int | None, ...]:
    """The file's sizes, which are the largest; None for an open one that it does not hold to."""
    holds = value.shape_dynamism.name == "STATIC"
    opened = {each.axis for each in spec.open}
    return tuple(
        None if axis in opened and not holds else size for axis, size in enumerate(value.sizes)
    )


def _specs(
    entry: Any, indices: list[int], names: tuple[TensorSpec, ...], what: str
) -> tuple[TensorSpec, ...]:
    if len(indices) != len(names):
        raise ConversionError(
            f"the .pte has {len(indices)} {what}s, the model {len(names)}",
            hint="an output that does not depend on the inputs is not kept",
        )
    values = [entry.values[index].val for index in indices]
    return tuple(
        TensorSpec(
            name=spec.name,
            shape=_shape(value, spec),
            dtype=_DTYPES[value.scalar_type.name],
            quantization=spec.quantization,
        )
        for spec, value in zip(names, values, strict=True)
    )
