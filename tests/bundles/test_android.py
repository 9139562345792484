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

from edgekit.bundles import bundle_android, example, verify_bundle
from edgekit.bundles.android.accessor import class_names
from edgekit.bundles.android.names import (
    KEYWORDS,
    class_name,
    comment,
    literal,
    member_names,
    package_name,
)
from edgekit.core.artifact import File
from edgekit.core.build import Build, load_build
from edgekit.core.errors import ConversionError, InputError, UsageError
from edgekit.core.files import sha256_file
from edgekit.core.preprocess_reference import apply
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.tensor import OpenAxis, Quantization, Signature, TensorSpec
from tests.java import HERE, JAVA, Jvm, api_jar, jvm, read_sources, write_jar
from tests.samples import write_build


def spec(name: str, dtype: str, *shape: int, **more: Any) -> TensorSpec:
    return TensorSpec(name=name, shape=(1, *shape), dtype=dtype, **more)


def by(scale: float, zero_point: int) -> Quantization:
    return Quantization(scale=(scale,), zero_point=(zero_point,))


def make_build(
    folder: Path,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    *,
    name: str = "net",
    steps: str = "none",
    runs_on: tuple[str, str] = ("tflite", "xnnpack"),
    content: bytes = b"a model",
    labels: tuple[str, ...] = (),
) -> Build:
    """A build with one variant, ``int8``, of this signature."""
    write_build(folder, variants=("int8",), failures=False)
    build = load_build(folder)
    variant = build.variant("int8")
    assert variant.artifact is not None
    path = f"artifacts/net.{'pte' if runs_on[0] == 'executorch' else 'tflite'}"
    (folder / path).write_bytes(content)
    file = File(path=path, size_bytes=len(content), sha256=sha256_file(folder / path))
    artifact = variant.artifact.model_copy(
        update={
            "format": runs_on[0],
            "files": (file,),
            "signature": Signature(inputs=inputs, outputs=outputs),
            "preprocessing": parse_preprocessing(steps),
        }
    )
    recipe = variant.recipe.model_copy(update={"format": runs_on[0], "delegate": runs_on[1]})
    variant = variant.model_copy(update={"artifact": artifact, "recipe": recipe})
    return build.model_copy(update={"name": name, "variants": (variant,), "labels": labels})


IMAGE, SCORES = spec("image", "float32", 8, 8, 3), spec("scores", "float32", 3)
ODD = (
    "class",
    "serving_default_x:0",
    "",
    "a b",
    "a_b",
    "1st",
    "*/ \n\\u000a",
    "ünï",
    "x",
    "x:shape",
)
# What accessors are made for; the keyword arguments of `make_build`.
CASES: dict[str, dict[str, Any]] = {
    "picture": {
        "inputs": (IMAGE,),
        "outputs": (SCORES,),
        "steps": "resize-short-side=9:bilinear,center-crop=8x8,normalize=1:2:3/0.5:7:9",
        "labels": ("cat", 'a "dog"', "ü"),
    },
    "several": {
        "inputs": (
            spec("ids", "int32", 4),
            spec("mask", "bool", 4),
            spec("positions", "int64", 4),
            spec("gain", "float32"),
        ),
        "outputs": (
            spec("chosen", "int32"),
            spec("flags", "bool", 4),
            spec(
                "map",
                "int8",
                2,
                2,
                quantization=Quantization(scale=(0.5, 0.25), zero_point=(1, -1), axis=2),
            ),
            spec("count", "int64", 2),
            spec("raw", "uint8", 2),
        ),
    },
    "integer": {
        "inputs": (spec("image", "int8", 8, 8, 3, quantization=by(1 / 255, -128)),),
        "outputs": (spec("scores", "uint8", 3, quantization=by(1 / 256, 0)),),
        "steps": "resize=8x8:nearest,color=bgr,normalize=0.0/255.0",
    },
    "pixels": {"inputs": (spec("image", "uint8", 8, 8, 3),), "outputs": (SCORES,)},
    "planes": {
        "inputs": (spec("image", "float32", 3, 8, 8),),
        "outputs": (SCORES,),
        "steps": "resize=8x8,cast=float32,layout=CHW,normalize=1:2:3/4:5:6",
        "runs_on": ("executorch", "vulkan"),
    },
    "open": {
        "inputs": (
            spec("tokens", "int64", 128, open=(OpenAxis(axis=1, name="n", least=16, largest=128),)),
        ),
        "outputs": (
            spec("out", "float32", 128, open=(OpenAxis(axis=1, name="n", least=16, largest=128),)),
        ),
        "runs_on": ("executorch", "xnnpack"),
    },
    "odd names": {
        "inputs": tuple(spec(name, "float32", 2) for name in ODD),
        "outputs": tuple(
            spec(name, "float32", 2, 2) for name in (*ODD, "best", "top", "labels", "labels_")
        ),
    },
    "Tensor": {"inputs": (spec("fed", "float32", 2),), "outputs": (spec("made", "float32", 2),)},
    "3d; rm -rf ~": {"inputs": (IMAGE,), "outputs": (SCORES,), "runs_on": ("tflite", "gpu")},
}


