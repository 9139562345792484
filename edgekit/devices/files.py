"""Files that come from a device."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgekit.core.files import unwritable

Write = Callable[[bytes], object]


def write_whole(target: Path, fill: Callable[[Write], None]) -> None:
    """Make `target` from the blocks that `fill` passes to its argument, whole or not at all.

    Raises:
        OutputError: it cannot be written here.
    """
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".pull.")
    except OSError as exc:
        raise unwritable(target, exc) from exc
    try:
        with os.fdopen(handle, "wb") as file:

            def write(block: bytes) -> None:
                try:
                    file.write(block)
                except OSError as exc:
                    raise unwritable(target, exc) from exc

            fill(write)
        try:
            os.replace(name, target)
        except OSError as exc:
            raise unwritable(target, exc) from exc
    finally:
        Path(name).unlink(missing_ok=True)
