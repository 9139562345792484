"""The Swift package of a bundle for iOS, built and run by Swift on Linux over doubles.

It needs Debian 13's compiler, which tools/fetch_swift.sh gets; see `tests.swift`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from edgekit.bundles import bundle_ios
from edgekit.bundles.accessor import to_real
from edgekit.bundles.apps import all_given
from edgekit.bundles.ios.accessor import class_names, swift_type
from edgekit.bundles.ios.names import member_names
from edgekit.bundles.ios.usage import usage
from edgekit.bundles.manifest import Manifest
from edgekit.core.preprocess_reference import apply
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.preprocessing import Operation, Preprocessing
from edgekit.core.tensor import Quantization, TensorSpec
from tests.bundles.preprocessing_cases import (
    LINES,
    any_steps_on_anything,
    check,
    pictures,
    stored,
)
from tests.ios_nets import CASES, VARIANTS, build_of_all
from tests.swift import HERE, Package, Steps, needs_swift

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.xdist_group("swift")]

CONTENT = {
    "picture": b"accepts=CPU\nin.image=float32 192\nout.scores=float32 3\n",
    "3d; rm -rf ~": b"accepts=GPU\nin.image=float32 192\nout.scores=float32 3\n",
    "pixels": b"accepts=CPU\nin.image=uint8 192\nout.scores=float32 4\n",
    "planes": b"CoreMLBackend",
    "open": b"XnnpackBackend",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A class for each case, compiled with the programs of `tests/bundles/ios`."""
    needs_swift()
    folder = tmp_path_factory.mktemp("swift")
    build = build_of_all(folder / "build", **CONTENT)
    made = bundle_ios(build, folder / "out", variants=list(VARIANTS.values()))
    programs = {name: (HERE / f"{name}.swift").read_text() for name in ("Steps", "App")}
    programs["Readme"] = readme_program(made.manifest)
    package = Package(made.folder / "AllModels", folder / "work", programs)
    said = package.swift("build", "--build-tests")
    assert "warning:" not in said, said
    return package


def readme_program(manifest: Manifest) -> str:
    """What READMEs show, a function for each model, whose parameters are the model's inputs."""
    lines = ["import EdgekitModels"]
    names = class_names("all", [artifact.variant for artifact in manifest.artifacts])
    for artifact, name in zip(manifest.artifacts, names, strict=True):
        shown = usage((artifact,), default=artifact.variant, module="AllModels", model="all")
        (block,) = [part for part in shown if part.startswith("```swift\n")]
        first, _, body = block.removesuffix("\n```").partition("\n\n")
        assert first == "```swift\nimport AllModels"
        inputs = member_names(spec.name for spec in artifact.signature.inputs)
        declared = ", ".join(
            f"{parameter}: {swift_type(take)}"
            for parameter, take in zip(inputs, all_given(artifact), strict=True)
        )
        # The package has one model and the class its name; here there are several.
        body = body.replace("= try All()", f"= try {name}()")
        lines.append(f"func use{name}({declared}) throws {{\n{body}\n}}")
    return "\n\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def swift(package: Package) -> Iterator[Steps]:
    command = package.program("Steps")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Steps(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=60) == 0


def test_every_vector_of_the_package_holds(package: Package) -> None:
    said = package.swift("test", "--skip-build")
    count = sum(len(net["inputs"]) for net in CASES.values())
    count += sum(spec.quantization is not None for n in CASES.values() for spec in n["outputs"])
    assert f"Executed {count + 1} tests, with 0 failures" in said


def test_a_vector_that_does_not_hold_fails(package: Package) -> None:
    """One changed bit of one of them, so that the others are known to mean something."""
    folder = package.folder / ".build/debug/AllModels_AllModelsTests.resources/Vectors"
    listed = json.loads((folder / "vectors.json").read_text())["vectors"]
    file = folder / listed["AllPicture.image"][0]["wanted"]["file"]
    before = file.read_bytes()
    file.write_bytes(bytes([before[0] ^ 1]) + before[1:])
    try:
        with pytest.raises(AssertionError, match="another byte at 0"):
            package.swift("test", "--skip-build", "--filter", "AllPictureImage")
    finally:
        file.write_bytes(before)


