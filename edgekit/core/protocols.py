"""What parts hand to each other. A part implements one of these; a job joins them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from edgekit.core.eviction import StoreUsage
from edgekit.core.measurement import Sensed
from edgekit.core.model import Model
from edgekit.core.noun import Noun
from edgekit.core.tensor import Signature

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Tensors = Mapping[str, NDArray[np.generic]]


class LoadedModel(Protocol):
    """A live model inside a worker process; what `Model.loader` returns."""

    @property
    def signature(self) -> Signature:
        """Inputs and outputs, every dimension fixed or in a range; the batch is 1."""

    def run(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """Outputs by name for inputs of the signature's shapes, or with a larger batch.

        Open axes may have any size of their range.
        """

    def layers(self, inputs: Tensors) -> dict[str, NDArray[np.generic]]:
        """The output of each layer by the layer's name, in the order of execution."""


class LiveModel(Protocol):
    """A model that may be changed, inside a worker process; what `Source.live` names gives it.

    Attributes:
        module: the framework's own object, nobody else's: a Keras model, an ``nn.Module``.
        signature: as the source model's `LoadedModel` has it.
        edits: what was done to a module that a function makes, so that it can be done again; see
            `save`.
    """

    module: Any
    signature: Signature
    edits: list[dict[str, Any]]

    def take(self, inputs: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """The module's own inputs for samples (samples, …) as the signature has them, where these
        have another form: raw pixels, another layout.
        """

    def call(self, inputs: Sequence[Any], *, training: bool) -> list[Any]:
        """Outputs in the signature's order for the module's own inputs, tensors (samples, …)."""

    def save(self, out: Path) -> Model:
        """Write the model as it is now into `out`; its path is relative to `out`.

        Where only code can build the module, `edits` are kept beside its weights. Each has
        ``apply``, ``module:function`` of edgekit that is called as ``function(module, edit)`` and
        returns the changed module, before weights are loaded.
        """


class CommandResult(Noun):
    """What a command on a device left; `exit_code` is negative if a signal ended it."""

    exit_code: int
    stdout: str
    stderr: str


class Device(Protocol):
    """A board one can reach. A context manager: entering connects, leaving disconnects.

    Files live in a store of edgekit's own on the device, named by their content and bounded in
    size. Every method raises `TransientDeviceError` when the link fails and `DeviceError` when the
    board refuses.
    """

    @property
    def address(self) -> str:
        """How it was named: ``local``, ``ssh://user@host:port``, ``adb:SERIAL``."""

    @property
    def pushed_bytes(self) -> int:
        """Payload that `push` has sent so far; 0 if all of it was there already."""

    @property
    def left_running(self) -> bool:
        """Whether a command may run on there although the link was lost; entering anew ends it."""

    @property
    def store_folder(self) -> str:
        """Of the store there; empty where that is in a cache folder that only the board knows."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float | None = None
    ) -> CommandResult:
        """Run `argv` there, never through a shell's interpretation of its words.

        A program that is not there gives exit code 127. A command that takes longer than
        `timeout_seconds`, or prints more than fits into memory, is killed there: `DeviceError`.
        """

    def push(self, source: Path, sha256: str) -> str:
        """Make the file's content present in the device's store; its path there.

        Content that is already there is not sent again; a partial upload never counts as present.
        """

    def push_all(self, files: Sequence[tuple[Path, str]]) -> list[str]:
        """`push` for many files, each with its SHA-256, in as few round trips as there can be."""

    def pull(self, remote: str, target: Path) -> None:
        """Fetch a file; `target` appears whole or not at all."""

    def scratch(self) -> str:
        """A path in the device's store that nothing uses yet, for a file that is made there."""

    def remove(self, remote: str) -> None:
        """Delete a file inside the device's store; one that is gone already is no error."""

    def usage(self) -> StoreUsage:
        """What the device's store holds."""

    def trim(self, limit_bytes: int | None = None) -> StoreUsage:
        """Remove what was used longest ago until the store is under its limit; what was removed.

        What this object has handed out stays. `push` does this by itself.
        """


class Sensing(Protocol):
    """Reads a device's sensors while it is measured."""

    def add(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """`job` of a runner, with what makes it read them."""

    def sensed(self, events: Sequence[Mapping[str, Any]]) -> Sensed:
        """What they said, out of the runner's events."""
