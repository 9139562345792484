"""What can go wrong, as one tree. The exit code of the command is the class's.

    EdgekitError                        1   anything of ours that fits no class below
    ├── UsageError                      2   what was typed or written: option, recipe, profile
    │   ├── UnknownNameError            2   a name that is not in the list (says the nearest)
    │   └── SeveralDevicesError         2   several devices are connected and none was named
    ├── InputError                      3   what was handed over cannot be used
    │   ├── ModelError                  3   not a model, truncated, weights that do not fit
    │   │   └── UntrustedModelError     3   the model would run code and --trust-code was not given
    │   └── DataError                   3   calibration or evaluation data
    ├── PlanError                       4   the wish cannot be met by this board or this recipe
    ├── ConversionError                 5   a converter failed
    │   └── WorkerError                 5   its process crashed, hung or took too much memory
    ├── RejectedError                   6   an artifact is over its budget or does not load
    ├── DeviceError                     7   the board
    │   ├── TransientDeviceError        7   link lost, refused, timed out: trying again may help
    │   │   └── OfflineError            7   adb sees the device, but it does not answer
    │   ├── NoDeviceError               7   no device, or none of that name, is connected
    │   ├── UnauthorizedError           7   the phone has not accepted this computer
    │   ├── UsbAccessError              7   this user may not open the USB device
    │   ├── NotBootedError              7   in recovery, sideload or bootloader: nothing can be run
    │   ├── DeviceBusyError             7   somebody else is using it
    │   ├── HostKeyError                7   unknown or changed host key
    │   ├── RuntimeMissingError         7   no runtime on the board that reads this artifact
    │   └── MismatchError               7   the board computes something else than this computer
    ├── IntegrityError                  8   a bundle is not what its manifest says
    ├── OutputError                     9   the result cannot be written here
    └── PartialError                    10  some of several boards failed; the rest is kept

Ctrl-C ends with 130. Third-party exceptions are translated where they enter, with
``raise … from exc``. Only `TransientDeviceError` is ever retried, and never around a measurement.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgekitError(Exception):
    """One or two lines: what is wrong with the value and what is allowed; then what to do next.

    Args:
        message: what is wrong, with the value, and what is allowed.
        hint: the next command to run or the thing to change; printed on a line of its own.
        log: path of the file that holds the full story, where there is one.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", log: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.log = log

    def __str__(self) -> str:
        return "\n".join(
            part
            for part in (self.message, self.hint, f"full log: {self.log}" if self.log else "")
            if part
        )

    def to_json(self) -> dict[str, str]:
        """A form that crosses a process boundary; `from_json` is its inverse."""
        return {
            "class": type(self).__name__,
            "message": self.message,
            "hint": self.hint,
            "log": self.log,
        }

    @staticmethod
    def from_json(data: dict[str, str]) -> EdgekitError:
        """The error that `to_json` described; an unknown class becomes an `EdgekitError`."""
        cls = _by_name().get(data.get("class", ""), EdgekitError)
        error = cls.__new__(cls)
        EdgekitError.__init__(
            error, data["message"], hint=data.get("hint", ""), log=data.get("log", "")
        )
        return error


class UsageError(EdgekitError):
    """An option, a recipe or a profile is not right as written."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not in a closed list."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        near = near or [known for known in names if name and known.startswith(name)]
        which = (
            f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
        )
        super().__init__(f"there is no {kind} called {name!r}; {which}", hint=hint)


class SeveralDevicesError(UsageError):
    """Several devices are connected, and which one was not said."""


class InputError(EdgekitError):
    """What was handed over cannot be used."""

    exit_code = 3


class ModelError(InputError):
    """Not a model, truncated, or weights that do not fit the architecture."""


class UntrustedModelError(ModelError):
    """The model would run code that came with it."""


class DataError(InputError):
    """Calibration or evaluation data that is empty, of the wrong shape or type, or not finite."""


class PlanError(EdgekitError):
    """The plan cannot be carried out; found before any work started."""

    exit_code = 4


class ConversionError(EdgekitError):
    """A converter failed or gave something other than what was asked for."""

    exit_code = 5


class WorkerError(ConversionError):
    """A worker process crashed, ran out of time or took more memory than allowed."""


class RejectedError(EdgekitError):
    """An artifact is over its accuracy budget, or the board's runtime refuses it."""

    exit_code = 6


class DeviceError(EdgekitError):
    """The board cannot do what was asked."""

    exit_code = 7


class TransientDeviceError(DeviceError):
    """The link to the board failed; the same call may succeed later."""


class OfflineError(TransientDeviceError):
    """adb sees the device, but it does not answer."""


class NoDeviceError(DeviceError):
    """No device, or none of that name, is connected."""


class UnauthorizedError(DeviceError):
    """The phone has not accepted this computer's key."""


class UsbAccessError(DeviceError):
    """The USB device cannot be opened by this user of this computer."""


class NotBootedError(DeviceError):
    """The device is in a state in which nothing can be run: recovery, sideload, bootloader."""


class DeviceBusyError(DeviceError):
    """Somebody else is using the board, or has taken it over."""


class HostKeyError(DeviceError):
    """The board's host key is unknown or has changed."""


class RuntimeMissingError(DeviceError):
    """No runtime on the board reads this kind of artifact."""


class MismatchError(DeviceError):
    """The board computes something else than this computer for the same inputs."""


class IntegrityError(EdgekitError):
    """A bundle is not what its manifest says."""

    exit_code = 8


class OutputError(EdgekitError):
    """The result cannot be written where it was asked for."""

    exit_code = 9


class PartialError(EdgekitError):
    """Some of several boards failed; what the others gave is kept."""

    exit_code = 10


def _by_name() -> dict[str, type[EdgekitError]]:
    found: dict[str, type[EdgekitError]] = {}
    queue: list[type[EdgekitError]] = [EdgekitError]
    while queue:
        cls = queue.pop()
        found[cls.__name__] = cls
        queue.extend(cls.__subclasses__())
    return found
