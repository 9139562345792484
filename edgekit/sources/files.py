"""The file a user named as a model, before anything is read of it."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.errors import ModelError


def require_file(path: Path) -> None:
    """Refuse what is no plain file: opening a named pipe would wait for ever.

    Raises:
        ModelError: it is missing, or a folder, a pipe, a device.
        OSError: it cannot be looked at.
    """
    if not path.exists():
        raise ModelError(
            f"there is no model at {str(path)!r}", hint="check the path; it is read as given"
        )
    if not path.is_file():
        raise ModelError(f"{str(path)!r} is not a plain file")
