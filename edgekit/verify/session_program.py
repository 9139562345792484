"""A program of torch.export, run by torch itself: what stands in for a delegate that is not here.

It answers what the graph means before a delegate's compiler has seen it. Runs in a worker.
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


class ProgramSession(PlainSession):
    """A `Session` of a ``.pt2`` that an exporter of ours has written."""

    def __init__(self, path: Path, signature: Signature) -> None:
        import torch
        import torchao.quantization.pt2e  # noqa: F401 - registers the operators of quantized graphs

        super().__init__(signature)
        torch.set_num_threads(1)
        self._module = torch.export.load(path).module()

    def _run(self, arrays: list[Array]) -> list[Array]:
        import torch

        # The artifact may take and give integers where the program before lowering has real ones.
        given = [
            port.real(array) if port.scales else array
            for port, array in zip(self.inputs, arrays, strict=True)
        ]
        try:
            with torch.no_grad():
                answers = self._module(*[torch.from_numpy(array.copy()) for array in given])
        except RuntimeError as exc:
            raise ConversionError(f"torch fails to run it: {said(exc)}") from exc
        several = answers if isinstance(answers, (tuple, list)) else (answers,)
        return [
            port.store(answer.detach().numpy()) if port.scales else answer.detach().numpy()
            for port, answer in zip(self.outputs, several, strict=True)
        ]
