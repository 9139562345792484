"""Whether a bundle's folder is exactly what its manifest says. Nothing in it is trusted.

What this protects: ``manifest.json`` has the digest of every file and ``manifest.sha256`` has the
manifest's, so whatever happens by accident (a bad disk, a cut-off copy, a file edited, added or
left out) is found, in any file, these two included. Somebody who means to deceive can change a
file and write both anew: that is found by the signature in ``model.sig``, checked against a key or
an authority that came another way than the bundle, or by the digest that `edgekit bundle` printed.
File times, owners and permission bits are not covered.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgekit.bundles.archive import unpacked
from edgekit.bundles.manifest import (
    MANIFEST,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    SIDECAR,
    SIGNATURE,
    BundledFile,
    Manifest,
    decode,
    parents,
    sidecar,
)
from edgekit.bundles.signing import MAX_SIGNATURE_BYTES, Signed, Trust, check
from edgekit.core.errors import InputError, IntegrityError, UsageError

MAX_DEPTH = 16
SHOWN = 20

Kind = Literal["changed", "missing", "extra", "unsafe", "manifest", "signature"]


@dataclass(frozen=True)
class Finding:
    """One difference between the folder and the manifest; `str()` is for people."""

    kind: Kind
    path: str
    detail: str

    def __str__(self) -> str:
        # repr: a name may hold newlines, terminal escapes, or bytes that are no text.
        return f"{self.path!r} {self.detail}"


@dataclass(frozen=True)
class Inspection:
    """What a look at a bundle found.

    Attributes:
        manifest: None if it could not be read.
        digest: SHA-256 of ``manifest.json`` as it lies there; empty if it could not be read.
        findings: the differences, sorted by path; none means that all is as it should be.
        signed: what the signature says; None if there is none, or none that can be read.
    """

    manifest: Manifest | None
    digest: str
    findings: tuple[Finding, ...]
    signed: Signed | None = None


def verify_bundle(
    folder: Path,
    *,
    digest: str = "",
    trust: Trust | None = None,
    now: datetime.datetime | None = None,
) -> Inspection:
    """Check the bundle in `folder`, or in a tarball of one; only a whole one comes back.

    Args:
        digest: the manifest's SHA-256 as `edgekit bundle` printed it.
        trust: whose signature it has to have. Without this and `digest` a bundle that was
            rewritten as a whole cannot be told from the real one.
        now: for the dates of certificates.

    Raises:
        IntegrityError: there are differences; lists the first 20 and says how many there are.
        InputError: no such folder, or it or a key cannot be read.
        UsageError: `digest` is not a SHA-256, or `trust` names no key or certificate.
    """
    inspection = inspect_bundle(folder, digest=digest, trust=trust, now=now)
    found = inspection.findings
    if found:
        count = "1 difference" if len(found) == 1 else f"{len(found)} differences"
        by_signature = any(finding.kind == "signature" for finding in found)
        what = "what was signed" if by_signature else "what its manifest says"
        lines = [f"{str(folder)!r} is not {what}: {count}"]
        lines += [f"  {finding}" for finding in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(f"  … and {len(found) - SHOWN} more")
        hint = "do not use it; fetch it again or make it with edgekit bundle"
        inside = [path.parent for path in sorted(folder.glob(f"*/{MANIFEST}"))]
        if inside and not (folder / MANIFEST).exists():
            hint = f"a bundle lies in {inside[0]}"
        raise IntegrityError("\n".join(lines), hint=hint)
    return inspection


@contextlib.contextmanager
def whole_bundle(path: Path) -> Iterator[tuple[Path, Manifest]]:
    """The folder of a bundle, unpacked for as long as the block lasts if it is a tarball.

    Raises:
        IntegrityError: it is not what its manifest says.
        InputError: it is no bundle, or cannot be read.
    """
    with contextlib.ExitStack() as stack:
        folder = path
        if path.is_file() and path.name.endswith(".tar.gz"):
            folder = stack.enter_context(unpacked(path))
        manifest = verify_bundle(folder).manifest
        assert manifest is not None
        yield folder, manifest


def inspect_bundle(
    folder: Path,
    *,
    digest: str = "",
    trust: Trust | None = None,
    now: datetime.datetime | None = None,
) -> Inspection:
    """Like `verify_bundle`, but differences are returned and not raised; not so a bad tarball.

    Files are read in pieces, so memory does not grow with them.

    Raises:
        InputError: no such folder, or it cannot be read.
        UsageError: `digest` is not a SHA-256.
    """
    wanted = digest.strip().lower()
    if wanted and not re.fullmatch(r"[0-9a-f]{64}", wanted):
        raise UsageError(f"digest {digest!r} is not a SHA-256: 64 hexadecimal digits")
    if folder.is_file() and folder.name.endswith(".deb"):
        raise InputError(
            f"{str(folder)!r} is a package, and what is installed of it is the bundle",
            hint=f"dpkg-deb -x {folder} ROOT; edgekit verify ROOT/usr/share/NAME",
        )
    if not folder.is_dir() and not folder.name.endswith(".tar.gz"):
        raise InputError(
            f"{str(folder)!r} is not a folder, so it is no bundle",
            hint="edgekit bundle BUILD -o DIR makes one",
        )
    try:
        if not folder.is_dir():
            with unpacked(folder) as inside:
                return _inspect(inside, wanted, trust or Trust(), now)
        return _inspect(folder.resolve(), wanted, trust or Trust(), now)
    except OSError as exc:
        place = exc.filename if isinstance(exc.filename, str) else str(folder)
        raise InputError(f"cannot read {place!r}: {exc.strerror or exc}") from exc


def _inspect(folder: Path, wanted: str, trust: Trust, now: datetime.datetime | None) -> Inspection:
    findings: list[Finding] = []
    manifest: Manifest | None = None
    beside: bytes | None = None
    data = _read_small(folder / MANIFEST, MAX_MANIFEST_BYTES, findings)
    found = ""
    if data is not None:
        found = hashlib.sha256(data).hexdigest()
        if wanted and found != wanted:
            detail = f"has SHA-256 {found}, not {wanted} as was asked for"
            findings.append(Finding("manifest", MANIFEST, detail))
        beside = _read_small(folder / SIDECAR, len(sidecar(data)), findings)
        # The exact bytes: an upper-case digit would mean the same, but it is a changed byte.
        if beside is not None and beside != sidecar(data):
            detail = f"does not match the digest in {SIDECAR}: one of the two was changed"
            findings.append(Finding("manifest", MANIFEST, detail))
        try:
            manifest = decode(data)
        except IntegrityError as exc:
            findings.append(Finding("manifest", MANIFEST, f"cannot be used: {exc.message}"))
    signed: Signed | None = None
    if manifest is not None and manifest.signature is not None:
        covered = {file.path: file.sha256 for file in manifest.files} | {MANIFEST: found}
        if beside is not None:
            covered[SIDECAR] = hashlib.sha256(beside).hexdigest()
        signed = _check_signature(folder, covered, trust, now, findings)
    elif manifest is not None and trust:
        findings.append(Finding("signature", SIGNATURE, "is not there: the bundle is not signed"))
    findings += _compare(folder, manifest)
    ordered = tuple(sorted(findings, key=lambda f: (f.path, f.kind)))
    return Inspection(manifest, found, ordered, signed)


def _check_signature(
    folder: Path,
    covered: dict[str, str],
    trust: Trust,
    now: datetime.datetime | None,
    findings: list[Finding],
) -> Signed | None:
    """What the signature says; findings for what it says otherwise than `covered`.

    Raises:
        UsageError: the key or certificates of `trust` cannot be used.
    """
    data = _read_small(folder / SIGNATURE, MAX_SIGNATURE_BYTES, findings)
    if data is None:
        return None
    try:
        signed = check(data, trust, now=now)
    except IntegrityError as exc:
        detail = f"does not hold: {exc.message.removeprefix(SIGNATURE + ' ')}"
        findings.append(Finding("signature", SIGNATURE, detail))
        return None
    for path in sorted(covered.keys() | signed.files.keys()):
        if path not in signed.files:
            findings.append(Finding("signature", path, "is in the manifest and was not signed"))
        elif path not in covered:
            findings.append(Finding("signature", path, "was signed and is not in the manifest"))
        elif covered[path] != signed.files[path]:
            detail = (
                f"has SHA-256 {covered[path][:12]}… by the manifest, "
                f"and {signed.files[path][:12]}… was signed"
            )
            if path in (MANIFEST, SIDECAR):
                detail = f"has SHA-256 {covered[path][:12]}…, {signed.files[path][:12]}… was signed"
            findings.append(Finding("signature", path, detail))
    return signed


def _read_small(path: Path, limit: int, findings: list[Finding]) -> bytes | None:
    """All of a plain file of at most `limit` bytes; None, and a finding, if it is not that."""
    try:
        descriptor = _open(path.name, path.parent)
    except FileNotFoundError:
        findings.append(Finding("missing", path.name, "is missing"))
        return None
    except OSError as exc:  # a link, a socket, a file that may not be read
        detail = f"cannot be opened as a plain file: {exc.strerror}"
        findings.append(Finding("manifest", path.name, detail))
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            findings.append(Finding("manifest", path.name, "is not a plain file"))
            return None
        data = file.read(min(found.st_size, limit) + 1)
    if len(data) > limit:
        detail = f"is larger than the {limit} bytes it may have"
        findings.append(Finding("manifest", path.name, detail))
        return None
    return data


def _open(name: str, folder: Path | int) -> int:
    # NOFOLLOW: a link is never read through. NONBLOCK: opening a named pipe must not wait.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if isinstance(folder, int):
        return os.open(name, flags, dir_fd=folder)
    return os.open(folder / name, flags)


def _compare(folder: Path, manifest: Manifest | None) -> Iterator[Finding]:
    """Walk the folder through open descriptors, so that a folder swapped for a link is no way out.

    Without a manifest only what no bundle may hold is reported.
    """
    expected = {file.path: file for file in manifest.files} if manifest else None
    own = manifest.own if manifest else ()
    missing = set(expected or ())
    folders = parents(expected or ())
    seen = 0
    for root, names, files, descriptor in os.fwalk(folder, onerror=_raise):
        below = Path(root).relative_to(folder)
        for name in list(names):
            path = (below / name).as_posix()
            missing.discard(path)  # whatever stands under that name is reported here
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            if not stat.S_ISDIR(mode):
                yield Finding("unsafe", path, f"is {_what(mode)}; a bundle has plain files only")
            elif expected is not None and path in expected:
                yield Finding("changed", path, "is a folder and should be a file")
            elif name == "__pycache__":
                detail = "is left by Python where a module was imported from; remove it"
                yield Finding("extra", path + "/", detail)
            elif expected is not None and path not in folders:
                yield Finding("extra", path + "/", "is a folder that the manifest does not know")
            if len(below.parts) + 1 >= MAX_DEPTH:
                yield Finding("unsafe", path + "/", f"lies deeper than {MAX_DEPTH} folders")
                names.remove(name)
        for name in files:
            path = (below / name).as_posix()
            missing.discard(path)
            yield from _compare_file(name, path, descriptor, expected, own)
        seen += len(names) + len(files)
        if seen > 2 * MAX_FILES:
            yield Finding("extra", "", f"has more than {2 * MAX_FILES} files and folders")
            return
    for path in missing:
        yield Finding("missing", path, "is missing")


def _raise(error: OSError) -> None:
    raise error


def _compare_file(
    name: str,
    path: str,
    folder: int,
    expected: dict[str, BundledFile] | None,
    own: tuple[str, ...],
) -> Iterator[Finding]:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        detail = f"is {_what(found.st_mode)}; a bundle has plain files only"
        yield Finding("unsafe", path, detail)
        return
    if found.st_nlink > 1:
        # Its content could be changed through the other name, after this very check.
        detail = f"is a hard link (the file has {found.st_nlink} names); copy the bundle first"
        yield Finding("unsafe", path, detail)
    if expected is None or path in own:
        return
    if path not in expected:
        yield Finding("extra", path, "is not in the manifest")
        return
    wanted = expected[path]
    if found.st_size != wanted.size_bytes:
        detail = f"has {found.st_size} bytes, the manifest says {wanted.size_bytes}"
        yield Finding("changed", path, detail)
        return
    with os.fdopen(_open(name, folder), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != wanted.sha256:
        detail = f"has SHA-256 {digest[:12]}…, the manifest says {wanted.sha256[:12]}…"
        yield Finding("changed", path, detail)


def _what(mode: int) -> str:
    kinds = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((words for test, words in kinds if test(mode)), "a special file")
