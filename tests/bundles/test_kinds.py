"""What holds for a bundle of every kind: signed, whole, the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.bundles import (
    About,
    Bundle,
    Signer,
    Trust,
    bundle_android,
    bundle_ios,
    bundle_linux,
    make_key,
    verify_bundle,
)
from edgekit.core.build import Build
from edgekit.core.errors import IntegrityError, OutputError
from tests.android_nets import build_of

KINDS: dict[str, Callable[..., Bundle]] = {
    "linux": bundle_linux,
    "android": bundle_android,
    "ios": bundle_ios,
}
ABOUT = About("pets", "1.2.0", licence="Apache-2.0")


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return build_of("picture", tmp_path / "build")


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_one_is_its_makers_and_no_file_may_differ(
    kind: str, build: Build, tmp_path: Path
) -> None:
    trust = Trust(public_key=make_key(tmp_path / "key.pem"))
    signer = Signer(tmp_path / "key.pem")
    made = KINDS[kind](build, tmp_path / "out", about=ABOUT, signer=signer)
    assert (made.manifest.kind, made.manifest.name, made.manifest.version) == (
        kind,
        "pets",
        "1.2.0",
    )
    signed = verify_bundle(made.folder, trust=trust).signed
    assert signed is not None
    assert signed.checked
    for file in made.manifest.files:
        place = made.folder / file.path
        before = place.read_bytes()
        place.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        with pytest.raises(IntegrityError, match="1 difference") as caught:
            verify_bundle(made.folder, trust=trust)
        assert file.path in str(caught.value)
        place.write_bytes(before)
    (made.folder / "more").write_bytes(b"")
    with pytest.raises(IntegrityError, match="'more'"):
        verify_bundle(made.folder, trust=trust)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_input_gives_equal_bytes_and_modes(kind: str, build: Build, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        one = KINDS[kind](build, tmp_path / "one", about=ABOUT)
    finally:
        os.umask(old)
    two = KINDS[kind](build, tmp_path / "two", about=ABOUT)
    assert one.digest == two.digest
    assert tree(one.folder) == tree(two.folder)


@pytest.mark.parametrize("kind", KINDS)
def test_an_older_one_is_replaced_and_nothing_else_is(
    kind: str, build: Build, tmp_path: Path
) -> None:
    made = KINDS[kind](build, tmp_path / "out", about=About("cats"))
    KINDS[kind](build, tmp_path / "out", about=ABOUT)
    assert verify_bundle(made.folder).manifest.name == "pets"
    (made.folder / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match=r"something of yours in it: 'mine\.txt'"):
        KINDS[kind](build, tmp_path / "out", about=ABOUT)
