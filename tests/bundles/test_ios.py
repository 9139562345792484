"""The bundle for iOS: what is in it, that it is Swift, and what it refuses.

That it compiles and computes the same bits is shown in `test_ios_swift`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bundles import accessor, bundle_ios, verify_bundle
from edgekit.bundles.ios.names import (
    KEYWORDS,
    class_name,
    comment,
    literal,
    member_names,
    module_name,
)
from edgekit.core.errors import InputError
from edgekit.core.preprocess_reference import apply
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.tensor import TensorSpec
from tests.android_nets import IMAGE, ODD, SCORES, make_build, spec
from tests.ios_nets import CASES, VARIANTS, build_of, build_of_all
from tests.swift import HERE, syntax_problems


@pytest.fixture(scope="module")
def all_of_them(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with a class for each case."""
    folder = tmp_path_factory.mktemp("all")
    build = build_of_all(folder / "build")
    return bundle_ios(build, folder / "out", variants=list(VARIANTS.values())).folder / "AllModels"


def test_what_is_in_it(tmp_path: Path) -> None:
    folder = bundle_ios(build_of("picture", tmp_path / "build"), tmp_path / "out").folder
    verify_bundle(folder)
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    module = "PictureModelModels"
    sources = f"{module}/Sources/{module}"
    assert {name for name in files if not name.endswith((".swift", ".bin"))} == {
        "README.md",
        "bom.cdx.json",
        "manifest.json",
        "manifest.sha256",
        f"{sources}/Models/labels.txt",
        f"{sources}/Models/net.tflite",
        f"{module}/Tests/{module}Tests/Vectors/vectors.json",
    }
    assert f"{sources}/PictureModel.swift" in files
    assert f"{sources}/LiteRtEngine.swift" in files
    assert f"{sources}/ExecuTorchEngine.swift" not in files
    readme = (folder / "README.md").read_text()
    assert f"import {module}" in readme
    assert "`ModelOptions(threads: 4, warmUp: 0, checkHash: false)`" in readme
    assert "// image: CGImage, CVPixelBuffer or Picture, a picture of any size" in readme


def package_of(tmp_path: Path, case: str) -> str:
    folder = bundle_ios(build_of(case, tmp_path / "build"), tmp_path / "out").folder
    (file,) = folder.glob("*/Package.swift")
    assert syntax_problems(file.read_bytes()) == []
    return file.read_text()


def test_each_package_needs_what_runs_its_models(tmp_path: Path) -> None:
    text = package_of(tmp_path / "cpu", "picture")
    assert text.startswith("// swift-tools-version:5.9\n")
    assert "platforms: [.iOS(.v15), .macOS(.v12)]" in text
    assert 'url: "https://github.com/google-ai-edge/LiteRT.git", branch: "release/2.3.0"' in text
    assert re.findall(r'product\(name: "(\w+)"', text) == ["LiteRT"]
    assert "unsafeFlags" not in text
    text = package_of(tmp_path / "gpu", "3d; rm -rf ~")
    assert re.findall(r'product\(name: "(\w+)"', text) == ["LiteRT", "LiteRtMetalAccelerator"]
    text = package_of(tmp_path / "coreml", "planes")
    readme = (tmp_path / "coreml" / "out" / "README.md").read_text()
    assert "`ModelOptions(warmUp: 0, checkHash: false)`" in readme
    assert "platforms: [.iOS(.v17), .macOS(.v14)]" in text
    assert 'url: "https://github.com/pytorch/executorch.git", branch: "swiftpm-1.5.0"' in text
    assert re.findall(r'product\(name: "(\w+)"', text) == [
        "executorch",
        "backend_coreml",
        "kernels_optimized",
        "kernels_quantized",
    ]
    assert '.unsafeFlags(["-Xlinker", "-all_load"], .when(platforms: [.iOS, .macOS]))' in text


