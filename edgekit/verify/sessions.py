"""An artifact ready to run on this computer, whatever its format.

A session is opened from an export step's folder. Where the artifact itself cannot run here, what
the exporter left as its stand-in is run instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgekit.core.registry import Registry
from edgekit.core.tensor import Signature
from edgekit.verify.folders import artifact_file, result
from edgekit.verify.graph import Softmax
from edgekit.verify.port import Named, Port

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

# By format; "pt2" is a program of torch.export, which only occurs as a stand-in. Each is a function
# of the file and the signature that the exporter read from it.
SESSIONS = Registry(
    "session",
    {
        "tflite": "edgekit.verify.session_litert:open_session",
        "executorch": "edgekit.verify.session_executorch:ExecuTorchSession",
        "onnx": "edgekit.verify.session_onnx:OnnxSession",
        "pt2": "edgekit.verify.session_program:ProgramSession",
    },
)


class Session(Protocol):
    """One artifact, fed and read in the numbers that it stores; ports make real ones of them."""

    inputs: list[Port]
    outputs: list[Port]

    def matched(self, signature: Signature) -> tuple[Named, Named]:
        """See `edgekit.verify.port.matched`."""

    def final_softmax(self, index: int) -> Softmax | None:
        """The softmax that an output comes from, if the format lets one look."""

    def ends_in_sigmoid(self, index: int) -> bool:
        """Whether an output is known to be the result of a logistic function."""

    def watching(self, tensors: Sequence[int]) -> Session:
        """The same with these inner tensors readable; only for what `final_softmax` named."""

    def port(self, index: int, name: str = "") -> Port:
        """The tensor at `index`."""

    def invoke(self, stored: Mapping[int, Array]) -> None:
        """Run one sample; `stored` leads from a port's index to the value with its batch of 1.

        Raises:
            ConversionError: the runtime fails.
        """

    def read(self, index: int) -> Array | None:
        """A copy of an output's stored value after `invoke`."""


def open_artifact(folder: str, file_format: str) -> Session:
    """The artifact that an export step left in `folder`, or its stand-in.

    Raises:
        ConversionError: the runtime does not load it.
    """
    found = result(folder)
    signature = Signature.from_json(found["signature"])
    stand_in: dict[str, Any] | None = found.get("stand_in")
    path = Path(folder) / stand_in["file"] if stand_in else artifact_file(folder)
    opened: Session = SESSIONS[stand_in["format"] if stand_in else file_format](path, signature)
    return opened


class PlainSession:
    """What sessions have in common whose runtime shows nothing but inputs and outputs."""

    def __init__(self, signature: Signature) -> None:
        from edgekit.verify.port import port

        self.inputs = [port(index, spec) for index, spec in enumerate(signature.inputs)]
        self.outputs = [port(index, spec) for index, spec in enumerate(signature.outputs)]
        self._answers: list[Array] = []

    def matched(self, signature: Signature) -> tuple[Named, Named]:
        from edgekit.verify.port import matched

        return matched(signature, self.inputs, self.outputs)

    def final_softmax(self, index: int) -> Softmax | None:
        return None

    def ends_in_sigmoid(self, index: int) -> bool:
        return False

    def watching(self, tensors: Sequence[int]) -> Session:
        raise NotImplementedError("inner tensors cannot be read")

    def port(self, index: int, name: str = "") -> Port:
        return self.outputs[index]

    def invoke(self, stored: Mapping[int, Array]) -> None:
        self._answers = self._run([stored[port.index] for port in self.inputs])

    def read(self, index: int) -> Array | None:
        return self._answers[index]

    def _run(self, arrays: list[Array]) -> list[Array]:
        raise NotImplementedError
