"""The Android app as an APK: built, signed and looked into; nothing here runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgekit.bundles import bundle_linux
from tests.android_nets import make_build, spec
from tests.tflite_graphs import cnn
from tools.build_apk import ROOT

ANDROID = ROOT / ".make" / "android"
NEEDED = {
    **{name: name for name in ("aapt", "zipalign", "apksigner", "dexdump")},
    "proguard": "proguard-cli",
    "javac": "default-jdk-headless",
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("kotlin")]


def output(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("apk")
    build = make_build(
        folder / "build",
        (spec("image", "float32", 16, 16, 3),),
        (spec("scores", "float32", 10),),
        content=cnn(folder / "net.tflite").read_bytes(),
    )
    return bundle_linux(build, folder / "things").folder


@pytest.fixture(scope="module")
def apk(bundle: Path, kotlin_wheel: Path) -> Path:
    for program, package in NEEDED.items():
        if shutil.which(program) is None:
            pytest.skip(f"needs the Debian package {package}")
    if not ANDROID.is_dir():
        pytest.skip("needs the Debian package libandroid-23-java: tools/fetch_android.sh")
    target = bundle.parent / "demo.apk"
    command = [sys.executable, ROOT / "tools" / "build_apk.py", "-o", target]
    output(*command, "--bundle", bundle, "--kotlin", kotlin_wheel)
    return target


def test_it_is_signed_and_says_what_it_is(apk: Path) -> None:
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in output(
        "apksigner", "verify", "-v", "--min-sdk-version", "24", apk
    )
    said = output("aapt", "dump", "badging", apk)
    assert "package: name='dev.edgekit.demo'" in said
    assert "sdkVersion:'24'" in said
    assert "targetSdkVersion:'34'" in said
    assert "launchable-activity: name='dev.edgekit.demo.MainActivity'" in said
    assert "uses-permission" not in said  # it asks for none


def test_the_model_is_stored_as_it_is_and_aligned(apk: Path, bundle: Path) -> None:
    with zipfile.ZipFile(apk) as archive:
        entry = archive.getinfo("assets/bundles/things/models/net.tflite")
        assert entry.compress_type == zipfile.ZIP_STORED
        assert archive.read(entry) == (bundle / "models" / "net.tflite").read_bytes()
        inside = {name for name in archive.namelist() if name.startswith("assets/bundles/things/")}
        assert {name.removeprefix("assets/bundles/things/") for name in inside} == {
            path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()
        }
    assert "Verification successful" in output("zipalign", "-c", "-p", "-v", "4", apk)


def test_the_benchmark_is_for_adbs_shell_alone(apk: Path) -> None:
    tree = output("aapt", "dump", "xmltree", apk, "AndroidManifest.xml")
    parts = re.split(r"\n(?=\s+E: )", tree)
    exported = {
        re.search(r'android:name\S+="(\S+)"', part)[1]: part
        for part in parts
        if re.search(r"android:exported\S+\(type 0x12\)0xffffffff", part)
    }
    assert exported.keys() == {".MainActivity", ".BenchmarkActivity"}
    assert 'permission(0x01010006)="android.permission.DUMP"' in exported[".BenchmarkActivity"]


def test_its_code_is_what_android_7_takes(apk: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(apk) as archive:
        path = Path(archive.extract("classes.dex", tmp_path))
    assert path.read_bytes().startswith(b"dex\n037\0")
    said = output("dexdump", "-d", path)
    classes = set(re.findall(r"Class descriptor  : 'L(\S+);'", said))
    wanted = {path.stem for path in (ROOT / "android_demo").rglob("*Activity.kt")}
    assert {f"dev/edgekit/demo/{name}" for name in wanted | {"SharedFiles"}} <= classes
    assert {"dev/edgekit/demo/core/Benchmark", "edgekit/model/Preprocessing"} <= classes
    # Declarations of the runtimes, made for compiling only, are not in it.
    assert not [name for name in classes if name.startswith(("com/google", "org/pytorch"))]
    assert "invoke-custom" not in said
