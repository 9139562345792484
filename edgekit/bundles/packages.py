"""A bundle as a Debian package for each ABI, and as a tarball; the same bytes for the same bundle.

Pages: https://www.debian.org/doc/debian-policy/, deb(5). Written here and not by dpkg-deb, which is
on Debian only: an ``ar`` of two tarballs, with the build's time, root as owner, modes 0644 and 0755
and names in order. The package has the bundle as it is in ``/usr/share/NAME`` (so that ``edgekit
verify /usr/share/NAME`` holds there, too) and a link to its module where Python finds it.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import io
import re
import shutil
import tarfile
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from edgekit.bundles.archive import LEVEL
from edgekit.bundles.classes import module_name
from edgekit.bundles.manifest import Manifest, parents
from edgekit.core.errors import InputError, UnknownNameError, UsageError
from edgekit.core.files import unwritable

# What Debian calls the architectures that ``uname -m`` names.
ABIS = {"aarch64": "arm64", "x86_64": "amd64", "armv7l": "armhf", "riscv64": "riscv64"}
MAINTAINER = r"[^<>@]+ <[^<>@\s]+@[^<>@\s]+>"


@dataclass(frozen=True)
class Package:
    """What the packages of one bundle have in common.

    Attributes:
        folder: the bundle.
        name: of the package, as Debian allows it.
    """

    folder: Path
    manifest: Manifest
    name: str

    @property
    def version(self) -> str:
        """As Debian orders them: 1.2.0~rc.1 comes before 1.2.0."""
        number, _, before = self.manifest.version.partition("-")
        return f"{number}~{before.replace('-', '.')}" if before else number

    @property
    def time(self) -> int:
        """Of every file, in seconds since 1970: the build's."""
        return int(datetime.datetime.fromisoformat(self.manifest.created).timestamp())

    @property
    def files(self) -> list[str]:
        return sorted([*self.manifest.own, *(file.path for file in self.manifest.files)])


def package_name(name: str) -> str:
    """`name` as Debian allows it: lower case, digits, ``+-.``; two characters at least."""
    text = re.sub(r"[^a-z0-9+.-]+", "-", name.lower()).strip("+.-")
    return text if len(text) > 1 else f"{text or 'a'}-model"


def check_abis(abis: Sequence[str], arch: str) -> list[str]:
    """Debian's names of the architectures to make packages for; `arch` is the board's.

    Raises:
        UnknownNameError: one of `abis` is none.
        UsageError: none is given and the board's has no name there.
    """
    known = set(ABIS.values())
    for abi in abis:
        if abi not in known:
            raise UnknownNameError("Debian architecture", abi, known)
    if abis:
        return list(dict.fromkeys(abis))
    if arch not in ABIS:
        raise UsageError(
            f"Debian has no name for the board's architecture {arch!r}",
            hint=f"say which: --abi {' or --abi '.join(sorted(known))}",
        )
    return [ABIS[arch]]


def check_about(maintainer: str, licence: str) -> None:
    """Raise UsageError if no package can be made of what was said."""
    if not licence:
        raise UsageError(
            "a package says what it may be used for, and no licence is given",
            hint="add --licence SPDX, as Apache-2.0 or LicenseRef-proprietary",
        )
    if not re.fullmatch(MAINTAINER, maintainer):
        raise UsageError(
            f"a package says who answers for it, and {maintainer!r} is not of the form "
            "'Name <address>'",
            hint="add --maintainer 'Ada Byron <ada@example.org>'",
        )


def write_tarball(package: Package, target: Path) -> None:
    """Write the bundle as ``target``, a .tar.gz whose one folder is ``NAME-VERSION``.

    Raises:
        InputError: a path of the bundle is too long for a tarball.
        OutputError: it cannot be written.
    """
    top = f"{package.name}-{package.manifest.version}"
    with _replaced(target) as out, _packer(out) as packed:
        tar = tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        for path in package.files:
            _add(tar, package, f"{top}/{path}", package.folder / path)
        tar.close()


