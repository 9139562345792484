"""The bundle for Android: what is in it, that its sources compile, and what an app sees of it."""

from __future__ import annotations

import io
import os
import subprocess
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bundles import (
    accessor,
    bundle_android,
    verify_bundle,
)
from edgekit.bundles.android.accessor import class_names
from edgekit.bundles.android.names import (
    KEYWORDS,
    class_name,
    comment,
    literal,
    member_names,
    package_name,
)
from edgekit.core.build import Build
from edgekit.core.errors import ConversionError, InputError, UsageError
from edgekit.core.preprocess_reference import apply
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.tensor import TensorSpec
from tests.android_nets import CASES, IMAGE, ODD, SCORES, build_of, make_build, spec
from tests.java import HERE, JAVA, Jvm, api_jar, jvm, read_sources, write_jar

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return api_jar(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle for each case."""
    root = tmp_path_factory.mktemp("bundles")
    made = {}
    for number, case in enumerate(CASES):
        build = build_of(case, root / f"build{number}")
        made[case] = bundle_android(build, root / f"out{number}").folder
    return made


@pytest.fixture(scope="module")
def accessors(bundles: dict[str, Path], api: Path, tmp_path_factory: Any) -> Path:
    """All of them in one .jar: that they compile is what this shows."""
    sources = {}
    for folder in bundles.values():
        sources |= read_sources(folder / "module" / "src" / "main" / "java")
    return write_jar(tmp_path_factory.mktemp("accessors") / "accessors.jar", sources, [api])


@pytest.fixture(scope="module")
def java(accessors: Path, api: Path, tmp_path_factory: Any) -> Iterator[Jvm]:
    main = {**read_sources(JAVA), "PreparingMain.java": (HERE / "PreparingMain.java").read_text()}
    jar = write_jar(tmp_path_factory.mktemp("main") / "main.jar", main, [api])
    with jvm([jar, accessors, api]) as running:
        yield running


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_in_it(bundles: dict[str, Path]) -> None:
    folder = bundles["picture"]
    files = set(tree(folder))
    java = {name for name in files if name.endswith(".java")}
    assert files - java == {
        "README.md",
        "bom.cdx.json",
        "manifest.json",
        "manifest.sha256",
        "module/build.gradle.kts",
        "module/consumer-rules.pro",
        "module/src/main/AndroidManifest.xml",
        "module/src/main/assets/edgekit/picture/labels.txt",
        "module/src/main/assets/edgekit/picture/net.tflite",
    }
    assert "module/src/main/java/edgekit/picture/PictureModel.java" in java
    assert not any("ExecuTorch" in name for name in java)
    verify_bundle(folder)
    gradle = (folder / "module" / "build.gradle.kts").read_text()
    assert 'namespace = "edgekit.picture"' in gradle
    assert 'noCompress += listOf("tflite")' in gradle
    assert 'implementation("com.google.ai.edge.litert:litert:2.3.0")' in gradle


def test_each_has_the_libraries_that_run_it(bundles: dict[str, Path]) -> None:
    def needed(case: str) -> list[str]:
        text = (bundles[case] / "module" / "build.gradle.kts").read_text()
        return [line.split('"')[1] for line in text.splitlines() if "implementation(" in line]

    assert needed("open") == ["org.pytorch:executorch-android:1.5.1"]
    assert needed("planes") == ["org.pytorch:executorch-android-vulkan:1.5.1"]
    assert needed("3d; rm -rf ~")[1:] == ["com.google.ai.edge.litert:litert-gpu:2.3.0"]


@pytest.mark.parametrize("case", ["picture", "integer", "pixels", "planes"])
def test_an_accessor_makes_the_input_that_edgekit_makes(java: Jvm, case: str) -> None:
    """From Android's pixels to what the runtime is fed, by the generated class itself."""
    inputs, steps = CASES[case]["inputs"], parse_preprocessing(CASES[case].get("steps", "none"))
    size = (8, 8, 3) if case == "pixels" else (21, 34, 3)
    picture = np.random.default_rng(3).integers(0, 256, size, dtype=np.uint8)
    wanted = accessor.to_input(inputs[0].to_json(), apply(steps, picture))
    package, name = package_name("", case), class_name(case)
    made = java.ask([f"{package}.{name}#prepareImage"], picture)
    assert not isinstance(made, str), made
    assert (made.dtype, made.shape) == (wanted.dtype, wanted.shape)
    assert made.tobytes() == wanted.tobytes()


def test_an_accessor_says_what_does_not_fit(java: Jvm) -> None:
    said = java.ask(["edgekit.pixels.Pixels#prepareImage"], np.zeros((4, 4, 3), np.uint8))
    assert said == "input 'image': that makes 4x4x3, not 1x8x8x3 without the batch of 1 in front"
    said = java.ask(["edgekit.open.Open#prepareTokens"], np.zeros(9, np.int64))
    assert isinstance(said, str)
    assert "not 1x16..128" in said
    made = java.ask(["edgekit.open.Open#prepareTokens"], np.arange(16))
    assert not isinstance(made, str)
    assert made.tolist() == [list(range(16))]


@pytest.fixture(scope="module")
def libraries(api: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The double first: the stubs have what else is declared (bitmaps)."""
    place = tmp_path_factory.mktemp("double") / "double.jar"
    return write_jar(place, read_sources(HERE / "runtime_double")), api


class App:
    """An app on a desktop's JVM: a bundle's classes over a double of the runtimes."""

    def __init__(
        self,
        build: Build,
        main: str,
        folder: Path,
        libraries: tuple[Path, Path],
        **how: Any,
    ) -> None:
        bundle = bundle_android(build, folder / "out", **how).folder
        module = bundle / "module" / "src" / "main"
        sources = read_sources(module / "java")
        for name in (main, "FolderContext"):
            sources[f"app/{name}.java"] = (HERE / f"{name}.java").read_text()
        jar = write_jar(folder / "app.jar", sources, libraries)
        self.main, self.jars = main, os.pathsep.join(map(str, (jar, *libraries)))
        self.assets, self.files = module / "assets", folder / "files"

    def run(self, *more: str) -> list[str]:
        """The lines that it prints."""
        command = ["java", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", self.jars]
        command += [f"app.{self.main}", str(self.assets), str(self.files), *more]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().splitlines()


class TestAnAppWithATflite:
    TEXT = b"accepts=CPU\nsignature=serving_default\nin.image=float32 12\nout.scores=float32 3\n"
    STEPS = "resize=2x2:nearest,normalize=0.0/255.0"

    @pytest.fixture
    def app(self, tmp_path: Path, libraries: tuple[Path, Path]) -> App:
        build = make_build(
            tmp_path / "build",
            (spec("image", "float32", 2, 2, 3),),
            (SCORES,),
            steps=self.STEPS,
            runs_on=("tflite", "gpu"),
            content=self.TEXT,
            labels=("cat", "dog", "ü"),
        )
        return App(build, "AppMain", tmp_path, libraries)

    def test_what_it_sees(self, app: App) -> None:
        picture = (7 * np.arange(36)).astype(np.uint8).reshape(4, 3, 3)
        scores = apply(parse_preprocessing(self.STEPS), picture).reshape(-1)[:3]
        refused = "Some ops are not accelerated."
        said = app.run()
        assert said[:2] == [
            f"CPU, threads as the runtime likes; refused by GPU: {refused}",
            "runs 1 threads null",
        ]
        # The double answers with its first input's numbers.
        answer = [float(each) for each in said[2].strip("[]").split(", ")]
        assert answer == pytest.approx(scores.tolist(), rel=1e-6)
        assert said[3] == "[1, 3]"
        best, second = (("cat", "dog", "ü")[at] for at in np.argsort(-scores)[:2])
        assert [word for word in said[4].split() if word[0] != "0"] == [best, f"[{best}", second]
        assert said[5:] == [
            "open handles 0",
            "the model is closed",
            "CPU, threads: 3",
            "runs 0 threads 3",
            f"LiteRT does not open edgekit/net/net.tflite; [NPU: {refused}]",
        ]

    def test_a_changed_file_is_refused_unless_that_is_turned_off(self, app: App) -> None:
        model = app.assets / "edgekit" / "net" / "net.tflite"
        model.write_bytes(self.TEXT.replace(b"CPU", b"GPU"))
        refused, opened = app.run("changed")
        assert refused.startswith("refused edgekit/net/net.tflite is not the file that was")
        assert opened.startswith("GPU; the file's hash was not checked. LiteRT took the model for")


class TestAssetPacks:
    """https://developer.android.com/guide/playcore/asset-delivery/integrate-java"""

    @pytest.mark.parametrize("delivery", ["install-time", "fast-follow", "on-demand"])
    def test_the_model_is_in_a_module_of_its_own(self, tmp_path: Path, delivery: Any) -> None:
        build = build_of("picture", tmp_path / "build")
        made = bundle_android(
            build, tmp_path / "out", package="com.example.pets", asset_pack=delivery
        )
        verify_bundle(made.folder)
        files = tree(made.folder)
        assert {name for name in files if "/assets/" in name} == {
            "pack/src/main/assets/com/example/pets/labels.txt",
            "pack/src/main/assets/com/example/pets/net.tflite",
        }
        lines = [line.strip() for line in files["pack/build.gradle.kts"].decode().splitlines()]
        assert [line for line in lines if line not in ("", "}")] == [
            "plugins {",
            'id("com.android.asset-pack")',
            "assetPack {",
            'packName.set("pets_pack")',
            "dynamicDelivery {",
            f'deliveryType.set("{delivery}")',
        ]
        java = files["module/src/main/java/com/example/pets/PictureModel.java"].decode()
        assert 'ASSET = "com/example/pets/net.tflite"' in java
        readme = files["README.md"].decode()
        assert 'assetPacks += listOf(":pets_pack")' in readme
        assert ("getPackLocation" in readme) == (delivery != "install-time")

    def test_an_aar_has_no_model_then(self, tmp_path: Path, api: Path) -> None:
        build = build_of("pixels", tmp_path / "build")
        bundle_android(build, tmp_path / "out", classpath=[api], asset_pack="on-demand")
        names = zipfile.ZipFile(tmp_path / "out" / "pixels.aar").namelist()
        assert "classes.jar" in names
        assert not any(name.startswith("assets/") for name in names)

    def test_an_app_opens_it_where_play_put_it(
        self, tmp_path: Path, libraries: tuple[Path, Path]
    ) -> None:
        text = TestAnAppWithATflite.TEXT
        build = make_build(
            tmp_path / "build",
            (spec("image", "float32", 2, 2, 3),),
            (SCORES,),
            steps=TestAnAppWithATflite.STEPS,
            content=text,
            labels=("cat", "dog", "owl"),
        )
        app = App(build, "AppMain", tmp_path, libraries)
        pack = app.assets.rename(tmp_path / "pack")
        opened = ["CPU, threads as the runtime likes", "[cat, dog, owl]"]
        assert app.run("folder", str(pack)) == opened
        model = pack / "edgekit" / "net" / "net.tflite"
        model.write_bytes(text + b"more=1\n")
        (refused,) = app.run("folder", str(pack))
        assert refused.startswith("refused edgekit/net/net.tflite is not the file that was")


class TestAnAppWithAPte:
    @pytest.fixture
    def app(self, tmp_path: Path, libraries: tuple[Path, Path]) -> App:
        inputs = CASES["open"]["inputs"]
        outputs = (inputs[0].model_copy(update={"name": "out"}),)
        build = make_build(
            tmp_path / "build",
            inputs,
            outputs,
            name="tokens",
            runs_on=("executorch", "xnnpack"),
            content=b"XnnpackBackend",
        )
        return App(build, "PteMain", tmp_path, libraries)

    def test_what_it_sees(self, app: App) -> None:
        assert app.run() == [
            "CPU [XnnpackBackend], threads: 2",
            "runs 1 threads 2",
            "[1, 17] 5",
            "input 'tokens': that makes 3, not 1x16..128 without the batch of 1 in front",
            "the delegate of a .pte was chosen when it was made; leave prefer() away, or bundle the"
            " variant for the other accelerator",
        ]
        (copy,) = (app.files / "edgekit").iterdir()
        assert copy.read_bytes() == b"XnnpackBackend"

    def test_a_copy_that_was_changed_is_refused(self, app: App) -> None:
        app.run()
        (copy,) = (app.files / "edgekit").iterdir()
        copy.write_bytes(b"VulkanBackend!")
        with pytest.raises(AssertionError, match="is not the file that was verified"):
            app.run()
        copy.write_bytes(b"cut")
        assert app.run()[0] == "CPU [XnnpackBackend], threads: 2"


class TestAar:
    @pytest.fixture
    def made(self, tmp_path: Path, api: Path) -> zipfile.ZipFile:
        build = build_of("picture", tmp_path / "build")
        bundle_android(build, tmp_path / "out", classpath=[api], package="com.example.pets")
        return zipfile.ZipFile(io.BytesIO((tmp_path / "out" / "pets.aar").read_bytes()))

    def test_every_entry(self, made: zipfile.ZipFile, tmp_path: Path) -> None:
        """Names as the format has them; the same content as the module."""
        module = tmp_path / "out" / "module"
        assert made.testzip() is None
        assert made.namelist() == [
            "AndroidManifest.xml",
            "META-INF/com/android/build/gradle/aar-metadata.properties",
            "R.txt",
            "assets/com/example/pets/labels.txt",
            "assets/com/example/pets/net.tflite",
            "classes.jar",
            "proguard.txt",
        ]
        for name in ("labels.txt", "net.tflite"):
            path = f"assets/com/example/pets/{name}"
            assert made.read(path) == (module / "src" / "main" / path).read_bytes()
        manifest = ET.fromstring(made.read("AndroidManifest.xml"))
        assert manifest.tag == "manifest"
        assert manifest.attrib["package"] == "com.example.pets"
        (sdk,) = manifest
        android = "{http://schemas.android.com/apk/res/android}"
        assert (sdk.tag, sdk.attrib) == ("uses-sdk", {f"{android}minSdkVersion": "24"})
        assert made.read("R.txt") == b""
        assert made.read("proguard.txt") == (module / "consumer-rules.pro").read_bytes()
        assert made.read("proguard.txt").splitlines()[1:] == [
            b"-keep class com.google.ai.edge.litert.** { *; }"
        ]
        metadata = made.read("META-INF/com/android/build/gradle/aar-metadata.properties").decode()
        stated = dict(line.split("=") for line in metadata.splitlines())
        assert stated["aarFormatVersion"] == stated["aarMetadataVersion"] == "1.0"

    def test_its_classes(self, made: zipfile.ZipFile, tmp_path: Path) -> None:
        classes = zipfile.ZipFile(io.BytesIO(made.read("classes.jar")))
        sources = tree(tmp_path / "out" / "module" / "src" / "main" / "java")
        names = {name.removesuffix(".class").partition("$")[0] for name in classes.namelist()}
        assert names == {name.removesuffix(".java") for name in sources}
        for name in classes.namelist():
            assert classes.read(name)[:8] == b"\xca\xfe\xba\xbe\0\0\0\x34"  # Java 8
        for archive in (made, classes):
            assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
            assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}

    def test_equal_input_gives_equal_bytes(self, tmp_path: Path, api: Path) -> None:
        build = build_of("picture", tmp_path / "build")
        old = os.umask(0o077)
        try:
            bundle_android(build, tmp_path / "one", classpath=[api])
        finally:
            os.umask(old)
        bundle_android(build, tmp_path / "two", classpath=[api])
        assert tree(tmp_path / "one") == tree(tmp_path / "two")
        verify_bundle(tmp_path / "two")

    def test_an_aar_of_a_runtime_is_read_as_gradle_would(self, tmp_path: Path, api: Path) -> None:
        runtime = tmp_path / "runtime.aar"
        with zipfile.ZipFile(runtime, "w") as archive:
            archive.writestr("classes.jar", api.read_bytes())
        bundle_android(
            build_of("pixels", tmp_path / "build"), tmp_path / "out", classpath=[runtime]
        )
        assert (tmp_path / "out" / "pixels.aar").exists()

    def test_a_folder_stands_for_the_libraries_below_it(self, tmp_path: Path, api: Path) -> None:
        place = tmp_path / "cache" / "litert" / "2.3.0" / "ab12" / "litert.jar"
        place.parent.mkdir(parents=True)
        place.write_bytes(api.read_bytes())
        # Sources are not what is wanted of a library.
        with zipfile.ZipFile(place.parent / "sources.jar", "w") as archive:
            archive.writestr("android/content/Context.java", "no Java")
        build = build_of("pixels", tmp_path / "build")
        bundle_android(build, tmp_path / "out", classpath=[tmp_path / "cache"])
        text = (tmp_path / "out" / "README.md").read_text()
        assert 'implementation(files("libs/pixels.aar"))' in text
        assert text.count('noCompress += listOf("tflite")') == 2

    def test_libraries_that_are_none(self, tmp_path: Path, api: Path) -> None:
        build = build_of("pixels", tmp_path / "build")
        with pytest.raises(InputError, match=r"cannot be read as a \.jar or \.aar: No such file"):
            bundle_android(build, tmp_path / "out", classpath=[tmp_path / "android.jar"])
        with pytest.raises(InputError, match=r"cannot be read as a \.jar or \.aar: not one"):
            bundle_android(build, tmp_path / "out", classpath=[tmp_path / "build" / "build.json"])
        empty = tmp_path / "empty.jar"
        zipfile.ZipFile(empty, "w").close()
        with pytest.raises(ConversionError, match=r"error: package android\.\w+ does not exist"):
            bundle_android(build, tmp_path / "out", classpath=[empty])
        assert not (tmp_path / "out").exists()

    def test_without_a_compiler(
        self, tmp_path: Path, api: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("JAVA_HOME", raising=False)
        build = build_of("pixels", tmp_path / "build")
        with pytest.raises(UsageError, match="no javac on PATH") as caught:
            bundle_android(build, tmp_path / "out", classpath=[api])
        assert "apt install default-jdk-headless" in str(caught.value.hint)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"runs_on": ("onnx", "cpu")}, "int8 is onnx with cpu, which no Android app runs"),
            ({"runs_on": ("tflite", "ethos-u")}, "is tflite with ethos-u, which no Android app"),
            (
                {"inputs": (spec("a", "int16", 2),)},
                "'a' is int16; LiteRT's Java classes have uint8",
            ),
            ({"outputs": (spec("b", "float16", 2),)}, "'b' is float16; LiteRT's"),
            (
                {"inputs": (spec("m", "bool", 2),), "runs_on": ("executorch", "xnnpack")},
                "'m' is bool; ExecuTorch's Java classes have",
            ),
            ({"inputs": CASES["open"]["inputs"]}, r"'tokens' is 1×16..128; LiteRT's Java classes"),
            (
                {"inputs": (TensorSpec(name="a", shape=(4, 2), dtype="float32"),)},
                "input 'a' is 4×2; an app feeds one sample",
            ),
        ],
    )
    def test_what_no_app_runs(self, tmp_path: Path, changed: dict[str, Any], words: str) -> None:
        case = {"inputs": (IMAGE,), "outputs": (SCORES,)} | changed
        build = make_build(tmp_path / "build", **case)
        with pytest.raises(InputError, match=words):
            bundle_android(build, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        "package", ["digits", "Com.example", "com.class", "a..b", "a.b\n", "a.1"]
    )
    def test_packages_that_are_none(self, tmp_path: Path, package: str) -> None:
        with pytest.raises(UsageError, match="is not the name of a Java package"):
            bundle_android(build_of("pixels", tmp_path / "b"), tmp_path / "out", package=package)


