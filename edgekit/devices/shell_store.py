"""The store of a device that is looked after by a shell: what SSH and adb have in common."""

from __future__ import annotations

import contextlib
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import DeviceError, InputError, TransientDeviceError, UsageError
from edgekit.core.eviction import StoreUsage, evict, usage_of
from edgekit.core.files import sha256_file
from edgekit.devices import scripts
from edgekit.devices.files import size_of
from edgekit.devices.limits import STALE_MINUTES, full_disk, store_limit_bytes

_DOTS = ("", ".", "..")


@dataclass(frozen=True)
class Sent:
    """What became of an upload.

    Attributes:
        why: what the device said if it took less than all of it.
        sha256: of what arrived, if the device has told.
    """

    why: str = ""
    sha256: str = ""


class ShellStore(ABC):
    """A folder with ``objects`` (by SHA-256, bounded) and ``scratch`` on a device.

    A transport inherits it and gives `_script` and `_upload`.

    Args:
        address: the device's.
        folder: the store's path there; in the user's cache folder if empty.

    Raises:
        UsageError: EDGEKIT_DEVICE_STORE_MB is no number.
    """

    def __init__(self, address: str, folder: str = "") -> None:
        self.address = address
        self.pushed_bytes = 0
        self.store_folder = folder
        self._limit_bytes = store_limit_bytes()
        self._in_use: set[str] = set()
        self._store_path: str | None = None

    @abstractmethod
    def _script(self, script: str, *arguments: str, allow: Sequence[int] = (0,)) -> tuple[int, str]:
        """Run one of `scripts` there; its exit code and what it printed.

        Raises:
            DeviceError: it failed with a code that is not in `allow`.
        """

    @abstractmethod
    def _upload(self, source: Path, part: str, size: int) -> Sent:
        """Send a file of `size` bytes to the path `part`.

        Raises:
            TransientDeviceError: the link broke.
        """

    @property
    def _store(self) -> str:
        """The store's folder there; made when first asked for."""
        if self._store_path is None:
            _, text = self._script(scripts.STORE, str(STALE_MINUTES), self.store_folder)
            found = re.search(r"edgekit-store:(.*):end", text, re.DOTALL)
            if found is None:
                raise DeviceError(f"{self.address}: its shell gave no answer: {text[:200]!r}")
            self._store_path = found[1]
        return self._store_path

    def push(self, source: Path, sha256: str) -> str:
        size = size_of(source)
        store = self._store
        target = f"{store}/objects/{sha256}"
        self._in_use.add(target)
        _, answer = self._script(scripts.LOOK, store, target, str(size))
        if "edgekit:present" in answer:
            return target
        free = scripts.free_bytes(answer)
        if free is not None and free < size:
            raise full_disk(self.address, free, size, store)
        part = self.scratch()
        try:
            sent = self._upload(source, part, size)
            self._commit(source, part, target, sha256, sent)
        except TransientDeviceError:
            raise  # over a broken link it stays, counts for nothing, and goes when it is stale
        except BaseException:
            with contextlib.suppress(DeviceError):  # the error that led here is the one to tell
                self.remove(part)
            raise
        self.trim()
        return target

    def push_all(self, files: Sequence[tuple[Path, str]]) -> list[str]:
        return [self.push(source, sha256) for source, sha256 in files]

    def _commit(self, source: Path, part: str, target: str, sha256: str, sent: Sent) -> None:
        """Give a part that arrived whole its name.

        Raises:
            DeviceError: the disk is full, or something else arrived than was sent.
            InputError: the file here does not have that digest.
        """
        size = source.stat().st_size
        arguments = (part, target, sha256, str(size), sent.sha256)
        code, text = self._script(scripts.COMMIT, *arguments, allow=(0, 3, 4))
        if code == 4:
            self.remove(part)
            _, df = self._script(scripts.FREE, self._store)
            free = scripts.free_bytes(df)
            if free is not None and free < size:
                raise full_disk(self.address, free, size, self._store)
            self._script(scripts.TRY, part)  # it says why nothing can be written, where it cannot
            raise DeviceError(
                f"{self.address} took {int(text)} of {size} bytes of {str(source)!r}"
                + (f": {sent.why}" if sent.why else "")
            )
        if code == 3:
            if sha256_file(source) != sha256:
                raise InputError(
                    f"{str(source)!r} no longer has SHA-256 {sha256[:12]}…: it was changed"
                )
            raise DeviceError(
                f"{self.address}: {str(source)!r} arrived damaged (SHA-256 differs)",
                hint="push it again; if it happens again, suspect the board's disk",
            )

    def scratch(self) -> str:
        return f"{self._store}/scratch/{secrets.token_hex(12)}"

    def remove(self, remote: str) -> None:
        folder, _, name = remote.rpartition("/")
        if folder not in (f"{self._store}/objects", f"{self._store}/scratch") or name in _DOTS:
            raise UsageError(f"{remote!r} is not a file in the store {self._store!r}")
        self._script(scripts.REMOVE, remote)

    def usage(self) -> StoreUsage:
        return usage_of(self._files())

    def trim(self, limit_bytes: int | None = None) -> StoreUsage:
        limit = self._limit_bytes if limit_bytes is None else limit_bytes
        return evict(self._files(), limit, in_use=self._in_use.__contains__, remove=self.remove)

    def _files(self) -> list[tuple[float, int, str]]:
        """Time of last use, size in bytes and path of each object."""
        objects = f"{self._store}/objects"
        _, text = self._script(scripts.LIST, objects)
        return [(used, size, f"{objects}/{name}") for used, size, name in scripts.listed(text)]


def last_line(text: str) -> str:
    """The last line that says something, at most 300 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
