"""A ``.pte`` in ExecuTorch's Python runtime: https://docs.pytorch.org/executorch. In a worker.

What it brings is XNNPACK, OpenVINO and QNN beside its own kernels; a file for another delegate does
not load here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.errors import ConversionError
from edgekit.core.failures import said
from edgekit.core.tensor import Signature
from edgekit.verify.sessions import PlainSession

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

METHOD = "forward"


class ExecuTorchSession(PlainSession):
    """A `Session`.

    Raises:
        ConversionError: the runtime does not load it.
    """

    def __init__(self, path: Path, signature: Signature) -> None:
        from executorch.runtime import Runtime, Verification

        super().__init__(signature)
        try:
            program = Runtime.get().load_program(
                path, verification=Verification.InternalConsistency
            )
            self._method = program.load_method(METHOD)
        except RuntimeError as exc:
            raise ConversionError(f"ExecuTorch here does not load it: {said(exc)}") from exc
        self._program = program  # the method lives in its memory
        if self._method is None:
            raise ConversionError(f"it has no method called {METHOD!r}")

    def _run(self, arrays: list[Array]) -> list[Array]:
        import torch

        try:
            answers = self._method.execute([torch.from_numpy(array.copy()) for array in arrays])
        except RuntimeError as exc:
            raise ConversionError(
                f"ExecuTorch fails to run it: {said(exc)}",
                hint="its compiler took the model, its runtime does not: take pte-int8, or the "
                "same numbers in TFLite or ONNX",
            ) from exc
        # A copy: the next run writes into the same memory.
        return [answer.detach().numpy().copy() for answer in answers]