def test_what_an_app_sees(package: Package) -> None:
    done = subprocess.run(package.program("App"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    picture = (7 * np.arange(36 * 9) % 256).astype(np.uint8).reshape(12, 9, 3)
    steps = parse_preprocessing(CASES["picture"]["steps"])
    # The double answers with its first input's numbers.
    scores = apply(steps, picture).reshape(-1)[:3]
    first, second = np.argsort(-scores, kind="stable")[:2]
    said = done.stdout.splitlines()
    answer = [float(each) for each in said[2].partition("]")[0].strip("[").split(", ")]
    assert answer == pytest.approx(scores.tolist(), rel=1e-6)
    assert said[2].endswith("] [1, 3]")
    refused = "GPU: compilation"
    part = "LiteRT leaves a part of the model to the CPU"
    assert [line for at, line in enumerate(said) if at != 2] == [
        "CPU, threads: 2",
        '["cat", "a \\"dog\\"", "ü"]',
        f"true [{first}, {second}]",
        "true true",
        "refused: ask the camera for kCVPixelFormatType_32BGRA",
        "refused: the model is closed",
        f"CPU, threads as the runtime likes; refused by {refused}",
        "refused: LiteRT does not open 0-net.tflite: Core ML: LiteRT's Swift package has no Core"
        " ML; take a .pte for Core ML",
        f"GPU. {part}",
        'Core ML. mine [a "dog" 3.0, ü 3.0]',
        "Core ML [CoreMLBackend]. ExecuTorch computes on the CPU what the .pte does not hand to a"
        " backend",
        "refused: ExecuTorch's Swift package does not set threads; leave them away",
        "refused: the delegate of a .pte was chosen when it was made; leave prefer away, or bundle"
        " the variant for the other accelerator",
        "CPU [XnnpackBackend], threads as the runtime likes",
        "[1, 17]",
        "refused: input 'tokens': that makes 1, not 1x16..128 without the batch of 1 in front",
        "refused: input 'image': that makes 12x9x3, not 1x8x8x3 without the batch of 1 in front",
        said[-2],
        "CPU, threads as the runtime likes; the file's hash was not checked",
    ]
    assert said[-2].startswith("refused: 0-net.tflite is not the file that was verified: SHA-256 ")


def same(swift: Steps, preprocessing: Preprocessing, array: Any) -> bool:
    return check(swift.ask(preprocessing.to_json()["operations"], array), preprocessing, array)


@pytest.mark.parametrize("line", LINES)
def test_pictures(swift: Steps, line: str) -> None:
    assert all(same(swift, parse_preprocessing(line), array) for array in pictures().values())


@any_steps_on_anything
def test_any_steps_on_anything(swift: Steps, chain: list[Operation], array: Any) -> None:
    """Both make the same bits, or both refuse."""
    same(swift, Preprocessing(operations=tuple(chain)), array)


@settings(max_examples=100, deadline=None)
@given(case=stored())
def test_real_numbers_of_quantized_ones(swift: Steps, case: tuple[Any, Quantization]) -> None:
    """As the bundle's Python program makes them, for a whole tensor and along each axis."""
    array, by = case
    spec = TensorSpec(name="", shape=array.shape, dtype=array.dtype.name, quantization=by)
    step = {"op": "to-real", "scales": by.scale, "zero_points": by.zero_point, "axis": by.axis}
    made = swift.ask([step], array)
    assert not isinstance(made, str), made
    assert made.tobytes() == to_real(spec.to_json(), array).tobytes()


def test_softmax(swift: Steps) -> None:
    scores = np.array([1, -2, 300, 299.5, -300], np.float32)
    parts = np.exp(scores.astype(np.float64) - scores.max())
    made = swift.ask([{"op": "softmax"}], scores)
    np.testing.assert_allclose(made, parts / parts.sum(), rtol=1e-6, atol=1e-45)
