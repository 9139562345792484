"""The runner in Python as boards get it: the package ``runtime_bench/edgekit_bench`` as one file.

A zip that Python runs (`zipapp <https://docs.python.org/3/library/zipapp.html>`_): `__main__.py`
at its top, the other modules below `edgekit_bench/`. Boards keep it by its SHA-256, so it has the
same bytes wherever and whenever it is made of the same sources.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

from edgekit.core.files import write_bytes
from edgekit.core.locate import cache_dir, shipped

PACKAGE = shipped("runtime_bench") / "edgekit_bench"

_MAIN = "__main__.py"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say


def bench_program() -> Path:
    """The file to run, in edgekit's cache folder; made if it is not there yet.

    Raises:
        OutputError: the cache folder cannot be written.
    """
    data = _zipped()
    path = programs_dir() / f"edgekit_bench-{_digest(data)[:16]}.pyz"
    if not path.is_file():
        # Two that make it at once write the same.
        write_bytes(path, data, hint="EDGEKIT_CACHE names another folder for it")
    return path


def bench_digest() -> str:
    """SHA-256 of what `bench_program` gives, in hex; nothing is written."""
    return _digest(_zipped())


def programs_dir() -> Path:
    """Where programs for boards are kept that were made of what edgekit ships."""
    return cache_dir() / "programs"


def _zipped() -> bytes:
    """Stored as it is: what deflate makes depends on zlib's version, and a Python may lack it."""
    sources = [
        (_MAIN if source.name == _MAIN else f"{PACKAGE.name}/{source.name}", source)
        for source in PACKAGE.glob("*.py")
    ]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, source in sorted(sources):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever it is made
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, source.read_bytes())
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
