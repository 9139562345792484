"""An ``.onnx`` in ONNX Runtime on the CPU: https://onnxruntime.ai. Runs in a worker."""

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


class OnnxSession(PlainSession):
    """A `Session`.

    Raises:
        ConversionError: ONNX Runtime does not load it.
    """

    def __init__(self, path: Path, signature: Signature) -> None:
        import onnxruntime

        super().__init__(signature)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as exc:  # its errors have no class in common
            raise ConversionError(f"ONNX Runtime does not load it: {said(exc)}") from exc

    def _run(self, arrays: list[Array]) -> list[Array]:
        import numpy as np

        names = [port.name for port in self.inputs]
        try:
            answers = self._session.run(
                [port.name for port in self.outputs], dict(zip(names, arrays, strict=True))
            )
        except Exception as exc:
            raise ConversionError(f"ONNX Runtime fails to run it: {said(exc)}") from exc
        return [np.asarray(answer) for answer in answers]
