"""`edgekit bundle` and `edgekit verify` as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.samples import write_build

TINY = {"float32": 400, "float16": 200, "dynamic": 120, "int8": 100, "int8-io": 99}


@pytest.fixture(autouse=True)
def build(desk: Path) -> None:
    write_build(desk / "build", artifact_bytes=TINY)


@pytest.mark.slow
def test_signed_with_a_new_key_and_verified(edgekit: Run, desk: Path) -> None:
    pytest.importorskip("model_signing")
    assert edgekit("bundle", "keygen", "key.pem").code == 0
    made = edgekit("bundle", "-o", "out", "build", "--sign-key", "key.pem", "--version", "1.2.0")
    assert made.code == 0, made.err
    check = made.out.splitlines()[-1]
    assert check == "check it with: edgekit verify out --public-key key.pub.pem"
    good = edgekit(*check.partition("edgekit ")[2].split())
    assert good.code == 0, good.err
    assert "digits 1.2.0" in good.out
    assert "which is trusted" in good.out
    unchecked = edgekit("verify", "out").out
    assert "that was not checked" in unchecked
    assert "what edgekit bundle printed" not in unchecked  # it printed no digest
    (desk / "out" / "labels.txt").write_text("x")
    bad = edgekit("verify", "out", "--public-key", "key.pub.pem")
    assert bad.code == 8
    assert "'labels.txt' has 1 bytes" in bad.err


@pytest.mark.slow
def test_packages(edgekit: Run, desk: Path) -> None:
    said = ("--licence", "MIT", "--maintainer", "Ada <ada@example.org>")
    made = edgekit("bundle", "build", "-o", "out", "--for", "linux", *said)
    assert made.code == 0, made.err
    names = ["digits", "digits-0.1.0.tar.gz", "digits_0.1.0_arm64.deb"]
    assert sorted(path.name for path in (desk / "out").iterdir()) == names
    assert all(f"package: out/{name}\n" in made.out for name in names[1:])
    assert edgekit("verify", "out/digits-0.1.0.tar.gz").code == 0


@pytest.mark.slow
def test_whether_an_old_app_can_take_it(edgekit: Run) -> None:
    for name, more in (("few", ()), ("many", ("--all", "--version", "0.2.0"))):
        assert edgekit("bundle", "build", "-o", name, *more).code == 0
    good = edgekit("bundle", "diff", "few", "many")
    assert good.code == 0, good.err
    assert "an old app can take it (minor)" in good.out
    bad = edgekit("bundle", "diff", "many", "few")
    assert bad.code == 6
    assert "BREAKS  float32: is not in the new bundle" in bad.out
    assert "an old app cannot take it as it is" in bad.out
    assert '"fits": false' in edgekit("bundle", "diff", "many", "few", "--json").out


@pytest.mark.slow
def test_unsigned_is_said(edgekit: Run) -> None:
    assert edgekit("bundle", "build", "-o", "out").code == 0
    assert "it is not signed" in edgekit("verify", "out").out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bundle", "build", "-o", "out", "--sign-cert", "c.pem"], "add --sign-key"),
        (["bundle", "build", "-o", "out", "--sign-key", "build/build.json"], "not a private key"),
        (
            ["bundle", "build", "-o", "out", "--licence", "a\nb"],
            "--licence 'a\\nb' is not one printable line",
        ),
        (["verify", "out", "--public-key", "a", "--certificate-chain", "b"], "exclude each other"),
        (["bundle", "build"], "--output"),
        (["bundle", "build", "-o", "out", "--for", "linux"], "add --licence SPDX"),
        (["bundle", "build", "-o", "out", "--abi", "arm64"], "add --for linux"),
    ],
)
def test_what_is_wrong_is_said(edgekit: Run, desk: Path, arguments: list[str], says: str) -> None:
    answer = edgekit(*arguments)
    assert answer.code == 2
    assert says in answer.err
    assert not (desk / "out").exists()


def test_help_tells_of_both(edgekit: Run) -> None:
    text = edgekit("bundle", "--help").out
    assert "--sign-key" in text
    assert "keygen" in text
