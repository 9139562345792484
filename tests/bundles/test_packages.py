"""Debian packages and tarballs: what dpkg makes of them, and tarballs that mean harm."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundles import (
    About,
    Bundle,
    Signer,
    inspect_bundle,
    make_key,
    package_linux,
    packages,
    verify_bundle,
)
from edgekit.bundles.packages import package_name
from edgekit.core.build import Build, load_build
from edgekit.core.errors import InputError, IntegrityError, OutputError, UsageError
from tests.bundles.test_example import WEIGHTS, write_runnable
from tests.samples import write_build

ABOUT = About(version="1.2.0", licence="Apache-2.0", maintainer="Ada Byron <ada@example.org>")
TINY = {"float32": 400, "float16": 200, "dynamic": 120, "int8": 100, "int8-io": 99}
needs_dpkg = pytest.mark.skipif(not shutil.which("dpkg"), reason="needs the package dpkg")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("packages") / "build"
    write_build(folder, artifact_bytes=TINY)
    return load_build(folder)


@pytest.fixture(scope="module")
def made(build: Build) -> Bundle:
    out = build.folder.parent / "out"
    return package_linux(build, out, every=True, about=ABOUT, abis=["arm64", "amd64"])


@pytest.fixture(scope="module")
def tarball(made: Bundle) -> Path:
    return made.packages[0]


def output(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_dpkg
def test_dpkg_reads_what_is_said(made: Bundle) -> None:
    _, arm, amd = made.packages
    assert (arm.name, amd.name) == ("digits_1.2.0_arm64.deb", "digits_1.2.0_amd64.deb")
    fields = ("Package", "Version", "Architecture", "Maintainer", "Depends", "Description")
    said = output("dpkg-deb", "-f", arm, *fields)
    assert "Package: digits\nVersion: 1.2.0\nArchitecture: arm64\n" in said
    assert "Maintainer: Ada Byron <ada@example.org>\n" in said
    assert "Depends: python3 (>= 3.8), python3-numpy\n" in said
    assert "Description: model digits for raspberry-pi-5\n The variants float32, " in said
    lines = output("dpkg-deb", "-c", arm).splitlines()
    assert {line.split()[0] for line in lines} == {"drwxr-xr-x", "-rw-r--r--", "lrwxrwxrwx"}
    assert {line.split()[1] for line in lines} == {"root/root"}
    assert {line.split()[3] for line in lines} == {"2026-03-14"}


@needs_dpkg
def test_what_is_installed_is_the_bundle_and_answers(tmp_path: Path) -> None:
    """By dpkg itself, into a root of its own."""
    build = write_runnable(tmp_path / "build")
    out, root = tmp_path / "out", tmp_path / "root"
    made = package_linux(build, out, variants=["float32"], about=ABOUT, abis=["amd64"])
    database = root / "var/lib/dpkg"
    (database / "updates").mkdir(parents=True)
    (database / "info").mkdir()
    (database / "status").touch()
    force = ["--force-depends", "--force-architecture", "--force-not-root"]
    output("dpkg", f"--root={root}", *force, "--log=/dev/null", "-i", made.packages[1])
    assert "Status: install ok installed" in output("dpkg", f"--root={root}", "-s", "digits")
    assert output("dpkg", f"--root={root}", "--verify", "digits") == ""  # md5sums hold

    share = root / "usr/share"
    assert verify_bundle(share / "digits", digest=made.digest).manifest == made.manifest
    assert "License: Apache-2.0\n" in (share / "doc/digits/copyright").read_text()
    changes = gzip.decompress((share / "doc/digits/changelog.gz").read_bytes()).decode()
    assert changes.startswith("digits (1.2.0) unstable; urgency=medium\n")

    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import numpy, digits\n"
        "with digits.Float32() as model:\n"
        "    scores = model.predict(numpy.array([0.5, -1, 2, 0.25], 'float32'))['scores']\n"
        "print(*scores[0], model.applied)"
    )
    answered = output(sys.executable, "-c", program, root / "usr/lib/python3/dist-packages").split()
    wanted = WEIGHTS @ np.array([0.5, -1, 2, 0.25], np.float32)
    np.testing.assert_allclose([float(word) for word in answered[:-1]], wanted, rtol=1e-5)
    assert answered[-1] == "xnnpack"
    verify_bundle(share / "digits")  # running it left nothing there

    output("dpkg", f"--root={root}", "--force-not-root", "--log=/dev/null", "-P", "digits")
    assert not (share / "digits").exists()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("lintian"), reason="needs the Debian package lintian")
def test_lintian_has_nothing_to_say(build: Build, tmp_path: Path) -> None:
    """Nor of what it usually overlooks; packages of several names, versions and descriptions."""
    make_key(tmp_path / "key.pem")
    runnable = write_runnable(tmp_path / "build")
    one = package_linux(
        runnable, tmp_path / "one", variants=["float32"], about=ABOUT, abis=["arm64"]
    )
    odd = replace(ABOUT, name="Ünï_3d", version="0.1.0-rc.1", description="A model. " * 20)
    signer = Signer(tmp_path / "key.pem")
    other = package_linux(build, tmp_path / "other", about=odd, signer=signer, abis=["armhf"])
    made = [one.packages[1], other.packages[1]]
    done = subprocess.run(
        ["lintian", "--allow-root", "--pedantic", "--display-info", "--display-experimental",
         "--fail-on", "error,warning,info,pedantic,experimental", *map(str, made)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("said", "synopsis"),
    [
        ("Tells digits apart", "Tells digits apart"),
        ("The model of the digits.", "model of the digits"),
        ("A model. It is good.", "machine learning model: model"),
        ("Digits, read by a CNN", "machine learning model: Digits, read by a CNN"),
        (". -", "machine learning model: . -"),
        ("word " * 30, " ".join(["word"] * 15) + "…"),
    ],
)
def test_the_synopsis_is_as_debian_wants_it(said: str, synopsis: str) -> None:
    assert packages.synopsis(said, "digits") == synopsis


def test_equal_bundles_give_equal_packages(made: Bundle, build: Build, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        again = package_linux(build, tmp_path, every=True, about=ABOUT, abis=["arm64", "amd64"])
    finally:
        os.umask(old)
    assert [p.name for p in again.packages] == [p.name for p in made.packages]
    for one, two in zip(made.packages, again.packages, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert two.stat().st_mode & 0o777 == 0o644
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["digits", *(p.name for p in made.packages)]
    )


@needs_dpkg
@pytest.mark.parametrize("version", ["1.2.0-rc.1", "0.0.1-a-b"])
def test_what_comes_before_a_version_comes_before_it_on_debian(
    build: Build, tmp_path: Path, version: str
) -> None:
    about = About(version=version, licence=ABOUT.licence, maintainer=ABOUT.maintainer)
    made = package_linux(build, tmp_path, about=about, abis=["armhf"])
    (before,) = output("dpkg-deb", "-f", made.packages[1], "Version").splitlines()
    final = version.partition("-")[0]
    output("dpkg", "--compare-versions", before, "lt", final)


@pytest.mark.parametrize(
    ("about", "abis", "says"),
    [
        (About(maintainer=ABOUT.maintainer), (), "no licence is given"),
        (About(licence="MIT"), (), "'' is not of the form 'Name <address>'"),
        (About(licence="MIT", maintainer="ada"), (), "'ada' is not of the form"),
        (ABOUT, ("aarch64",), "no Debian architecture called 'aarch64'"),
    ],
)
def test_what_no_package_can_be_made_of(
    build: Build, tmp_path: Path, about: About, abis: Sequence[str], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        package_linux(build, tmp_path / "out", about=about, abis=abis)
    assert not (tmp_path / "out").exists()


def test_what_else_is_there_stays(build: Build, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    package_linux(build, tmp_path, about=ABOUT)
    assert (tmp_path / "notes").read_text() == "mine"
    (tmp_path / "digits" / "mine").write_text("")
    with pytest.raises(OutputError, match="something of yours"):
        package_linux(build, tmp_path, about=ABOUT)


@pytest.mark.parametrize(
    ("name", "package"),
    [("MobileNet V2", "mobilenet-v2"), ("a", "a-model"), ("", "a-model"), ("a_b.c", "a-b.c")],
)
def test_names_of_packages(name: str, package: str) -> None:
    assert package_name(name) == package


class TestTarballs:
    def test_whole(self, tarball: Path, made: Bundle, tmp_path: Path) -> None:
        assert tarball.name == "digits-1.2.0.tar.gz"
        assert verify_bundle(tarball, digest=made.digest).manifest == made.manifest
        output("tar", "-xzf", tarball, "-C", tmp_path)  # and tar itself reads it
        verify_bundle(tmp_path / "digits-1.2.0", digest=made.digest)

    def test_a_file_changed_in_it(self, tarball: Path, tmp_path: Path) -> None:
        def spoil(info: tarfile.TarInfo, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
            return (info, b"x" * len(data)) if info.name.endswith("labels.txt") else (info, data)

        (found,) = inspect_bundle(repacked(tarball, tmp_path, spoil)).findings
        assert (found.kind, found.path) == ("changed", "labels.txt")

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("../../etc/x", "not a plain path"),
            ("/etc/x", "not a plain path"),
            ("digits-1.2.0/../../x", "not a plain path"),
            ("digits-1.2.0/a\\b", "not a plain path"),
            ("digits-1.2.0/a\nb", "not a plain path"),
            ("elsewhere/x", "outside its folder"),
            ("digits-1.2.0", "outside its folder"),
            ("digits-1.2.0/labels.txt", "twice"),
            ("digits-1.2.0/labels.txt/x", "twice"),
            ("digits-1.2.0/b\udcff", "not a plain path"),
        ],
    )
    def test_names_that_may_not_be(
        self, tarball: Path, tmp_path: Path, name: str, says: str
    ) -> None:
        info = tarfile.TarInfo(name)
        with pytest.raises(IntegrityError, match=says):
            verify_bundle(repacked(tarball, tmp_path, more=[info]))

    @pytest.mark.parametrize(
        "kind",
        [*(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)],
    )
    def test_what_is_no_file(self, tarball: Path, tmp_path: Path, kind: bytes) -> None:
        info = tarfile.TarInfo("digits-1.2.0/x")
        info.type, info.linkname = kind, "/etc/passwd"
        with pytest.raises(IntegrityError, match="not a plain file"):
            verify_bundle(repacked(tarball, tmp_path, more=[info]))

    def test_a_bomb_is_not_unpacked(self, tmp_path: Path) -> None:
        """A thousand times its size: refused by what it says of itself, before it is written."""
        path = tmp_path / "bomb.tar.gz"
        info = tarfile.TarInfo("digits-1.2.0/zeros")
        info.size = 200 * 2**20
        with open(path, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
            out.write(info.tobuf(tarfile.USTAR_FORMAT))
            for _ in range(200):
                out.write(bytes(2**20))
        assert path.stat().st_size < 2**20 / 2
        tracemalloc.start()
        try:
            with pytest.raises(IntegrityError, match="would unpack to more than"):
                verify_bundle(path)
            assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        finally:
            tracemalloc.stop()

    @pytest.mark.slow
    def test_a_bomb_behind_the_end(self, tarball: Path, tmp_path: Path) -> None:
        path = tmp_path / "bomb.tar.gz"
        with gzip.open(tarball) as whole:
            data = whole.read()
        with open(path, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
            out.write(data)
            for _ in range(200):
                out.write(bytes(2**20))
        with pytest.raises(IntegrityError, match="goes on after its end"):
            verify_bundle(path)

    @pytest.mark.slow
    def test_many_small_files(self, tmp_path: Path) -> None:
        path = tmp_path / "many.tar.gz"
        with open(path, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
            for number in range(10_001):
                info = tarfile.TarInfo(f"a/{number}")
                out.write(info.tobuf(tarfile.USTAR_FORMAT))
        with pytest.raises(IntegrityError, match="more than 10000 files"):
            verify_bundle(path)

    def test_any_flipped_byte_or_missing_end_is_found(self, tarball: Path, tmp_path: Path) -> None:
        whole = tarball.read_bytes()
        path = tmp_path / "spoiled.tar.gz"
        draw = random.Random(5)
        for position in [*range(12), *(draw.randrange(len(whole)) for _ in range(200))]:
            changed = bytearray(whole)
            changed[position] ^= draw.randrange(1, 256)
            path.write_bytes(changed)
            with pytest.raises((IntegrityError, InputError)):
                verify_bundle(path)
        for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:size])
            with pytest.raises((IntegrityError, InputError)):
                verify_bundle(path)
        for more in (b"x", whole):
            path.write_bytes(whole + more)
            with pytest.raises(IntegrityError):
                verify_bundle(path)

    def test_what_is_none(self, made: Bundle, tmp_path: Path) -> None:
        (tmp_path / "a.tar.gz").write_bytes(b"text")
        with pytest.raises(InputError, match="not a tarball that edgekit bundle made"):
            verify_bundle(tmp_path / "a.tar.gz")
        with pytest.raises(InputError, match="is not a folder"):
            verify_bundle(tmp_path / "none.zip")
        with pytest.raises(InputError, match="cannot read"):
            verify_bundle(tmp_path / "none.tar.gz")
        with pytest.raises(InputError, match="is a package"):
            verify_bundle(made.packages[1])


Change = Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]


def repacked(
    tarball: Path,
    folder: Path,
    change: Change = lambda info, data: (info, data),
    more: Sequence[tarfile.TarInfo] = (),
) -> Path:
    """The same tarball with its entries changed and some more, all checksums right."""
    path = folder / "changed.tar.gz"
    with (
        tarfile.open(tarball) as old,
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as new,
    ):
        for info in old:
            reader = old.extractfile(info)
            assert reader is not None
            changed, data = change(info, reader.read())
            new.addfile(changed, io.BytesIO(data))
        for info in more:
            new.addfile(info)
    return path
