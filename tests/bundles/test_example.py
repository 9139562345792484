"""The Python of a bundle: the same tensors as edgekit to the bit, and a real runtime behind it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgekit.bundles import bundle_linux
from edgekit.bundles.classes import class_names, module_name
from edgekit.core.artifact import File
from edgekit.core.build import Build, Variant, load_build, save_build
from edgekit.core.errors import DataError
from edgekit.core.files import sha256_file
from edgekit.core.preprocess_reference import apply
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.tensor import Quantization, Signature, TensorSpec
from tests.samples import write_build


@pytest.fixture(scope="module")
def example() -> ModuleType:
    from edgekit import bundles

    path = Path(bundles.__file__).parent / "accessor.py"
    spec = importlib.util.spec_from_file_location("bundle_accessor", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "line",
    [
        "none",
        "resize=7x9:bilinear",
        "resize=40x13:bilinear",
        "resize=1x1:bilinear",
        "resize=31x2:nearest",
        "resize-short-side=11:bilinear,center-crop=11x11",
        "resize-short-side=5:nearest,center-crop=4x5,color=bgr",
        "color=gray,normalize=0.1307/0.3081",
        "color=bgr,normalize=103.939:116.779:123.68/1.0:2.0:3.0,layout=CHW",
        "layout=CHW,normalize=1.0:2.0:3.0/0.5:0.25:3.0",
        "normalize=127.5/127.5,quantize=0.0078125/0:int8",
        "normalize=0.0/255.0,quantize=0.003921569/-128:int8",
        "normalize=0.0/255.0,quantize=0.003921569/0:uint8",
        "normalize=0.0/1.0,quantize=0.0001/0:int16",
        "normalize=128.0/0.3,cast=uint8",
        "normalize=128.0/0.3,cast=int8",
        "cast=int8,cast=float32",
    ],
)
def test_preprocessing_is_the_reference_to_the_bit(example: ModuleType, line: str) -> None:
    preprocessing = parse_preprocessing(line)
    operations = preprocessing.to_json()["operations"]
    draw = np.random.default_rng(len(line))
    for height, width in ((20, 31), (13, 13), (40, 12)):
        picture = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
        wanted = apply(preprocessing, picture)
        found = example.preprocess(operations, picture)
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("line", ["center-crop=50x2", "normalize=0.0/1.0,resize=2x2:nearest"])
def test_what_the_reference_refuses_is_refused(example: ModuleType, line: str) -> None:
    preprocessing = parse_preprocessing(line)
    picture = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(DataError):
        apply(preprocessing, picture)
    with pytest.raises(ValueError, match=r"picture"):
        example.preprocess(preprocessing.to_json()["operations"], picture)


WEIGHTS = np.random.default_rng(5).integers(-20, 20, (10, 4)).astype(np.float32) / 8


def write_tflite(path: Path, *, integer: bool) -> Signature:
    """A real file with one fully connected layer, 4 inputs to 10 outputs; int8 throughout or float.

    Written with the runtime's own schema, so that the test needs no converter.
    """
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    scales = {"x": 1 / 16, "w": 1 / 8, "y": 1 / 4} if integer else {}
    kind = schema.TensorType.INT8 if integer else schema.TensorType.FLOAT32
    stored = (WEIGHTS * 8).astype(np.int8) if integer else WEIGHTS

    def tensor(name: str, shape: list[int], buffer: int) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, kind, buffer
        if integer:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = [scales[name[0]]]
            made.quantization.zeroPoint = [3 if name == "x" else 0]
        return made

    def mapped(name: str, index: int) -> Any:
        made = schema.TensorMapT()
        made.name, made.tensorIndex = name, index
        return made

    buffers = [schema.BufferT() for _ in range(4)]
    buffers[2].data = np.frombuffer(stored.tobytes(), np.uint8)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4
    layer = schema.OperatorT()
    layer.inputs, layer.outputs = [0, 1], [2]
    layer.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    layer.builtinOptions = schema.FullyConnectedOptionsT()
    graph = schema.SubGraphT()
    graph.tensors = [tensor("x", [1, 4], 1), tensor("w", [10, 4], 2), tensor("y", [1, 10], 3)]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [layer]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = [mapped("image", 0)], [mapped("scores", 2)]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers, model.signatureDefs = buffers, [] if integer else [signature]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())

    def spec(name: str, shape: tuple[int, ...], scale: float, zero_point: int) -> TensorSpec:
        quantization = Quantization(scale=(scale,), zero_point=(zero_point,)) if integer else None
        dtype = "int8" if integer else "float32"
        return TensorSpec(name=name, shape=shape, dtype=dtype, quantization=quantization)

    # The integer file has no signature: there the names are the tensors' own.
    names = ("x", "y") if integer else ("image", "scores")
    return Signature(
        inputs=(spec(names[0], (1, 4), 1 / 16, 3),), outputs=(spec(names[1], (1, 10), 1 / 4, 0),)
    )


@pytest.fixture
def runnable(tmp_path: Path) -> Build:
    return write_runnable(tmp_path / "build")


def write_runnable(folder: Path) -> Build:
    """A build whose float32 and int8-io artifacts really run."""
    build = write_build(folder, variants=("float32", "int8-io"), failures=False)
    variants: list[Variant] = []
    for variant in build.variants:
        artifact = variant.artifact
        assert artifact is not None
        path = folder / artifact.files[0].path
        signature = write_tflite(path, integer=variant.recipe.name == "int8-io")
        file = File(
            path=artifact.files[0].path,
            size_bytes=path.stat().st_size,
            sha256=sha256_file(path),
        )
        update = {"files": (file,), "signature": signature, "preprocessing": Preprocessing()}
        new = artifact.model_copy(update=update)
        variants.append(variant.model_copy(update={"artifact": new}))
    build = build.model_copy(update={"variants": tuple(variants)})
    save_build(build, folder)
    return load_build(folder)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", str(folder / "example.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_runs_the_model_from_the_command_line_and_from_a_program(
    runnable: Build, tmp_path: Path, example: ModuleType
) -> None:
    out = tmp_path / "out"
    bundle_linux(runnable, out, variants=["float32", "int8-io"])
    sample = np.array([0.5, -1.0, 2.0, 0.25])
    np.save(tmp_path / "sample.npy", sample)
    wanted = WEIGHTS @ sample.astype(np.float32)

    scores = example.Model(out).predict(sample)["scores"]
    np.testing.assert_allclose(scores, wanted[None], rtol=1e-6)

    integer = example.Model(out, "int8-io").predict(sample)["y"]
    assert integer.dtype == np.float32
    np.testing.assert_allclose(integer, wanted[None], atol=1 / 8 + 1e-6)  # half a step of 1/4

    done = run(out, str(tmp_path / "sample.npy"), "--threads", "2")
    assert done.returncode == 0, done.stderr
    best = int(np.argmax(wanted))
    assert f"[{best}]" in done.stdout.splitlines()[1]
    assert runnable.labels[best] in done.stdout.splitlines()[1]


def test_it_refuses_a_model_file_that_is_not_the_manifests(runnable: Build, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bundle_linux(runnable, out, variants=["float32"])
    path = out / "models" / "digits-float32.tflite"
    path.write_bytes(path.read_bytes() + b"\0")
    np.save(tmp_path / "sample.npy", np.zeros(4, np.float32))
    done = run(out, str(tmp_path / "sample.npy"))
    assert done.returncode == 1
    assert "is not the file that the manifest lists" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_input_is_said(runnable: Build, tmp_path: Path, example: ModuleType) -> None:
    out = tmp_path / "out"
    bundle_linux(runnable, out, variants=["float32", "int8-io"])
    model = example.Model(out, "float32")
    wrong = r"^input 'image' was given float32 5: that makes 5, not 4\nthe model takes .* float32 4"
    with pytest.raises(ValueError, match=wrong):
        model.predict(np.zeros(5, np.float32))
    with pytest.raises(ValueError, match="given uint8 4: that makes uint8, not float32"):
        model.predict(np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match="not numbers"):
        model.predict(np.array(["a"]))
    with pytest.raises(ValueError, match="has 1 input, 2 were given"):
        model.predict(np.zeros(4), np.zeros(4))
    with pytest.raises(ValueError, match=r"given float32 2×2: .*\nthe model takes 'x' float32 4$"):
        example.Model(out, "int8-io").predict(np.zeros((2, 2), np.float32))
    with pytest.raises(example.ModelProblem, match="no variant 'int4' here; known: f"):
        example.Model(out, "int4")


@pytest.mark.slow
def test_wrong_input_on_the_command_line_is_two_lines(runnable: Build, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bundle_linux(runnable, out, variants=["float32"])
    good, bad, text = (tmp_path / name for name in ("good.npy", "bad.npy", "text.npy"))
    np.save(good, np.zeros(4, np.float32))
    np.save(bad, np.zeros((2, 2), np.float32))
    text.write_text("no array")
    picture = tmp_path / "text.png"
    picture.write_text("no picture")
    for files, says in (
        ([bad], "input 'image' was given float32 2×2: that makes 2×2, not 4"),
        ([good, good], "the model has 1 input, 2 were given"),
        ([tmp_path / "none.npy"], "there is no file '"),
        ([tmp_path / "none.png"], "there is no file '"),
        ([tmp_path], "there is no file '"),
        ([text], "cannot be read as a .npy file: "),
        ([picture], "cannot be read as a picture: "),
    ):
        done = run(out, *map(str, files))
        assert done.returncode == 2
        assert done.stdout == ""
        first, second = done.stderr.splitlines()[-2:]  # the runtime may speak before
        assert first.startswith("error: ")
        assert says in first
        assert second == "the model takes 'image' float32 4"


def imported(folder: Path, module: str = "digits") -> ModuleType:
    """The bundle's own module, as an app that has the folder on its path imports it."""
    spec = importlib.util.spec_from_file_location(f"bundled_{module}", folder / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_class_for_each_model(runnable: Build, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bundle_linux(runnable, out, variants=["float32", "int8-io"])
    module = imported(out)
    sample = np.array([0.5, -1.0, 2.0, 0.25], np.float32)
    with module.Float32(threads=2) as model:
        np.testing.assert_allclose(model.predict(sample)["scores"][0], WEIGHTS @ sample, rtol=1e-6)
        assert model.applied == "xnnpack"
        assert model.labels == list(runnable.labels)
    with pytest.raises(module.ModelProblem, match="float32 was closed"):
        model.predict(sample)
    assert module.Float32.INPUTS == (("image", (1, 4), "float32", "float32 4", "real numbers"),)
    (output,) = module.Int8Io.OUTPUTS
    assert (output.name, output.dtype, output.takes) == ("y", "int8", "float32 1×10")
    assert "int8-io (tflite) of digits 0.1.0: rejected" in module.Int8Io.__doc__


def test_what_computes_it_is_chosen_and_told(runnable: Build, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bundle_linux(runnable, out, variants=["float32"])
    module = imported(out)
    assert module.Float32(delegate="cpu").applied == "cpu"
    with pytest.raises(module.ModelProblem, match=r"'libnone\.so' cannot be loaded"):
        module.Float32(delegate="libnone.so")


def test_the_file_is_checked_when_it_is_loaded_unless_told_otherwise(
    runnable: Build, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    bundle_linux(runnable, out, variants=["float32"])
    path = out / "models" / "digits-float32.tflite"
    path.write_bytes(path.read_bytes() + b"\0")
    module = imported(out)
    with pytest.raises(module.ModelProblem, match="is not the file that the manifest lists"):
        module.Float32()
    assert module.Float32(check=False).applied == "xnnpack"
    path.unlink()
    with pytest.raises(module.ModelProblem, match="cannot be read"):
        module.Float32()
    (out / "manifest.json").unlink()
    with pytest.raises(module.ModelProblem, match="there is no bundle in"):
        module.Float32()


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("digits", "digits"),
        ("MobileNet v2.1", "mobilenet_v2_1"),
        ("json", "json_model"),
        ("numpy", "numpy_model"),
        ("class", "class_model"),
        ("3d", "model_3d"),
        ("'; import os; '", "import_os"),
        ("猫", "model"),
    ],
)
def test_any_name_is_a_module(name: str, module: str) -> None:
    assert module_name(name) == module


def test_any_variant_is_a_class() -> None:
    names = class_names(["int8", "pte-int8", "int8!", "8bit", "model", "", "None"])
    assert list(names.values()) == [
        *("Int8", "PteInt8", "Int82", "Variant8bit", "VariantModel", "Variant", "VariantNone"),
    ]
    assert all(name.isidentifier() for name in names.values())


def test_names_in_a_model_are_never_code(runnable: Build, tmp_path: Path) -> None:
    evil = "x\"\"\"'); open('ran', 'w'); ('\n\nopen('ran', 'w')\n"
    (variant, _) = runnable.variants
    assert variant.artifact is not None
    spec = variant.artifact.signature.inputs[0].model_copy(update={"name": evil})
    signature = variant.artifact.signature.model_copy(update={"inputs": (spec,)})
    artifact = variant.artifact.model_copy(update={"signature": signature})
    build = runnable.model_copy(
        update={"name": evil, "variants": (variant.model_copy(update={"artifact": artifact}),)}
    )
    out = tmp_path / "out"
    bundle_linux(build, out)
    (path,) = (p for p in out.glob("*.py") if p.name != "example.py")
    module = imported(out, path.stem)
    assert module.Float32.INPUTS[0].name == evil
    assert not (tmp_path / "ran").exists()
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "line",
    [
        "normalize=1.0:2.0:3.0/0.5:0.25:3.0",
        "color=gray",
        "layout=CHW",
        "resize=4x4:nearest",
        "cast=uint8,center-crop=2x2",
    ],
)
@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 4, 3), (4,), (0, 4, 3)])
def test_what_the_reference_refuses_is_never_a_surprise(
    example: ModuleType, line: str, shape: tuple[int, ...]
) -> None:
    preprocessing = parse_preprocessing(line)
    operations = preprocessing.to_json()["operations"]
    sample = np.zeros(shape, np.uint8)
    try:
        wanted = apply(preprocessing, sample)
    except DataError:
        with pytest.raises(example.InputProblem):
            example.preprocess(operations, sample)
    else:
        assert example.preprocess(operations, sample).tobytes() == wanted.tobytes()


def test_it_is_python_3_8() -> None:
    """Boards have old Pythons: no syntax that came later."""
    import ast

    from edgekit import bundles

    for name in ("example.py", "accessor.py"):
        text = (Path(bundles.__file__).parent / name).read_text()
        ast.parse(text, feature_version=(3, 8))
        assert "from __future__ import annotations" in text
