"""Whether an app that was built has a bundle's models as they have to be in it."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgekit.bundles import bundle_android, bundle_linux, verify_bundle
from edgekit.bundles.apk import PAGE, check_apk
from edgekit.bundles.manifest import Manifest
from edgekit.cli.verify import command
from edgekit.core.errors import InputError, IntegrityError, UsageError
from tests.android_nets import build_of
from tests.bundles.test_android_choice import CPU, GPU
from tests.bundles.test_android_choice import build_of as several

MODEL, LABELS = "assets/edgekit/picture/net.tflite", "assets/edgekit/picture/labels.txt"
Entries = dict[str, bytes]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bundle_android(build_of("picture", tmp_path / "build"), tmp_path / "bundle").folder


@pytest.fixture
def manifest(folder: Path) -> Manifest:
    return verify_bundle(folder).manifest or pytest.fail("no manifest")


def assets(folder: Path, root: str = "module") -> Entries:
    place = folder / root / "src" / "main" / "assets"
    return {
        f"assets/{path.relative_to(place).as_posix()}": path.read_bytes()
        for path in place.rglob("*")
        if path.is_file()
    }


def apk(
    path: Path, entries: Entries, *, stored: tuple[str, ...] = (".tflite",), shift: int = 0
) -> Path:
    """Entries that end in one of `stored` lie on a boundary of a page, or `shift` bytes behind."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            if name.endswith(stored):
                assert archive.fp is not None
                start = archive.fp.tell() + 30 + len(name) + 4
                padding = (-start + shift) % PAGE
                entry.extra = struct.pack("<HH", 0xD935, padding) + bytes(padding)
            else:
                entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return path


def library(align: int) -> bytes:
    """A library of 64 bits with one segment of code and one that is not loaded."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQ", 3, 183, 1, 0, 64, 0)
    header += struct.pack("<IHHHHHH", 0, 64, 56, 2, 0, 0, 0)
    segments = struct.pack("<IIQQQQQQ", 6, 4, 0, 0, 0, 0, 0, 8)
    return header + segments + struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 0, 0, align)


def test_an_app_as_it_has_to_be(folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    wide = {f"lib/{abi}/libx.so": library(PAGE) for abi in ("arm64-v8a", "x86_64")}
    narrow = {"lib/armeabi-v7a/libx.so": b"of 32 bits, which no such phone runs"}
    made = apk(tmp_path / "app.apk", assets(folder) | wide | narrow, stored=(".tflite", ".so"))
    found = check_apk(made, manifest)
    assert found.models == (MODEL,)
    assert found.libraries == tuple(wide)
    done = CliRunner().invoke(command, [str(folder), "--apk", str(made)])
    assert done.exit_code == 0, done.output
    assert "the model is in it as verified, not compressed and aligned" in done.output
    assert "2 native libraries of 64 bits suit pages of 16 KB" in done.output


@pytest.mark.parametrize(
    ("changes", "more", "says"),
    [
        ({}, {"stored": (".none",)}, 'compressed: .*net.tflite; the app needs .*"tflite"'),
        ({}, {"shift": 2}, "not on a boundary of 4 bytes: .*net.tflite; run zipalign"),
        ({MODEL: b"another"}, {}, "another file: .*net.tflite"),
        ({LABELS: b"dog\n"}, {}, "another file: .*labels.txt"),
        ({MODEL: None}, {}, "missing: .*net.tflite"),
        ({"lib/arm64-v8a/a.so": library(4096)}, {}, "pages of 4 KB only: .*a.so, aligned to 4096"),
        ({"lib/x86_64/a.so": b"ELF"}, {}, "no library of 64 bits: .*a.so"),
        (
            {"lib/arm64-v8a/a.so": library(PAGE)},
            {"stored": (".tflite", ".so"), "shift": 4096},
            "not on a boundary of 16384 bytes: .*a.so",
        ),
    ],
)
def test_what_is_not_as_it_has_to_be(
    folder: Path,
    manifest: Manifest,
    tmp_path: Path,
    changes: dict[str, bytes | None],
    more: dict[str, object],
    says: str,
) -> None:
    entries = assets(folder) | changes
    kept = {name: content for name, content in entries.items() if content is not None}
    made = apk(tmp_path / "app.apk", kept, **more)  # type: ignore[arg-type]
    with pytest.raises(IntegrityError, match=says):
        check_apk(made, manifest)


def test_libraries_that_are_extracted_when_it_is_installed(
    folder: Path, manifest: Manifest, tmp_path: Path
) -> None:
    entries = assets(folder) | {"lib/arm64-v8a/a.so": library(PAGE)}
    assert check_apk(apk(tmp_path / "app.apk", entries), manifest).libraries


def test_what_play_brings_is_not_missed(tmp_path: Path) -> None:
    build = build_of("picture", tmp_path / "build")
    made = bundle_android(build, tmp_path / "bundle", asset_pack="on-demand")
    inside = assets(made.folder, "pack")
    found = check_apk(apk(tmp_path / "app.apk", inside | {"classes.dex": b""}), made.manifest)
    assert found.delivered == ()  # an APK of the whole
    labels = {name: inside[name] for name in (LABELS,)}
    with pytest.raises(IntegrityError, match="none of the bundle's models is in it"):
        check_apk(apk(tmp_path / "base.apk", labels), made.manifest)


def test_variants_of_other_groups_are_for_play_to_bring(tmp_path: Path) -> None:
    build = several(tmp_path / "build", gpu=GPU, int8=CPU)
    when = ["gpu: ram>=8GB", "int8"]
    made = bundle_android(build, tmp_path / "bundle", every=True, when=when, ai_pack="install-time")
    place = "assets/edgekit/net"
    entries = {f"{place}/model/gpu.tflite": GPU, f"{place}/labels.txt": "cat\ndog\nü\n".encode()}
    found = check_apk(apk(tmp_path / "app.apk", entries), made.manifest)
    assert found.models == (f"{place}/model/gpu.tflite",)
    assert found.delivered == (f"{place}/model/int8.tflite",)


def test_what_is_no_app_of_it(folder: Path, manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "no.apk").write_bytes(b"PK")
    with pytest.raises(InputError, match="cannot be read as an APK"):
        check_apk(tmp_path / "no.apk", manifest)
    with pytest.raises(InputError, match="cannot be read as an APK"):
        check_apk(tmp_path / "nothing.apk", manifest)
    other = bundle_linux(build_of("picture", tmp_path / "other"), tmp_path / "linux").manifest
    with pytest.raises(UsageError, match="is a bundle for linux"):
        check_apk(tmp_path / "no.apk", other)
