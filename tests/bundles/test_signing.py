"""Signed bundles: by whom, over what, and that nothing in them can be changed unseen."""

from __future__ import annotations

import base64
import datetime
import hashlib
import itertools
import json
import random
import resource
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.bundles import (
    Bundle,
    Signer,
    Trust,
    bundle_linux,
    inspect_bundle,
    make_key,
    verify_bundle,
)
from edgekit.bundles.manifest import sidecar
from edgekit.core.build import Build, load_build
from edgekit.core.errors import EdgekitError, InputError, IntegrityError, OutputError, UsageError
from tests.bundles.certificates import YEAR, Party, party
from tests.samples import write_build

pytest.importorskip("model_signing")

TINY = {"float32": 400, "float16": 200, "dynamic": 120, "int8": 100, "int8-io": 99}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signing")
    write_build(folder / "build", artifact_bytes=TINY)
    make_key(folder / "key.pem")
    make_key(folder / "other.pem")
    return folder


@pytest.fixture(scope="module")
def build(place: Path) -> Build:
    return load_build(place / "build")


@pytest.fixture(scope="module")
def trust(place: Path) -> Trust:
    return Trust(public_key=place / "key.pub.pem")


@pytest.fixture(scope="module")
def signed(place: Path, build: Build) -> Bundle:
    return bundle_linux(build, place / "out", every=True, signer=Signer(place / "key.pem"))


