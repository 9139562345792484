"""Whether an app that was built has a bundle's models as they were verified.

In the APK each is the same byte for byte; stored, not compressed, and on a boundary of four bytes,
so that it can be mapped into memory; and native libraries suit phones with pages of 16 KB, which
load no others.
https://developer.android.com/tools/zipalign, https://developer.android.com/guide/practices/page-sizes
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgekit.bundles.android.sources import GROUPED
from edgekit.bundles.manifest import Manifest
from edgekit.core.errors import InputError, IntegrityError, UsageError

ASSETS = "/src/main/assets/"  # in the bundle; in an APK it is assets/
MODEL_BOUNDARY = 4
PAGE = 16 * 1024
WIDE = ("arm64-v8a", "x86_64")  # ABIs of phones that may have such pages
SHOWN = 20
_CHUNK = 1 << 20
_LOCAL_HEADER, _LOCAL_NAME = 30, 26  # APPNOTE.TXT, 4.3.7
_LOAD, _SEGMENT = 1, 56  # PT_LOAD, and the bytes that an Elf64_Phdr has


@dataclass(frozen=True)
class Checked:
    """What was found in order.

    Attributes:
        models, libraries: names of entries.
        delivered: files of a pack that this APK does not have: Play brings them apart.
    """

    models: tuple[str, ...]
    libraries: tuple[str, ...]
    delivered: tuple[str, ...]


def check_apk(path: Path, manifest: Manifest) -> Checked:
    """Compare the APK with the bundle that its models are from.

    Raises:
        UsageError: the bundle is not for Android.
        InputError: the file is no APK, or cannot be read.
        IntegrityError: names what differs, and what helps.
    """
    if manifest.kind != "android":
        raise UsageError(
            f"--apk is of an Android app, and {manifest.name} is a bundle for {manifest.kind}",
            hint="edgekit bundle BUILD -o DIR --for android",
        )
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as raw:
            return _checked(path, archive, raw, manifest)
    except (OSError, zipfile.BadZipFile, NotImplementedError, EOFError, struct.error) as exc:
        raise InputError(f"{str(path)!r} cannot be read as an APK: {exc}") from exc


def _checked(path: Path, archive: zipfile.ZipFile, raw: IO[bytes], manifest: Manifest) -> Checked:
    entries = {entry.filename: entry for entry in archive.infolist()}
    models = {artifact.files[0] for artifact in manifest.artifacts}
    found: list[str] = []
    problems: list[str] = []
    delivered: list[str] = []
    for file in manifest.files:
        folder, assets, rest = file.path.partition(ASSETS)
        if not assets:
            continue
        name = "assets/" + GROUPED.sub("", rest)
        entry = entries.get(name)
        if entry is None:
            if folder == "pack":
                delivered.append(name)
            else:
                problems.append(f"missing: {name}")
            continue
        if _digest(archive, entry, file.size_bytes) != file.sha256:
            problems.append(f"another file: {name}, by its SHA-256")
        elif file.path in models:
            found.append(name)
            problems += _mappable(raw, entry)
    libraries = [
        entry
        for name, entry in entries.items()
        if name.startswith("lib/") and name.endswith(".so") and name.split("/")[1] in WIDE
    ]
    for entry in libraries:
        problems += _for_pages(archive, raw, entry)
    if not found and not problems:
        problems.append("none of the bundle's models is in it")
    if problems:
        more = len(problems) - SHOWN
        lines = [f"{str(path)!r} is not as {manifest.name} {manifest.version} has to be in an app:"]
        lines += [f"  {problem}" for problem in problems[:SHOWN]]
        lines += [f"  … and {more} more"] if more > 0 else []
        raise IntegrityError("\n".join(lines))
    return Checked(tuple(found), tuple(entry.filename for entry in libraries), tuple(delivered))


def _digest(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, size: int) -> str:
    """SHA-256 of an entry of that size; of no more of a larger one than shows that."""
    total, left = hashlib.sha256(), size + 1
    with archive.open(entry) as file:
        while left and (piece := file.read(min(_CHUNK, left))):
            total.update(piece)
            left -= len(piece)
    return total.hexdigest()


def _start(raw: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """Where in the APK an entry's bytes begin."""
    raw.seek(entry.header_offset)
    header = raw.read(_LOCAL_HEADER)
    name, extra = struct.unpack_from("<HH", header, _LOCAL_NAME)
    return int(entry.header_offset + _LOCAL_HEADER + name + extra)


def _mappable(raw: IO[bytes], entry: zipfile.ZipInfo) -> list[str]:
    name = entry.filename
    if entry.compress_type != zipfile.ZIP_STORED:
        suffix = name.rpartition(".")[2]
        return [
            f'compressed: {name}; the app needs androidResources {{ noCompress += "{suffix}" }}'
        ]
    if _start(raw, entry) % MODEL_BOUNDARY:
        return [f"not on a boundary of {MODEL_BOUNDARY} bytes: {name}; run zipalign -p 4"]
    return []


def _for_pages(archive: zipfile.ZipFile, raw: IO[bytes], entry: zipfile.ZipInfo) -> list[str]:
    """What keeps a library from being loaded where a page has 16 KB."""
    name = entry.filename
    problems = []
    if entry.compress_type == zipfile.ZIP_STORED and _start(raw, entry) % PAGE:
        problems.append(
            f"not on a boundary of {PAGE} bytes: {name}; Android's Gradle plugin 8.5.1 does that"
        )
    with archive.open(entry) as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\x02":  # of 64 bits
            return [*problems, f"no library of 64 bits: {name}"]
        (place,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        if size < _SEGMENT or place > _CHUNK:
            return [*problems, f"no library of 64 bits: {name}"]
        file.seek(place)
        table = file.read(size * count)
    aligned = [
        struct.unpack_from("<Q", table, at + 48)[0]
        for at in range(0, len(table) - _SEGMENT + 1, size)
        if struct.unpack_from("<I", table, at)[0] == _LOAD
    ]
    if not aligned or min(aligned) < PAGE:
        least = f"{min(aligned)} bytes" if aligned else "nothing"
        problems.append(
            f"for pages of 4 KB only: {name}, aligned to {least}; take a newer version of it"
        )
    return problems
