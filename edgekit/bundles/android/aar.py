"""An .aar, the binary form of an Android library: a zip with compiled classes and assets.

What may be in one: https://developer.android.com/studio/projects/android-library#aar-contents
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.core.errors import ConversionError, InputError, UsageError

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
JAVA_RELEASE = "8"  # what every Android's tools take without rewriting it


def make_aar(
    entries: Mapping[str, bytes], sources: Mapping[str, str], libraries: Sequence[Path]
) -> bytes:
    """The bytes of the .aar; equal input and the same javac give equal bytes.

    Args:
        entries: everything but the classes, by path.
        sources: Java sources by path.
        libraries: what they are compiled against: .jar and .aar files, or folders with such.

    Raises:
        UsageError: there is no javac.
        InputError: a library is not there or none.
        ConversionError: the sources do not compile against these libraries.
    """
    classes = compile_java(sources, libraries)
    return zipped({**entries, "classes.jar": zipped(classes)})


def compile_java(sources: Mapping[str, str], libraries: Sequence[Path]) -> dict[str, bytes]:
    """The class files by path. Raises as `make_aar`."""
    javac = find_javac()
    with tempfile.TemporaryDirectory(prefix="edgekit-javac-") as name:
        folder = Path(name)
        found = [each for path in libraries for each in _in_folder(path)]
        classpath = [str(_jar(path, folder / f"{at}.jar")) for at, path in enumerate(found)]
        paths = []
        for path, text in sources.items():
            place = folder / "java" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
            paths.append(path)
        command = [javac, "-encoding", "UTF-8", "--release", JAVA_RELEASE, "-g:source,lines"]
        # Nothing on the class path is to run while it compiles (-proc:none), nor to be compiled.
        command += ["-proc:none", "-nowarn", "-Xlint:-options", "-sourcepath", "."]
        command += ["-d", str(folder / "classes"), "-cp", os.pathsep.join(classpath), *paths]
        done = subprocess.run(
            command, cwd=folder / "java", capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            first = next((line for line in done.stderr.splitlines() if ": error:" in line), "")
            raise ConversionError(
                f"javac does not compile the accessor: {first or done.stderr.strip()[:300]}",
                hint="--classpath needs android.jar and the .aar files of the runtime that the "
                "README of the bundle names",
            )
        made = folder / "classes"
        return {
            path.relative_to(made).as_posix(): path.read_bytes() for path in made.rglob("*.class")
        }


def find_javac() -> str:
    """The compiler that PATH or JAVA_HOME leads to. Raises UsageError."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("javac", path=str(Path(home) / "bin")) if home else None
    found = found or shutil.which("javac")
    if found is None:
        raise UsageError(
            "an .aar needs the Java compiler, and there is no javac on PATH or in JAVA_HOME",
            hint="apt install default-jdk-headless; or leave --classpath away: Gradle builds the "
            "same library from the folder module",
        )
    return found


def zipped(entries: Mapping[str, bytes]) -> bytes:
    """A zip with `entries` in order of their paths, nothing compressed, all of one time and mode.

    Stored as they are, since what deflate makes depends on the version of zlib.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(entries):
            info = zipfile.ZipInfo(path, EPOCH)
            info.create_system = 3  # Unix, wherever it is made
            info.external_attr = 0o100644 << 16
            archive.writestr(info, entries[path])
    return buffer.getvalue()


def _in_folder(path: Path) -> list[Path]:
    """`path`, or the libraries anywhere below it: in Gradle's cache each has its own folder."""
    if not path.is_dir():
        return [path]
    return sorted(
        each for suffix in ("jar", "aar") for each in path.rglob(f"*.{suffix}") if each.is_file()
    )


def _jar(path: Path, unpacked: Path) -> Path:
    """`path` itself, or the classes of an .aar, unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            if path.suffix != ".aar":
                return path.absolute()
            unpacked.write_bytes(archive.read("classes.jar"))
            return unpacked
    except (OSError, zipfile.BadZipFile, KeyError) as exc:
        what = exc.strerror if isinstance(exc, OSError) and exc.strerror else "not one"
        raise InputError(
            f"--classpath {str(path)!r} cannot be read as a .jar or .aar: {what}"
        ) from exc