@pytest.fixture
def bundle(signed: Bundle, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(signed.folder, tmp_path / "out")
    return tmp_path / "out"


def rewrite(folder: Path, path: str, data: bytes) -> None:
    """What an attacker without the key does: change a file, and the manifest to suit."""
    (folder / path).write_bytes(data)
    content = json.loads((folder / "manifest.json").read_text())
    (entry,) = (file for file in content["files"] if file["path"] == path)
    entry |= {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    text = json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
    (folder / "manifest.json").write_bytes(text)
    (folder / "manifest.sha256").write_bytes(sidecar(text))


def test_a_signed_bundle_is_by_its_key(signed: Bundle, trust: Trust, place: Path) -> None:
    found = verify_bundle(signed.folder, trust=trust).signed
    assert found is not None
    assert found.checked
    everything = {p.relative_to(signed.folder).as_posix() for p in signed.folder.rglob("*.*")}
    assert set(found.files) == everything - {"model.sig"}
    with pytest.raises(IntegrityError, match=r"'.*other\.pub\.pem' is another key"):
        verify_bundle(signed.folder, trust=Trust(public_key=place / "other.pub.pem"))


def test_nothing_asks_the_network(
    build: Build, place: Path, trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """model_signing's own default fetches Sigstore's roots as soon as it is configured."""
    asked = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    bundle_linux(build, tmp_path / "out", signer=Signer(place / "key.pem"))
    verify_bundle(tmp_path / "out", trust=trust)
    assert asked == []


def test_a_key_that_cannot_sign_is_said_before_any_work(
    build: Build, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("something was copied")

    monkeypatch.setattr("edgekit.bundles.contents.Contents.copy", never)
    with pytest.raises(UsageError, match="is not a private key"):
        bundle_linux(build, tmp_path / "out", signer=Signer(place / "key.pub.pem"))


def test_without_a_key_it_is_only_read(signed: Bundle) -> None:
    found = verify_bundle(signed.folder).signed
    assert found is not None
    assert not found.checked
    assert found.by.startswith("the key with SHA-256 ")


def test_an_unsigned_bundle_is_said_to_be_unsigned(
    build: Build, trust: Trust, tmp_path: Path
) -> None:
    bundle_linux(build, tmp_path / "out")
    assert verify_bundle(tmp_path / "out").signed is None
    with pytest.raises(IntegrityError, match="the bundle is not signed"):
        verify_bundle(tmp_path / "out", trust=trust)


@pytest.mark.slow
def test_model_signing_itself_agrees(signed: Bundle, place: Path, tmp_path: Path) -> None:
    """Whoever checks a bundle needs no edgekit; and what it hashes itself is what we signed."""

    def theirs(folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *(sys.executable, "-m", "model_signing", "verify", "key", str(folder)),
                *("--signature", str(folder / "model.sig")),
                *("--ignore-paths", str(folder / "model.sig")),
                *("--public_key", str(place / "key.pub.pem")),
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    done = theirs(signed.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    copy = shutil.copytree(signed.folder, tmp_path / "copy")
    (copy / "labels.txt").write_text("other\n")
    assert theirs(copy).returncode != 0


@pytest.mark.parametrize("name", ["README.md", "labels.txt", "models/digits-int8.tflite"])
def test_a_file_and_the_manifest_rewritten_are_named(bundle: Path, trust: Trust, name: str) -> None:
    rewrite(bundle, name, b"something else")
    found = inspect_bundle(bundle, trust=trust).findings
    assert {f.path for f in found} == {name, "manifest.json", "manifest.sha256"}
    assert {f.kind for f in found} == {"signature"}
    with pytest.raises(IntegrityError, match=f"{name}' has SHA-256"):
        verify_bundle(bundle, trust=trust)


def test_a_signature_that_is_taken_away_is_missed(bundle: Path, trust: Trust) -> None:
    (bundle / "model.sig").unlink()
    for trusted in (trust, Trust()):
        (found,) = inspect_bundle(bundle, trust=trusted).findings
        assert (found.kind, found.path) == ("missing", "model.sig")
    content = json.loads((bundle / "manifest.json").read_text()) | {"signature": None}
    text = json.dumps(content).encode()
    (bundle / "manifest.json").write_bytes(text)
    (bundle / "manifest.sha256").write_bytes(sidecar(text))
    with pytest.raises(IntegrityError, match="not signed"):
        verify_bundle(bundle, trust=trust)


def test_a_signature_of_another_bundle_is_refused(
    bundle: Path, build: Build, place: Path, trust: Trust, tmp_path: Path
) -> None:
    bundle_linux(build, tmp_path / "two", signer=Signer(place / "key.pem"))
    shutil.copy(tmp_path / "two" / "model.sig", bundle / "model.sig")
    found = inspect_bundle(bundle, trust=trust).findings
    assert "models/digits-float32.tflite" in {f.path for f in found}


def every_change(folder: Path) -> list[tuple[str, Callable[[Path], object]]]:
    """A way to spoil a bundle each: every file changed, cut, removed; and things added."""
    changes: list[tuple[str, Callable[[Path], object]]] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        changes += [
            (f"{name} longer", lambda f, n=name: (f / n).write_bytes((f / n).read_bytes() + b"\n")),
            (f"{name} empty", lambda f, n=name: (f / n).write_bytes(b"")),
            (f"{name} gone", lambda f, n=name: (f / n).unlink()),
            (f"{name} renamed", lambda f, n=name: (f / n).rename(f / (n + "x"))),
            (f"{name} a link", lambda f, n=name: ((f / n).unlink(), (f / n).symlink_to("/etc"))),
        ]
    for name in (".git", ".github", "models/empty", "a"):
        changes.append((f"empty folder {name}", lambda f, n=name: (f / n).mkdir()))
    for name in (".gitignore", ".gitattributes", "models/more.tflite", "model.sig.bak"):
        changes.append((f"more {name}", lambda f, n=name: (f / n).write_bytes(b"")))
    changes.append(("a link out", lambda f: (f / "out").symlink_to("/etc/passwd")))
    changes.append(("a link in", lambda f: (f / "in").symlink_to("labels.txt")))
    models = sorted((folder / "models").iterdir())
    for one, two in itertools.pairwise(models):
        changes.append(
            (f"{one.name} and {two.name} swapped", lambda f, a=one.name, b=two.name: swap(f, a, b))
        )
    return changes


def swap(folder: Path, one: str, two: str) -> None:
    first, second = folder / "models" / one, folder / "models" / two
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


@pytest.mark.slow
def test_whatever_is_changed_is_found(signed: Bundle, trust: Trust, tmp_path: Path) -> None:
    changes = every_change(signed.folder)
    assert len(changes) > 50
    for what, change in changes:
        copy = shutil.copytree(signed.folder, tmp_path / "copy")
        change(copy)
        assert inspect_bundle(copy, trust=trust).findings, what
        shutil.rmtree(copy)


@pytest.mark.slow
def test_any_of_a_thousand_flipped_bytes_is_found(bundle: Path, trust: Trust) -> None:
    """In any file, the signature's included: no byte of it is free."""
    draw = random.Random(20260601)
    files = {path: path.read_bytes() for path in sorted(bundle.rglob("*")) if path.is_file()}
    for number in range(1000):
        path = draw.choice(list(files))
        whole = files[path]
        changed = bytearray(whole)
        position = draw.randrange(len(whole))
        changed[position] ^= draw.randrange(1, 256)
        path.write_bytes(changed)
        assert inspect_bundle(bundle, trust=trust).findings, (number, path, position)
        path.write_bytes(whole)
    verify_bundle(bundle, trust=trust)


@pytest.mark.slow
def test_every_byte_of_the_signature_counts(bundle: Path, trust: Trust) -> None:
    path = bundle / "model.sig"
    whole = path.read_bytes()
    payload = json.loads(whole)["dsseEnvelope"]["payload"].encode()
    start = whole.index(payload)
    # the payload is base64 of what is signed: its middle is like its ends
    for position in [*range(start + 40), *range(start + len(payload) - 40, len(whole))]:
        for flip in (1, 32):
            changed = bytearray(whole)
            changed[position] ^= flip
            path.write_bytes(changed)
            assert inspect_bundle(bundle, trust=trust).findings, (position, flip)


def test_a_thousand_signatures_that_are_none(bundle: Path, trust: Trust) -> None:
    whole = json.loads((bundle / "model.sig").read_text())
    for data in (
        b"",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b"{}",
        b'{"dsseEnvelope": null}',
        json.dumps(whole).encode(),  # other white space than ours
        json.dumps(whole | {"more": 1}).encode(),
    ):
        (bundle / "model.sig").write_bytes(data)
        for trusted in (trust, Trust()):
            with pytest.raises(IntegrityError, match=r"model\.sig"):
                verify_bundle(bundle, trust=trusted)


def test_a_manifest_that_lists_a_path_outside_is_refused_though_signed(
    bundle: Path, place: Path, trust: Trust
) -> None:
    """A signature says who made it, and not that it does no harm."""
    content = json.loads((bundle / "manifest.json").read_text())
    content["files"].append({"path": "../../etc/x", "size_bytes": 0, "sha256": "0" * 64})
    text = json.dumps(content).encode()
    (bundle / "manifest.json").write_bytes(text)
    (bundle / "manifest.sha256").write_bytes(sidecar(text))
    with pytest.raises(IntegrityError, match=r"'\.\./\.\./etc/x' is not a plain relative path"):
        verify_bundle(bundle, trust=trust)


def test_equal_but_for_the_signature(build: Build, place: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        bundle_linux(build, tmp_path / name, signer=Signer(place / "key.pem"))
    one, two = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")}
        for n in ("one", "two")
    )
    assert {path.name for path in one if one[path] != two[path]} == {"model.sig"}


class TestCertificates:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Party:
        return party(tmp_path, "root", authority=True)

    def signed_by(self, build: Build, who: Party, out: Path, *between: Party) -> Path:
        chain = out.with_suffix(".chain.pem")
        chain.write_bytes(b"".join(p.certificate_file.read_bytes() for p in (who, *between)))
        bundle_linux(build, out, signer=Signer(who.key_file, chain))
        return out

    def test_by_one_of_an_authority_directly_or_through_another(
        self, build: Build, root: Party, tmp_path: Path
    ) -> None:
        middle = party(tmp_path, "middle", root, authority=True)
        trust = Trust(authorities=(root.certificate_file,))
        for name, issuer, between in (("near", root, ()), ("far", middle, (middle,))):
            out = self.signed_by(build, party(tmp_path, name, issuer), tmp_path / "b", *between)
            found = verify_bundle(out, trust=trust).signed
            assert found is not None
            assert found.checked
            assert found.by == f"the certificate of 'CN={name}'"

    def test_by_another_authority(self, build: Build, root: Party, tmp_path: Path) -> None:
        out = self.signed_by(build, party(tmp_path, "ada", root), tmp_path / "b")
        (tmp_path / "x").mkdir()
        impostor = party(tmp_path / "x", "root", authority=True)  # of the same name
        with pytest.raises(IntegrityError, match="not by what is trusted"):
            verify_bundle(out, trust=Trust(authorities=(impostor.certificate_file,)))

    def test_by_one_who_may_not_give_certificates(
        self, build: Build, root: Party, tmp_path: Path
    ) -> None:
        ada = party(tmp_path, "ada", root)
        out = self.signed_by(build, party(tmp_path, "eve", ada), tmp_path / "b", ada)
        with pytest.raises(IntegrityError, match="not by what is trusted"):
            verify_bundle(out, trust=Trust(authorities=(root.certificate_file,)))

    def test_expired(self, build: Build, root: Party, tmp_path: Path) -> None:
        out = self.signed_by(build, party(tmp_path, "ada", root), tmp_path / "b")
        now = datetime.datetime.now(datetime.UTC)
        trust = Trust(authorities=(root.certificate_file,))
        verify_bundle(out, trust=trust, now=now + YEAR / 2)
        with pytest.raises(IntegrityError, match="certificate of 'CN=ada' expired on 20"):
            verify_bundle(out, trust=trust, now=now + 2 * YEAR)
        with pytest.raises(IntegrityError, match="is not valid before"):
            verify_bundle(out, trust=trust, now=now - 2 * YEAR)

    def test_an_expired_one_signs_nothing(self, build: Build, root: Party, tmp_path: Path) -> None:
        now = datetime.datetime.now(datetime.UTC)
        old = party(tmp_path, "old", root, since=now - 2 * YEAR, until=now - YEAR)
        with pytest.raises(UsageError, match="certificate of 'CN=old' expired on"):
            self.signed_by(build, old, tmp_path / "b")
        assert not (tmp_path / "b").exists()

    def test_the_authority_itself_expired(self, build: Build, tmp_path: Path) -> None:
        now = datetime.datetime.now(datetime.UTC)
        root = party(tmp_path, "root", authority=True, until=now + YEAR / 2)
        out = self.signed_by(build, party(tmp_path, "ada", root), tmp_path / "b")
        trust = Trust(authorities=(root.certificate_file,))
        with pytest.raises(IntegrityError, match="certificate of 'CN=root' expired on"):
            verify_bundle(out, trust=trust, now=now + 0.7 * YEAR)

    def test_not_for_signing(self, build: Build, root: Party, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="'CN=web' is not for signing"):
            self.signed_by(build, party(tmp_path, "web", root, signing=False), tmp_path / "b")

    def test_of_another_key(self, build: Build, root: Party, tmp_path: Path) -> None:
        ada, bob = party(tmp_path, "ada", root), party(tmp_path, "bob", root)
        with pytest.raises(UsageError, match="is not the certificate of"):
            bundle_linux(build, tmp_path / "b", signer=Signer(ada.key_file, bob.certificate_file))

    def test_a_key_where_a_certificate_was_asked_for_and_the_other_way(
        self, build: Build, root: Party, signed: Bundle, trust: Trust, tmp_path: Path
    ) -> None:
        with pytest.raises(IntegrityError, match="not by a certificate"):
            verify_bundle(signed.folder, trust=Trust(authorities=(root.certificate_file,)))
        out = self.signed_by(build, party(tmp_path, "ada", root), tmp_path / "b")
        with pytest.raises(IntegrityError, match="not by a key alone"):
            verify_bundle(out, trust=trust)

    def test_every_flipped_byte_of_a_certificate_is_found(
        self, build: Build, root: Party, tmp_path: Path
    ) -> None:
        out = self.signed_by(build, party(tmp_path, "ada", root), tmp_path / "b")
        whole = (out / "model.sig").read_bytes()
        raw = json.loads(whole)["verificationMaterial"]["x509CertificateChain"]["certificates"][0]
        der = base64.b64decode(raw["rawBytes"])
        start = whole.index(raw["rawBytes"].encode())
        trust = Trust(authorities=(root.certificate_file,))
        for position in random.Random(1).sample(range(len(der)), 60):
            changed = bytearray(der)
            changed[position] ^= 4
            spoiled = base64.b64encode(changed)
            data = whole[:start] + spoiled + whole[start + len(spoiled) :]
            (out / "model.sig").write_bytes(data)
            assert inspect_bundle(out, trust=trust).findings, position


class TestKeys:
    def test_a_new_one_is_its_owners_alone_and_never_replaced(self, tmp_path: Path) -> None:
        public = make_key(tmp_path / "key.pem")
        assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
        assert b"PUBLIC KEY" in public.read_bytes()
        assert b"PRIVATE" not in public.read_bytes()
        with pytest.raises(OutputError, match="never replaced"):
            make_key(tmp_path / "key.pem")
        with pytest.raises(OutputError, match="cannot write"):
            make_key(tmp_path / "nowhere" / "key.pem")

    def test_half_a_key_is_not_left(self, tmp_path: Path) -> None:
        now, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, most))
        try:
            with pytest.raises(OutputError, match="cannot write"):
                make_key(tmp_path / "key.pem")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (now, most))
        assert list(tmp_path.iterdir()) == []
        make_key(tmp_path / "key.pem")

    @pytest.mark.parametrize(
        ("command", "error", "says"),
        [
            ("openssl genpkey -algorithm ed25519", UsageError, "not an elliptic-curve key"),
            ("openssl ecparam -name secp256k1 -genkey -noout", UsageError, "P-256, P-384 or"),
            ("openssl genrsa 2048", UsageError, "not an elliptic-curve key"),
            ("echo no key", UsageError, "is not a private key in PEM"),
            ("true", UsageError, "is not a private key in PEM"),
            (
                "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -aes256 "
                "-pass pass:secret",
                UsageError,
                "is encrypted",
            ),
            ("", InputError, "cannot read"),
        ],
    )
    def test_what_cannot_sign_is_said(
        self, build: Build, tmp_path: Path, command: str, error: type[EdgekitError], says: str
    ) -> None:
        path = tmp_path / "key.pem"
        if command:
            path.write_bytes(subprocess.run(command.split(), capture_output=True).stdout)
        with pytest.raises(error, match=says):
            bundle_linux(build, tmp_path / "b", signer=Signer(path))
        assert not (tmp_path / "b").exists()

    @pytest.mark.parametrize("curve", ["prime256v1", "secp384r1", "secp521r1"])
    def test_keys_of_openssl(
        self, build: Build, tmp_path: Path, curve: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key, public = tmp_path / "key.pem", tmp_path / "pub.pem"
        monkeypatch.setenv("EDGEKIT_SIGN_PASSWORD", "secret")
        secret = "pass:secret"
        how = ["-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}"]
        for words in (
            ["genpkey", *how, "-aes256", "-pass", secret, "-out", str(key)],
            ["pkey", "-in", str(key), "-passin", secret, "-pubout", "-out", str(public)],
        ):
            subprocess.run(["openssl", *words], check=True, capture_output=True)
        bundle_linux(build, tmp_path / "b", signer=Signer(key))
        verify_bundle(tmp_path / "b", trust=Trust(public_key=public))
        monkeypatch.setenv("EDGEKIT_SIGN_PASSWORD", "wrong")
        with pytest.raises(UsageError, match="is not a private key in PEM"):
            bundle_linux(build, tmp_path / "b", signer=Signer(key))

    def test_what_is_no_public_key_is_said(self, signed: Bundle, place: Path) -> None:
        with pytest.raises(UsageError, match="is not a public key in PEM"):
            verify_bundle(signed.folder, trust=Trust(public_key=place / "key.pem"))
        with pytest.raises(InputError, match="cannot read"):
            verify_bundle(signed.folder, trust=Trust(public_key=place / "none.pem"))
        with pytest.raises(UsageError, match="is not certificates in PEM"):
            verify_bundle(
                bundle_signed_by_certificate(place), trust=Trust(authorities=(place / "key.pem",))
            )


def bundle_signed_by_certificate(place: Path) -> Path:
    who = party(place, "self", authority=True)
    signer = Signer(who.key_file, who.certificate_file)
    return bundle_linux(load_build(place / "build"), place / "by-self", signer=signer).folder