def write_deb(package: Package, abi: str, target: Path) -> None:
    """Write the Debian package for the architecture `abi`.

    Raises:
        InputError: a path of the bundle is too long for a tarball.
        OutputError: it cannot be written.
    """
    with _replaced(target) as out, tempfile.TemporaryFile(dir=target.parent) as data:
        sums, size = _data(package, data)
        control = _control(package, abi, sums, size)
        out.write(b"!<arch>\n")
        version = io.BytesIO(b"2.0\n")
        for name, content in (
            ("debian-binary", version),
            ("control.tar.gz", io.BytesIO(control)),
            ("data.tar.gz", data),
        ):
            length = content.seek(0, io.SEEK_END)
            content.seek(0)
            head = f"{name:<16}{package.time:<12}{0:<6}{0:<6}{0o100644:<8o}{length:<10}`\n"
            out.write(head.encode())
            shutil.copyfileobj(content, out)
            if length % 2:
                out.write(b"\n")


def _data(package: Package, out: IO[bytes]) -> tuple[bytes, int]:
    """Write data.tar.gz; the content of ``md5sums``, and the installed size in KiB."""
    home, doc = f"usr/share/{package.name}", f"usr/share/doc/{package.name}"
    files: dict[str, Path | bytes] = {f"{home}/{p}": package.folder / p for p in package.files}
    files[f"{doc}/copyright"] = _copyright(package)
    files[f"{doc}/changelog.gz"] = _zipped(_changelog(package))
    files[f"usr/share/lintian/overrides/{package.name}"] = _overrides(package)
    module = f"{module_name(package.manifest.name)}.py"
    link = f"usr/lib/python3/dist-packages/{module}"
    sums, size = [], 0
    with _packer(out) as packed:
        tar = tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
        for path in sorted({*files, link, *parents([*files, link])}):
            if path in files:
                digest, length = _add(tar, package, f"./{path}", files[path])
                sums.append(f"{digest}  {path}\n")
                size += -(-length // 1024)
            elif path == link:
                info = _entry(package, f"./{path}")
                info.type, info.mode = tarfile.SYMTYPE, 0o777
                info.linkname = f"../../../share/{package.name}/{module}"
                tar.addfile(info)
            else:
                info = _entry(package, f"./{path}/")
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
                size += 1
        tar.close()
    return "".join(sums).encode(), size


def _control(package: Package, abi: str, sums: bytes, size: int) -> bytes:
    manifest = package.manifest
    said = manifest.description or f"model {manifest.name} for {manifest.provenance.profile}"
    variants = ", ".join(artifact.variant for artifact in manifest.artifacts)
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": abi,
        "Maintainer": manifest.maintainer,
        "Installed-Size": str(size),
        "Depends": "python3 (>= 3.8), python3-numpy",
        "Section": "science",
        "Priority": "optional",
        "Description": synopsis(said, package.name),
    }
    text = "".join(f"{name}: {value}\n" for name, value in fields.items())
    module = module_name(manifest.name)
    if manifest.description:
        lines = textwrap.wrap(manifest.description, 76, break_on_hyphens=False)
        text += "".join(f" {line}\n" for line in lines) + " .\n"
    text += (
        f" The variants {variants} of a model converted and verified by edgekit, with\n"
        f" their manifest and bill of materials in /usr/share/{package.name}.\n"
        " .\n"
        f" The Python module {module} runs them. It needs a runtime that is not in\n"
        f" Debian; /usr/share/{package.name}/README.md says which.\n"
    )
    out = io.BytesIO()
    with _packer(out) as packed:
        tar = tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
        folder = _entry(package, "./")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        for name, content in (("control", text.encode()), ("md5sums", sums)):
            _add(tar, package, f"./{name}", content)
        tar.close()
    return out.getvalue()