class TestNames:
    def test_of_classes(self) -> None:
        assert class_name("digits") == "Digits"
        assert class_name("mobile_net-v2", "int8-io") == "MobileNetV2Int8Io"
        assert class_name("3d-net") == "Model3dNet"
        assert class_name("日本") == "Model"
        assert class_name("tensor") == "TensorModel"
        assert class_names("a", ["int8"]) == ["A"]
        assert class_names("a", ["int8", "int-8", "x"]) == ["AInt8", "AInt82", "AX"]

    def test_of_members_are_different_and_no_words_of_java_or_kotlin(self) -> None:
        names = member_names([*ODD, *ODD])
        assert len(set(names) | {f"{name}Shape" for name in names}) == 2 * len(names)
        assert all(name.isidentifier() and name.isascii() for name in names)
        assert not KEYWORDS & set(names)
        assert names[:3] == ["class_", "servingDefaultX0", "tensor"]

    def test_of_packages(self) -> None:
        assert package_name("", "My Net-2") == "edgekit.my_net_2"
        assert package_name("", "class") == "edgekit.class_"
        assert package_name("", "日本") == "edgekit.model"
        assert package_name("com.example.digits", "x") == "com.example.digits"

    def test_texts_end_neither_literals_nor_comments(self) -> None:
        assert literal('a"\\\n\r\0ü😀') == r'"a\"\\\n\r\u0000\u00fc\ud83d\ude00"'
        assert comment("*/ <b> \\u000a @x\n&") == "* / &lt;b&gt; /u000a (at)x &amp;"
