"""What every transport keeps to: bounded output, a bounded store, and errors that say how much."""

from __future__ import annotations

import os

from edgekit.core.errors import DeviceError, UsageError
from edgekit.core.files import readable_bytes

# A runner's 200,000 samples are 2 MB; whatever prints more than this is out of control.
OUTPUT_LIMIT_BYTES = 64 * 10**6

DEFAULT_STORE_LIMIT_BYTES = 2 * 10**9

# Scratch files and partial uploads older than this belong to nobody any more.
STALE_MINUTES = 24 * 60


class Output:
    """Collects what a command prints, up to a limit in bytes for both streams together."""

    def __init__(self, command: str, limit_bytes: int = OUTPUT_LIMIT_BYTES) -> None:
        self._command = command
        self._left = self._limit = limit_bytes
        self._streams: dict[str, list[bytes]] = {"stdout": [], "stderr": []}

    def add(self, stream: str, data: bytes) -> None:
        """Raises DeviceError when the limit is passed."""
        self._left -= len(data)
        if self._left < 0:
            raise DeviceError(
                f"{self._command} printed more than {readable_bytes(self._limit)} and was stopped"
            )
        self._streams[stream].append(data)

    def text(self, stream: str) -> str:
        return b"".join(self._streams[stream]).decode("utf-8", "replace")


def store_limit_bytes() -> int:
    """EDGEKIT_DEVICE_STORE_MB (10⁶ bytes), or 2 GB. Raises UsageError."""
    text = os.environ.get("EDGEKIT_DEVICE_STORE_MB")
    if text is None:
        return DEFAULT_STORE_LIMIT_BYTES
    if not text.isdigit():
        raise UsageError(
            f"EDGEKIT_DEVICE_STORE_MB={text!r} is not a whole number of megabytes, zero or more"
        )
    return int(text) * 10**6


def too_slow(command: str, seconds: float) -> DeviceError:
    """For a command that was stopped because its time was over."""
    return DeviceError(f"{command} took longer than {seconds:g} s and was stopped")


def full_disk(address: str, free_bytes: int, needed_bytes: int, store: str) -> DeviceError:
    """For a device that has no room for a file."""
    return DeviceError(
        f"{address} has {readable_bytes(free_bytes)} free in {store!r}, "
        f"{readable_bytes(needed_bytes)} needed",
        hint=f"free some space there, or edgekit clean --on {address}",
    )


def plain_words(argv: object) -> list[str]:
    """`argv` as a list of words that a program can be given.

    Raises:
        UsageError: it is empty, a word is not text, or holds a NUL.
    """
    words = list(argv) if isinstance(argv, (list, tuple)) else []
    if not words or not all(isinstance(word, str) for word in words):
        raise UsageError(f"{argv!r} is not a list of words to run")
    for word in words:
        if "\0" in word:
            raise UsageError(f"{word!r} holds a NUL, which no program can be given")
    return words


def short(argv: list[str]) -> str:
    """A command for an error message: its program and first words, at most 80 characters."""
    import shlex

    text = shlex.join(argv).replace("\n", "\\n")
    return text if len(text) <= 80 else text[:77] + "…"