def synopsis(said: str, name: str) -> str:
    """`said` in the words that Debian wants of the package `name`: no sentence, no article."""
    text = re.split(r"[.!?]\s", said)[0] or said
    text = re.sub(r"^(an?|the)\s+", "", text, flags=re.IGNORECASE)
    if text.lower().startswith(name) or len(text) < 10:
        text = f"machine learning model: {text}"
    return textwrap.shorten(text, 79, placeholder="…").rstrip(".! ")


def _copyright(package: Package) -> bytes:
    manifest = package.manifest
    lines = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
        f"Upstream-Name: {' '.join(manifest.name.split())}",
        f"Upstream-Contact: {manifest.maintainer}",
        "",
        "Files: *",
        f"Copyright: {manifest.created[:4]} {manifest.maintainer}",
        f"License: {manifest.licence}",
        "",
        f"License: {manifest.licence}",
        " The model is under this licence, as whoever bundled it said. The Python module",
        " and README.md were written by edgekit, and are under Apache-2.0; on Debian its",
        " text is in /usr/share/common-licenses/Apache-2.0.",
    ]
    return ("\n".join(lines) + "\n").encode()


def _changelog(package: Package) -> bytes:
    when = datetime.datetime.fromtimestamp(package.time, datetime.UTC)
    return (
        f"{package.name} ({package.version}) unstable; urgency=medium\n\n"
        f"  * Version {package.manifest.version} of the model.\n\n"
        f" -- {package.manifest.maintainer}  {when:%a, %d %b %Y %H:%M:%S} +0000\n"
    ).encode()


def _overrides(package: Package) -> bytes:
    """What lintian would remark and is meant."""
    return (
        "# The bundle is whole where it lies, so that its digests can be checked there.\n"
        f"{package.name}: package-contains-documentation-outside-usr-share-doc "
        f"[usr/share/{package.name}/*]\n"
        "# The model was converted and verified for one kind of board.\n"
        f"{package.name}: package-contains-no-arch-dependent-files\n"
    ).encode()


def _zipped(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


def _entry(package: Package, path: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.mtime, info.mode = package.time, 0o644
    info.uname = info.gname = "root"
    return info


def _add(
    tar: tarfile.TarFile, package: Package, path: str, content: Path | bytes
) -> tuple[str, int]:
    """Put a file in, read in pieces; its MD5 (what dpkg lists) and size."""
    info = _entry(package, path)
    with io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb") as reader:
        info.size = reader.seek(0, io.SEEK_END)
        reader.seek(0)
        summed = _Summed(reader)
        try:
            tar.addfile(info, summed)
        except ValueError as exc:  # a name of more than 100 characters that cannot be split
            raise InputError(
                f"the path {PurePosixPath(path).name!r} cannot be in a tarball: {exc}",
                hint="bundle a variant or model of a shorter name",
            ) from exc
    return summed.md5.hexdigest(), info.size


class _Summed(io.RawIOBase):
    """A reader that sums what is read."""

    def __init__(self, reader: IO[bytes]) -> None:
        self.reader = reader
        self.md5 = hashlib.md5(usedforsecurity=False)

    def read(self, size: int = -1) -> bytes:
        piece = self.reader.read(size)
        self.md5.update(piece)
        return piece


def _packer(out: IO[bytes]) -> gzip.GzipFile:
    # No name and no time in the header: they would differ from run to run.
    return gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=out, mtime=0)


@contextmanager
def _replaced(target: Path) -> Iterator[IO[bytes]]:
    """A file that becomes `target` when the block ends well, and vanishes otherwise."""
    try:
        handle = tempfile.NamedTemporaryFile(  # noqa: SIM115 - renamed below
            dir=target.parent, prefix=f".{target.name}.", delete=False
        )
    except OSError as exc:
        raise unwritable(target, exc) from exc
    scratch = Path(handle.name)
    try:
        with handle:
            yield handle
        scratch.chmod(0o644)
        scratch.replace(target)
    except OSError as exc:
        raise unwritable(target, exc) from exc
    finally:
        scratch.unlink(missing_ok=True)
