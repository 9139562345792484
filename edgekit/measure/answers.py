"""What a model answers on a device, for any number of samples: in parts that fit a small board."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.agreement import load_outputs
from edgekit.core.errors import DeviceError, PlanError
from edgekit.core.files import sha256_file
from edgekit.core.leftovers import removed_after
from edgekit.core.protocols import Device
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners import RUNNERS
from edgekit.measure.session import Progress, deploy
from edgekit.measure.subject import Subject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]

# Inputs and outputs of one part. Each part starts the runner and loads the model anew, so they
# must not be small; the runner holds all of a part in memory, so they must not be large either.
MOST_BYTES = 64 << 20
UNKNOWN_BYTES = 16 << 20  # where the board does not say how much memory it has
SHARE_OF_MEMORY = 8
KEPT_BYTES = (
    500 * 10**6
)  # of parts, for the next artifact; what is in use counts for no limit there
MOST_SAMPLES = 1000  # of a slow model, so that a part stays within its limit of time


class Answering:
    """An artifact and its runner on a device, ready to answer.

    Args:
        device: open (inside its ``with`` block).
        threads, timeout_seconds: of each launch of the runner.
        wish: what the subject's runner is asked for.

    Raises:
        PlanError: the subject's runner gives no answers to inputs of one's own.
        RuntimeMissingError: no runtime there; says how to install one.
    """

    def __init__(
        self,
        device: Device,
        subject: Subject,
        *,
        threads: int = 1,
        timeout_seconds: float = 600.0,
        wish: RunnerWish = RunnerWish(),  # noqa: B008 - frozen
        progress: Progress = lambda *_: None,
    ) -> None:
        self._device, self._subject = device, subject
        self._threads, self._timeout = threads, timeout_seconds
        refuse_mute(subject)
        self._deployed = deploy(device, subject, wish, progress)
        self._room: int | None = None
        self._kept_bytes = 0
        self.hello: dict[str, Any] = {}  # what the runner said of itself, after the first answer

    def samples_a_part(self, sample_bytes: int) -> int:
        """How many samples `answer` should be given at a time.

        The same board always gives the same number, so that parts are the same files and are not
        sent again for another artifact.

        Args:
            sample_bytes: of one sample's inputs and outputs.
        """
        if self._room is None:
            memory = _memory_bytes(self._device)
            share = UNKNOWN_BYTES if memory is None else memory // SHARE_OF_MEMORY
            self._room = min(MOST_BYTES, share)
        return max(1, min(MOST_SAMPLES, self._room // max(1, sample_bytes)))

    def answer(self, rows: Arrays) -> dict[str, NDArray[np.generic]]:
        """The artifact's outputs by name, one row a sample, as the board stores them.

        Args:
            rows: its inputs by name, (samples, …), as it takes them.

        Raises:
            RejectedError: the runtime there does not load the artifact.
            TransientDeviceError: the link broke.
            DeviceError: anything else that went wrong there.
        """
        import numpy as np

        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "inputs.npz"
            columns: dict[str, Any] = {f"in:{name}": array for name, array in rows.items()}
            np.savez(part, **columns)
            inputs = self._device.push(part, sha256_file(part))
            self._kept_bytes += part.stat().st_size
            part.unlink()
            outputs = self._device.scratch()
            with removed_after(self._device, [outputs]):
                events = self._deployed.run(
                    {
                        "sha256": None if self.hello else self._subject.sha256,
                        "threads": self._threads,
                        "inputs": inputs,
                        "outputs": outputs,
                        "runs": 0,
                        "time_budget_seconds": self._timeout,
                    }
                )
                answer = Path(folder) / "outputs.npz"
                self._device.pull(outputs, answer)
                found = load_outputs(answer)
        if self._kept_bytes > KEPT_BYTES:
            self._device.remove(inputs)
        self.hello = events.hello
        count = len(next(iter(rows.values())))
        for name, array in found.items():
            if array.ndim == 0 or len(array) != count:
                raise DeviceError(
                    f"{self._device.address} gave {name!r} as {array.shape} for {count} samples"
                )
        return found


def refuse_mute(subject: Subject) -> None:
    """Raise PlanError if the runner of `subject` gives no answers to inputs of one's own."""
    if RUNNERS[subject.runner].checks is not None:
        able = [name for name in RUNNERS if RUNNERS[name].checks is None]
        raise PlanError(
            f"the runner {subject.runner}, which {subject.variant} gets there, times it but does "
            "not tell its outputs",
            hint=f"runners that do: {', '.join(able)} (edgekit devices prepare installs a runtime)",
        )


def _memory_bytes(device: Device) -> int | None:
    """How much memory the device has; None where it does not tell."""
    told = device.run(["cat", "/proc/meminfo"], timeout_seconds=60)
    for line in told.stdout.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0] == "MemTotal:" and fields[1].isdigit():
            return int(fields[1]) * 1024
    return None