def test_every_source_is_swift(all_of_them: Path) -> None:
    files = [*all_of_them.rglob("*.swift"), *HERE.rglob("*.swift")]
    assert len(files) > len(CASES) + 10
    problems = {path.name: syntax_problems(path.read_bytes()) for path in files}
    assert {name: found for name, found in problems.items() if found} == {}


def test_what_is_no_swift_is_found() -> None:
    assert syntax_problems(b"let a = [1, 2\nfunc f( {\n")


def test_the_vectors_are_what_edgekit_makes(all_of_them: Path) -> None:
    folder = all_of_them / "Tests" / "AllModelsTests" / "Vectors"
    listed = json.loads((folder / "vectors.json").read_text())["vectors"]

    def array(stored: dict[str, Any]) -> Any:
        data = (folder / stored["file"]).read_bytes()
        return np.frombuffer(data, np.dtype(stored["kind"])).reshape(stored["shape"])

    steps = parse_preprocessing(CASES["picture"]["steps"])
    vectors = listed["AllPicture.image"]
    assert [vector["given"]["shape"] for vector in vectors] == [[61, 97, 3], [97, 61, 3]]
    for vector in vectors:
        wanted = accessor.to_input(IMAGE.to_json(), apply(steps, array(vector["given"])))
        assert array(vector["wanted"]).tobytes() == wanted.tobytes()
    (vector,) = listed["AllSeveral.outputs[2]"]
    stored = array(vector["given"])
    assert (stored.dtype, stored.shape) == (np.int8, (1, 2, 2))
    real = (stored.astype(np.float32) - [1, -1]) * np.array([0.5, 0.25], np.float32)
    assert array(vector["wanted"]).tolist() == real.tolist()
    tested = (all_of_them / "Tests" / "AllModelsTests" / "VectorTests.swift").read_text()
    assert set(re.findall(r'vectors\(of: "([^"]+)"\)', tested)) == set(listed)


def test_a_crop_that_only_larger_pictures_fill_has_vectors(tmp_path: Path) -> None:
    steps = "center-crop=128x100,normalize=0.0/255.0"
    image = spec("image", "float32", 128, 100, 3)
    build = make_build(tmp_path / "build", (image,), (SCORES,), steps=steps)
    folder = bundle_ios(build, tmp_path / "out").folder
    (file,) = folder.rglob("vectors.json")
    vectors = json.loads(file.read_text())["vectors"]["Net.image"]
    assert [vector["given"]["shape"][:2] for vector in vectors] == [[131, 136], [256, 256]]


class TestRefusals:
    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"runs_on": ("onnx", "cpu")}, "int8 is onnx with cpu, which no iOS app runs"),
            ({"runs_on": ("executorch", "vulkan")}, "is executorch with vulkan, which no iOS app"),
            ({"outputs": (spec("b", "float16", 2),)}, "'b' is float16; LiteRT's Swift types have"),
            ({"inputs": CASES["open"]["inputs"]}, r"'tokens' is 1×16..128; LiteRT's Swift types"),
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
            bundle_ios(build, tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestNames:
    def test_of_classes_and_modules_are_never_the_same(self) -> None:
        assert class_name("mobile_net-v2", "int8-io") == "MobileNetV2Int8Io"
        assert class_name("3d-net") == "Model3dNet"
        assert class_name("tensor") == "TensorModel"
        assert module_name("digits") == "DigitsModels"
        assert module_name("日本") == "ModelModels"

    def test_of_members_are_different_and_no_words_of_swift(self) -> None:
        names = member_names([*ODD, *ODD, "self", "init", "Type"])
        assert len(set(names) | {f"{name}Shape" for name in names}) == 2 * len(names)
        assert all(name.isidentifier() and name.isascii() for name in names)
        assert not KEYWORDS & set(names)
        assert names[-3:] == ["self_", "init_", "type"]

    def test_texts_end_neither_literals_nor_comments(self) -> None:
        assert literal('a"\\(b)\n\0ü😀\ud800') == (r'"a\"\\(b)\u{a}\u{0}\u{fc}\u{1f600}\u{fffd}"')
        assert comment("a\nb ×\u2028*/") == "a b x */"