def build_of(case: str, folder: Path) -> Build:
    return make_build(folder, name=case, **CASES[case])


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
    wanted = example.to_input(inputs[0].to_json(), apply(steps, picture))
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


class TestInAnApp:
    """Over a double of the runtime: an app that prints what it sees."""

    TEXT = b"accepts=CPU\nsignature=serving_default\nin.image=float32 12\nout.scores=float32 3\n"

    @pytest.fixture
    def app(self, tmp_path: Path, api: Path) -> Any:
        build = make_build(
            tmp_path / "build",
            (spec("image", "float32", 2, 2, 3),),
            (SCORES,),
            steps="resize=2x2:nearest,normalize=0.0/255.0",
            runs_on=("tflite", "gpu"),
            content=self.TEXT,
            labels=("cat", "dog", "ü"),
        )
        folder = bundle_android(build, tmp_path / "out").folder
        sources = read_sources(folder / "module" / "src" / "main" / "java")
        sources["app/AppMain.java"] = (HERE / "AppMain.java").read_text()
        double = write_jar(tmp_path / "double.jar", read_sources(HERE / "runtime_double"), [])
        # The double first: the stubs have what else is declared (bitmaps).
        jar = write_jar(tmp_path / "app.jar", sources, [double, api])
        assets = folder / "module" / "src" / "main" / "assets"

        def run(*more: str) -> list[str]:
            classpath = os.pathsep.join(map(str, (jar, double, api)))
            command = ["java", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8"]
            command += ["-cp", classpath, "app.AppMain", str(assets), str(tmp_path), *more]
            done = subprocess.run(command, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr.decode()
            return done.stdout.decode().splitlines()

        return run, assets / "edgekit" / "net" / "net.tflite"

    def test_what_it_sees(self, app: Any) -> None:
        run, _ = app
        picture = (7 * np.arange(36)).astype(np.uint8).reshape(4, 3, 3)
        steps = parse_preprocessing("resize=2x2:nearest,normalize=0.0/255.0")
        fed = apply(steps, picture).reshape(-1)
        refusal = "GPU: Some ops are not accelerated."
        said = run()
        assert said[:2] == [
            f"CPU, threads as the runtime likes; refused by {refusal}",
            "runs 1 threads null",
        ]
        # The double answers with its first input's numbers.
        assert [float(each) for each in said[2].strip("[]").split(", ")] == pytest.approx(
            fed[:3].tolist(), rel=1e-6
        )
        assert said[3] == "[1, 3]"
        best = ("cat", "dog", "ü")[int(np.argmax(fed[:3]))]
        assert said[4].startswith(f"{best} ")
        assert said[4].count(best) == 2
        assert said[5:] == [
            "open handles 0",
            "the model is closed",
            "CPU, threads: 3",
            "runs 0 threads 3",
            "LiteRT does not open edgekit/net/net.tflite; [NPU: Some ops are not accelerated.]",
        ]

    def test_a_changed_file_is_refused_unless_that_is_turned_off(self, app: Any) -> None:
        run, model = app
        model.write_bytes(self.TEXT.replace(b"CPU", b"GPU"))
        refused, opened = run("changed")
        assert refused.startswith(
            "refused edgekit/net/net.tflite is not the file that was verified"
        )
        assert opened.startswith("GPU; the file's hash was not checked. LiteRT took the model for")


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
