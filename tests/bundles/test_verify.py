"""A bundle that is not what its manifest says is refused, whatever was done to it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.bundles import Bundle, bundle_linux, inspect_bundle, verify_bundle
from edgekit.bundles.manifest import decode, sidecar
from edgekit.core.build import load_build
from edgekit.core.errors import EdgekitError, InputError, IntegrityError, UsageError
from tests.samples import write_build

TINY = {"float32": 400, "float16": 200, "dynamic": 120, "int8": 100, "int8-io": 99}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    write_build(tmp_path / "build", artifact_bytes=TINY)
    return bundle_linux(load_build(tmp_path / "build"), tmp_path / "out", every=True)


def kinds(folder: Path) -> dict[str, str]:
    return {finding.path: finding.kind for finding in inspect_bundle(folder).findings}


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """What an attacker does: change the manifest and make the sidecar fit."""
    content = json.loads((folder / "manifest.json").read_text())
    change(content)
    data = json.dumps(content).encode()
    (folder / "manifest.json").write_bytes(data)
    (folder / "manifest.sha256").write_bytes(sidecar(data))


def test_a_whole_one_passes(bundle: Bundle) -> None:
    inspection = verify_bundle(bundle.folder, digest=bundle.digest.upper())
    assert inspection.manifest == bundle.manifest
    assert inspection.digest == bundle.digest
    assert inspection.findings == ()


def test_a_copy_and_a_link_to_it_pass(bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(bundle.folder, tmp_path / "copy")
    (tmp_path / "link").symlink_to("copy")
    verify_bundle(tmp_path / "link", digest=bundle.digest)


def test_every_difference_is_named(bundle: Bundle) -> None:
    models = bundle.folder / "models"
    (models / "digits-int8.tflite").write_bytes(b"x" * 100)
    (models / "digits-float16.tflite").write_bytes(b"x")
    (models / "digits-dynamic.tflite").unlink()
    (models / "more.tflite").write_bytes(b"")
    (bundle.folder / ".git").mkdir()
    assert kinds(bundle.folder) == {
        "models/digits-int8.tflite": "changed",
        "models/digits-float16.tflite": "changed",
        "models/digits-dynamic.tflite": "missing",
        "models/more.tflite": "extra",
        ".git/": "extra",
    }
    with pytest.raises(IntegrityError, match="5 differences") as caught:
        verify_bundle(bundle.folder)
    assert "'models/digits-float16.tflite' has 1 bytes, the manifest says 200" in str(caught.value)
    assert caught.value.exit_code == 8


def test_a_swap_of_two_files_is_two_differences(bundle: Bundle) -> None:
    one, two = (bundle.folder / "models" / f"digits-{v}.tflite" for v in ("int8", "dynamic"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert list(kinds(bundle.folder).values()) == ["changed", "changed"]


def test_many_differences_are_bounded_on_the_screen_but_counted(bundle: Bundle) -> None:
    for number in range(50):
        (bundle.folder / f"extra{number}").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"50 differences(.|\n)*… and 30 more") as caught:
        verify_bundle(bundle.folder)
    assert len(str(caught.value).splitlines()) < 25


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2Jcleared", "b\udcff", "'; rm -rf ~", "<b>", "ü"])
def test_hostile_names_are_shown_and_do_nothing(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).write_bytes(b"")
    with pytest.raises(IntegrityError) as caught:
        verify_bundle(bundle.folder)
    text = str(caught.value)
    text.encode()  # printable anywhere
    assert "\x1b" not in text
    assert len(text.splitlines()) == 3


def test_what_python_leaves_is_named_as_such(bundle: Bundle) -> None:
    (bundle.folder / "__pycache__").mkdir()
    with pytest.raises(IntegrityError, match="left by Python where a module was imported"):
        verify_bundle(bundle.folder)


class TestThingsThatAreNotFiles:
    def test_a_link_in_place_of_a_file_even_to_the_same_bytes(
        self, bundle: Bundle, tmp_path: Path
    ) -> None:
        path = bundle.folder / "models" / "digits-int8.tflite"
        shutil.move(path, tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        assert kinds(bundle.folder) == {"models/digits-int8.tflite": "unsafe"}

    def test_a_link_in_place_of_a_folder(self, bundle: Bundle, tmp_path: Path) -> None:
        shutil.move(bundle.folder / "models", tmp_path / "elsewhere")
        (bundle.folder / "models").symlink_to(tmp_path / "elsewhere")
        found = kinds(bundle.folder)
        assert found.pop("models") == "unsafe"
        assert set(found.values()) == {"missing"}

    def test_a_link_in_place_of_the_manifest(self, bundle: Bundle, tmp_path: Path) -> None:
        shutil.move(bundle.folder / "manifest.json", tmp_path / "elsewhere")
        (bundle.folder / "manifest.json").symlink_to(tmp_path / "elsewhere")
        details = [str(finding) for finding in inspect_bundle(bundle.folder).findings]
        assert any("symbolic link" in detail for detail in details)
        assert any("cannot be opened" in detail for detail in details)

    def test_a_dangling_link(self, bundle: Bundle) -> None:
        (bundle.folder / "dangling").symlink_to("/nowhere/at/all")
        assert kinds(bundle.folder) == {"dangling": "unsafe"}

    def test_a_hard_link(self, bundle: Bundle, tmp_path: Path) -> None:
        os.link(bundle.folder / "labels.txt", tmp_path / "other-name")
        assert kinds(bundle.folder) == {"labels.txt": "unsafe"}

    @pytest.mark.timeout(20)
    @pytest.mark.parametrize("name", ["pipe", "labels.txt", "manifest.json", "manifest.sha256"])
    def test_a_named_pipe_is_not_waited_for(self, bundle: Bundle, name: str) -> None:
        (bundle.folder / name).unlink(missing_ok=True)
        os.mkfifo(bundle.folder / name)
        found = inspect_bundle(bundle.folder).findings
        assert any(f.path == name and "named pipe" in f.detail for f in found)

    def test_a_socket(self, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(bundle.folder)  # the path of a socket may not be long
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("labels.sock")
            assert kinds(bundle.folder) == {"labels.sock": "unsafe"}

    def test_a_folder_in_place_of_a_file(self, bundle: Bundle) -> None:
        (bundle.folder / "labels.txt").unlink()
        (bundle.folder / "labels.txt").mkdir()
        assert kinds(bundle.folder) == {"labels.txt": "changed"}

    def test_a_file_in_place_of_a_folder(self, bundle: Bundle) -> None:
        shutil.rmtree(bundle.folder / "models")
        (bundle.folder / "models").write_text("")
        found = kinds(bundle.folder)
        assert found.pop("models") == "extra"
        assert set(found.values()) == {"missing"}

    def test_folders_without_end(self, bundle: Bundle) -> None:
        deep = bundle.folder / "/".join(["d"] * 60)
        deep.mkdir(parents=True)
        found = inspect_bundle(bundle.folder).findings
        assert any("deeper than" in finding.detail for finding in found)
        assert len(found) < 40


class TestTheManifest:
    @pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256"])
    def test_missing(self, bundle: Bundle, name: str) -> None:
        (bundle.folder / name).unlink()
        assert kinds(bundle.folder)[name] == "missing"

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", "not valid JSON"),
            (b"\xff\xfe", "not valid JSON"),
            (b"[" * 100_000, "not valid JSON"),
            (b'{"schema": 1, "schema": 1}', "'schema' is there twice"),
            (b'{"schema": NaN}', "NaN is not a number"),
            (b'{"schema": 3}', "schema"),
            (b"9" * 10_000, "not valid JSON"),
            (b" " * (5 * 2**20), "larger than"),
        ],
        ids=["empty", "not-text", "deep", "twice", "nan", "schema", "digits", "large"],
    )
    def test_not_one(self, bundle: Bundle, data: bytes, words: str) -> None:
        (bundle.folder / "manifest.json").write_bytes(data)
        with pytest.raises(IntegrityError, match=words):
            verify_bundle(bundle.folder)

    def test_one_of_the_first_schema_is_read_still(self, bundle: Bundle) -> None:
        """As bundles of before had it: without licence, maintainer, bill and signature."""

        def older(content: dict[str, Any]) -> None:
            content["schema"] = 1
            for key in ("description", "licence", "maintainer", "bill", "signature"):
                del content[key]
            for artifact in content["artifacts"]:
                del artifact["recipe_digest"], artifact["parent_variant"]

        rewrite(bundle.folder, older)
        manifest = verify_bundle(bundle.folder).manifest
        assert manifest is not None
        assert manifest.schema_version == 1
        assert manifest.licence == ""

    def test_unknown_keys_are_refused(self, bundle: Bundle) -> None:
        rewrite(bundle.folder, lambda m: m.update(extra=1))
        with pytest.raises(IntegrityError, match="unknown key 'extra'"):
            verify_bundle(bundle.folder)

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("../../etc/passwd", "not a plain relative path"),
            ("/etc/passwd", "not a plain relative path"),
            ("models/../../x", "not a plain relative path"),
            ("./labels.txt", "not a plain relative path"),
            ("a//b", "not a plain relative path"),
            ("a\\b", "not a plain relative path"),
            ("", "not a plain relative path"),
            ("a\0b", "not a plain relative path"),
            ("a\nb", "control characters"),
            ("x" * 300, "too long"),
            ("x/" * 600 + "x", "too long"),
            ("labels.txt", "is there twice"),
            ("LABELS.txt", "the same file on some systems"),
            ("MANIFEST.json", "the same file on some systems"),
            ("manifest.sha256", "is there twice"),
            ("labels.txt/below", "both a file and a folder"),
            ("\ud800", "not valid JSON"),
        ],
    )
    def test_paths_that_may_not_be(self, bundle: Bundle, path: str, words: str) -> None:
        entry = {"path": path, "size_bytes": 0, "sha256": "0" * 64}
        rewrite(bundle.folder, lambda m: m["files"].append(entry))
        with pytest.raises(IntegrityError, match=words) as caught:
            verify_bundle(bundle.folder)
        str(caught.value).encode()

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda m: m["files"][0].update(sha256="0" * 63), "sha256"),
            (lambda m: m["files"][0].update(size_bytes=-1), "size_bytes"),
            (lambda m: m["artifacts"][0].update(files=[]), "files"),
            (lambda m: m["artifacts"][0].update(files=["../x"]), "which is not listed"),
            (lambda m: m["artifacts"][0].update(labels="/etc/passwd"), "which is not listed"),
            (lambda m: m["artifacts"].append(m["artifacts"][0]), "is there twice"),
            (lambda m: m.update(default="none"), "none of its variants"),
            (lambda m: m.update(version="1.0"), "version"),
            (lambda m: m.update(files=m["files"] * 2000), "files"),
        ],
    )
    def test_contradictions(
        self, bundle: Bundle, change: Callable[[dict[str, Any]], Any], words: str
    ) -> None:
        rewrite(bundle.folder, change)
        with pytest.raises(IntegrityError, match=words):
            verify_bundle(bundle.folder)

    def test_one_that_was_rewritten_as_a_whole_is_found_by_its_digest_alone(
        self, bundle: Bundle
    ) -> None:
        """The limit of what an unsigned bundle can be held to, on the record."""
        rewrite(bundle.folder, lambda m: m.update(name="another"))
        verify_bundle(bundle.folder)
        with pytest.raises(IntegrityError, match="as was asked for"):
            verify_bundle(bundle.folder, digest=bundle.digest)


def test_what_is_no_folder_or_no_digest_is_said(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        verify_bundle(tmp_path / "nothing")
    with pytest.raises(InputError, match="is not a folder"):
        verify_bundle(bundle.folder / "README.md")
    for digest in ("abc", "g" * 64, bundle.digest + "0"):
        with pytest.raises(UsageError, match="is not a SHA-256"):
            verify_bundle(bundle.folder, digest=digest)


def test_memory_does_not_grow_with_the_files(bundle: Bundle) -> None:
    big = bundle.folder / "models" / "digits-int8.tflite"
    with open(big, "r+b") as file:
        file.truncate(64 * 2**20)
    rewrite(bundle.folder, lambda m: _listed(m, "int8").update(size_bytes=64 * 2**20))
    tracemalloc.start()
    try:
        assert kinds(bundle.folder) == {"models/digits-int8.tflite": "changed"}
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def _listed(manifest: dict[str, Any], variant: str) -> dict[str, Any]:
    return next(f for f in manifest["files"] if f["path"] == f"models/digits-{variant}.tflite")


def test_the_folder_around_a_bundle_leads_to_it(bundle: Bundle) -> None:
    with pytest.raises(IntegrityError, match=r"manifest\.json' is missing") as caught:
        verify_bundle(bundle.folder.parent)
    assert caught.value.hint == f"a bundle lies in {bundle.folder}"
    (bundle.folder / "manifest.json").unlink()
    with pytest.raises(IntegrityError) as caught:
        verify_bundle(bundle.folder)
    assert "do not use it" in caught.value.hint


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One bundle for the tests that put back what they change."""
    root = tmp_path_factory.mktemp("flips")
    write_build(root / "build", artifact_bytes=TINY)
    return bundle_linux(load_build(root / "build"), root / "out", every=True).folder


