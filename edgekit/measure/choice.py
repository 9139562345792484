"""Which runner is taken where none is named."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.core.errors import RuntimeMissingError, UsageError
from edgekit.core.protocols import Device
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners import RUNNERS
from edgekit.measure.runners.native import FORMATS, refuse_unsuited
from edgekit.measure.runners.python import find_runtime


@dataclass(frozen=True)
class RunnerChoice:
    """A name in `RUNNERS`, and why it was taken; "" where the user said so."""

    name: str
    why: str


def choose_runner(
    device: Device, file_format: str, wish: RunnerWish, named: str | None = None
) -> RunnerChoice:
    """The runner for files of `file_format` on `device` (open).

    The Python runner where a Python there has a runtime; else the native one, if it reads the
    format and can run there; else the Python runner, which says what to install.

    Raises:
        UnknownNameError: there is no runner called `named`.
        UsageError: `named` contradicts the wish.
    """
    for_native = wish.native_program or wish.native_library
    if named is not None:
        RUNNERS[named]
        if (named == "python" and for_native) or (named == "native" and wish.python):
            raise UsageError(
                f"--runner {named} takes no "
                + ("--native-program and --native-library" if for_native else "--python"),
                hint="leave out one of them",
            )
        return RunnerChoice(named, "")
    if for_native:
        return RunnerChoice("native", "")
    if wish.python or wish.runtime:
        return RunnerChoice("python", "")
    found = find_runtime(device, file_format)
    if found is not None:
        python, runtime = found
        return RunnerChoice("python", f"{python} has {runtime}")
    missing = f"no Python there has a runtime that reads {file_format}"
    if file_format not in FORMATS:
        return RunnerChoice("python", missing)
    try:
        refuse_unsuited(device, wish)
    except RuntimeMissingError as exc:
        return RunnerChoice("python", f"{missing}, and for the native one {exc.message}")
    return RunnerChoice("native", missing)