@pytest.mark.slow
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(draw=st.data())
def test_any_byte_changed_in_any_file_is_found(shared: Path, draw: st.DataObject) -> None:
    paths = sorted(p for p in shared.rglob("*") if p.is_file())
    path = draw.draw(st.sampled_from(paths))
    whole = path.read_bytes()
    position = draw.draw(st.integers(0, len(whole) - 1))
    mask = draw.draw(st.integers(1, 255))
    flipped = bytearray(whole)
    flipped[position] ^= mask
    path.write_bytes(flipped)
    try:
        with pytest.raises(IntegrityError):
            verify_bundle(shared)
    finally:
        path.write_bytes(whole)


@pytest.mark.slow
def test_any_bit_changed_in_the_sidecar_is_found(shared: Path) -> None:
    """All of them: a hexadecimal digit in upper case means the same and is a change still."""
    path = shared / "manifest.sha256"
    whole = path.read_bytes()
    try:
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << (bit % 8)
            path.write_bytes(flipped)
            assert inspect_bundle(shared).findings, f"bit {bit}"
    finally:
        path.write_bytes(whole)
    verify_bundle(shared)


@given(data=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_manifest_whatever_breaks_the_reader(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode(data)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    draw=st.data(),
    value=st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.lists(st.integers(), max_size=3)
    | st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)
def test_no_value_anywhere_in_a_manifest_breaks_the_reader(
    shared: Path, draw: st.DataObject, value: object
) -> None:
    content = json.loads((shared / "manifest.json").read_text())
    place: Any = content
    while isinstance(place, dict | list) and place:
        key = draw.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
        )
        if not isinstance(place[key], dict | list) or not place[key] or draw.draw(st.booleans()):
            place[key] = value
            break
        place = place[key]
    try:
        decode(json.dumps(content).encode())
    except EdgekitError as error:
        assert isinstance(error, IntegrityError)  # noqa: PT017 - some values are right ones
