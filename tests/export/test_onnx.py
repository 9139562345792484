"""From models to ONNX files: every variant, both runtimes, and what goes wrong."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgekit.core.dataset import DataSet
from edgekit.core.description import Coverage
from edgekit.core.errors import ConversionError, DataError, EdgekitError, ModelError, PlanError
from edgekit.core.files import sha256_file
from edgekit.core.model import InputForm, Model, ModelOptions
from edgekit.core.recipe import Recipe, named_recipe
from edgekit.core.registry import resolve
from edgekit.core.tensor import Signature
from edgekit.export import EXPORTERS, onnx_float, onnx_graph
from edgekit.export.delegates import DELEGATES
from edgekit.export.onnx import ONNXExporter, onnx_step
from edgekit.sources.onnx import ONNXSource
from edgekit.work.cache import RESULT_FILE, Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Step, run_steps
from tests import onnx_zoo

pytestmark = pytest.mark.slow
SAMPLES = 24
VARIANTS = {
    "onnx-float32": 90, "onnx-float16": 50, "onnx-dynamic": 25, "onnx-int8": 25, "onnx-int8-io": 25,
    "onnx-tensorrt-float32": 90, "onnx-tensorrt-float16": 50, "onnx-tensorrt-int8": 25,
    "onnx-original": 90,
}  # fmt: skip


class Here:
    """Does steps in this process: nothing here needs a framework that could not share it."""

    def __init__(self, root: Path) -> None:
        self._root, self._done = root, dict[str, Done]()

    def __call__(self, step: Step) -> Done:
        if step.key not in self._done:
            folders = {name: str(self(need).folder) for name, need in step.needs.items()}
            out = self._root / step.key
            out.mkdir()
            try:
                result = resolve(step.function)(out, **step.arguments, **folders)
            except EdgekitError:
                for path in out.iterdir():
                    path.unlink()
                out.rmdir()
                raise
            (out / RESULT_FILE).write_text(json.dumps(result))
            self._done[step.key] = Done(out, result, cached=False, seconds=0)
        return self._done[step.key]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    return Here(tmp_path_factory.mktemp("steps"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def opened(folder: Path, name: str, **options: Any) -> Model:
    if name == "sequence":
        options = {"dims": {"seq": (6, 6)}, **options}
    return ONNXSource().open(str(onnx_zoo.write(name, folder)), ModelOptions(**options))


def loaded(model: Model) -> Any:
    return resolve(model.loader)(model)


def samples(model: Model, folder: Path, count: int = SAMPLES) -> DataSet:
    """Normal numbers, indices and pixels, as the model's signature asks for."""
    rng, inputs = np.random.default_rng(0), loaded(model).signature.inputs
    target = folder / f"data-{model.fingerprint()}"
    target.mkdir(exist_ok=True)
    for index, spec in enumerate(inputs):
        shape = (count, *spec.shape[1:])
        high = {"int64": 6, "uint8": 256}.get(spec.dtype)
        values = rng.integers(0, high, shape) if high else rng.normal(size=shape)
        kind = spec.dtype if high else "float32"
        np.save(target / f"{index}.npy", values.astype(kind))
    return DataSet(
        folder=str(target),
        inputs=tuple(spec.name for spec in inputs),
        count=count,
        digest=f"{model.fingerprint()}{count}",
        origin="test",
        choice="all",
    )


def file_of(made: Done) -> Path:
    return made.folder / made.result["files"][0]


def operators(made: Done) -> list[str]:
    return [node.op_type for node in onnx.load(file_of(made)).graph.node]


def answers(made: Done, rows: dict[str, Any]) -> dict[str, Any]:
    """What ONNX Runtime says of the samples, in real numbers."""
    signature = Signature.from_json(made.result["signature"])
    session = onnxruntime.InferenceSession(str(file_of(made)))
    found: dict[str, list[Any]] = {spec.name: [] for spec in signature.outputs}
    for row in range(len(next(iter(rows.values())))):
        feeds = {}
        for spec in signature.inputs:
            value = rows[spec.name][row : row + 1]
            if spec.quantization is not None:
                steps = np.rint(value / spec.quantization.scale[0])
                value = np.clip(steps + spec.quantization.zero_point[0], -128, 127)
            feeds[spec.name] = value.astype(spec.dtype)
        for spec, value in zip(signature.outputs, session.run(None, feeds), strict=True):
            if spec.quantization is not None:
                value = value.astype(np.float64) - spec.quantization.zero_point[0]
                value = value * spec.quantization.scale[0]
            found[spec.name].append(value)
    return {name: np.concatenate(values) for name, values in found.items()}


def snr(expected: Any, given: Any) -> float:
    """In dB."""
    noise = float(((expected.astype(np.float64) - given) ** 2).sum())
    return 10 * np.log10(float((expected.astype(np.float64) ** 2).sum()) / max(noise, 1e-30))


# ------------------------------------------------------------------------------- variants


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["mlp", "cnn", "two", "open", "sequence", "softmax", "recurrent"])
def test_every_variant_answers_like_the_model(
    here: Here, folder: Path, name: str, variant: str
) -> None:
    model = opened(folder, name)
    data, source = samples(model, folder), loaded(model)
    made = here(ONNXExporter().step(model, named_recipe(variant), data))
    signature = Signature.from_json(made.result["signature"])
    rows = data.rows(source.signature, 0, 12)
    given = answers(made, rows)

    integer = variant == "onnx-int8-io"
    for one, other in zip(
        (*signature.inputs, *signature.outputs),
        (*source.signature.inputs, *source.signature.outputs),
        strict=True,
    ):
        assert (one.name, one.shape) == (other.name, other.shape)
        assert one.dtype == ("int8" if integer and other.dtype == "float32" else other.dtype)
    for output, expected in source.run(rows).items():
        assert snr(expected, given[output]) > VARIANTS[variant]


def test_numbers_are_stored_as_the_variant_says(here: Here, folder: Path) -> None:
    model = opened(folder, "mlp")
    data = samples(model, folder)
    kinds = {}
    for variant in ("onnx-float32", "onnx-float16", "onnx-int8", "onnx-dynamic"):
        made = here(ONNXExporter().step(model, named_recipe(variant), data))
        tensors = onnx.load(file_of(made)).graph.initializer
        kinds[variant] = {tensor.data_type for tensor in tensors if len(tensor.dims) > 1}

    assert kinds == {
        "onnx-float32": {TensorProto.FLOAT},
        "onnx-float16": {TensorProto.FLOAT16},
        "onnx-int8": {TensorProto.INT8},
        "onnx-dynamic": {TensorProto.INT8},
    }


def test_batch_norm_is_folded_and_the_way_says_how(here: Here, folder: Path) -> None:
    made = here(onnx_step(opened(folder, "cnn")))

    assert "BatchNormalization" not in operators(made)
    assert made.result["way"] == "ONNX, simplified by onnxslim"
    assert made.result["parent"] == opened(folder, "cnn").digest
    assert onnx.load(file_of(made)).ir_version == 8


def test_the_inputs_new_form_is_in_the_file(here: Here, folder: Path) -> None:
    form = InputForm(layout="nhwc", dtype="uint8", mean=(127.0,), std=(64.0,))
    model = opened(folder, "cnn", forms={"": form})
    data, source = samples(model, folder), loaded(model)
    made = here(ONNXExporter().step(model, named_recipe("onnx-int8"), data))
    rows = data.rows(source.signature, 0, 8)

    assert str(Signature.from_json(made.result["signature"]).inputs[0]) == "image uint8 1×16×16×3"
    assert snr(source.run(rows)["scores"], answers(made, rows)["scores"]) > 20


def test_a_model_of_an_old_operator_set_is_written_in_a_newer(here: Here, tmp_path: Path) -> None:
    g = onnx_zoo.Graph()
    g.dense(g.add("Relu", "x"), 4, 3, output="y")
    model = g.model({"x": (TensorProto.FLOAT, [1, 4])}, {"y": (TensorProto.FLOAT, [1, 3])}, 9)
    onnx.save(model, tmp_path / "old.onnx")
    handle = ONNXSource().open(str(tmp_path / "old.onnx"), ModelOptions())
    made = here(onnx_step(handle))

    assert made.result["notes"] == ["written in operator set 13; it was 9"]
    assert onnx.load(file_of(made)).opset_import[0].version == 13


def test_a_file_that_stays_as_it_is(here: Here, tmp_path: Path) -> None:
    path = tmp_path / "apart.onnx"
    onnx.save(onnx_zoo.mlp(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    model = ONNXSource().open(str(path), ModelOptions())
    made = here(ONNXExporter().step(model, named_recipe("onnx-original"), None))

    assert made.result["files"] == ["model.onnx", "w.bin"]
    assert sha256_file(file_of(made)) == sha256_file(path)
    onnxruntime.InferenceSession(str(file_of(made)))


def test_weights_that_are_replaced_after_they_were_loaded_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "apart.onnx"
    onnx.save(onnx_zoo.mlp(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    model = ONNXSource().open(str(path), ModelOptions()).to_json()
    (tmp_path / "out").mkdir()
    onnx_float.original(tmp_path / "out", model=model)  # the worker keeps what it loaded
    weights = tmp_path / "w.bin"
    weights.write_bytes(bytes(weights.stat().st_size))

    with pytest.raises(ModelError, match="was changed while it was being converted"):
        onnx_float.original(tmp_path / "out", model=model)


def test_weights_under_the_artifacts_own_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(onnx_zoo.mlp(), path, save_as_external_data=True, location="model.onnx",
              size_threshold=0)  # fmt: skip
    model = ONNXSource().open(str(path), ModelOptions()).to_json()

    with pytest.raises(ConversionError, match="which has another use here"):
        onnx_float.original(tmp_path, model=model)


def test_convolutions_with_8_bit_weights_compute_in_float(here: Here, folder: Path) -> None:
    made = here(ONNXExporter().step(opened(folder, "cnn"), named_recipe("onnx-dynamic"), None))
    names = operators(made)

    assert "ConvInteger" not in names
    assert names.count("DequantizeLinear") == names.count("Conv") == 3
    assert any("convolutions keep 8-bit weights" in note for note in made.result["notes"])


@pytest.mark.parametrize("times", [2, 3])
def test_dense_layers_that_share_turned_weights(here: Here, tmp_path: Path, times: int) -> None:
    """ONNX Runtime's quantizer turns them once for each layer: twice is not at all."""
    weights = np.random.default_rng(4).standard_normal((8, 8)).astype(np.float32)
    names = ["x", *(f"h{index}" for index in range(times))]
    nodes = [
        helper.make_node("Gemm", [before, "w"], [after], name=after, transB=1)
        for before, after in itertools.pairwise(names)
    ]
    sides = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 8]) for n in ("x", names[-1])]
    graph = helper.make_graph(
        nodes, "shared", sides[:1], sides[1:], [onnx.numpy_helper.from_array(weights, "w")]
    )
    path = tmp_path / "shared.onnx"
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=10), path)
    model = ONNXSource().open(str(path), ModelOptions())
    made = here(ONNXExporter().step(model, named_recipe("onnx-dynamic"), None))

    x = np.random.default_rng(5).standard_normal((1, 8)).astype(np.float32)
    expected = x @ np.linalg.matrix_power(weights.T, times)
    assert snr(expected, answers(made, {"x": x})[names[-1]]) > 25


# ------------------------------------------------------------------------ unusual graphs

ROW, FOUR = (TensorProto.FLOAT, ["N", 8]), (TensorProto.FLOAT, ["N", 4])


def read_inside() -> Any:
    """An output that a Relu reads, too."""
    g = onnx_zoo.Graph()
    g.dense(g.add("Relu", g.dense("x", 8, 8, output="inner")), 8, 4, output="y")
    return g.model({"x": ROW}, {"inner": ROW, "y": FOUR})


def branches() -> Any:
    """An If whose branches read an input and a tensor from outside of them."""
    g = onnx_zoo.Graph()
    g.dense("x", 8, 8, output="row")
    taken = g.add("Greater", g.constant(np.float32(1)), g.constant(np.float32(0)))

    def branch(operator: str) -> Any:
        nodes = [
            helper.make_node("Sub", ["row", "x"], [f"{operator}_0"]),
            helper.make_node(operator, [f"{operator}_0", "x"], [f"{operator}_1"]),
        ]
        kind = helper.make_tensor_value_info(f"{operator}_1", TensorProto.FLOAT, ["N", 8])
        return helper.make_graph(nodes, operator, [], [kind])

    chosen = g.add("If", taken, then_branch=branch("Add"), else_branch=branch("Mul"))
    g.dense(chosen, 8, 4, output="y")
    return g.model({"x": ROW}, {"y": FOUR})


def shared_weights() -> Any:
    """One weight in two convolutions, and a transposed one."""
    g = onnx_zoo.Graph()
    weight = g.normal(4, 4, 3, 3, scale=0.2)
    x = g.add("Relu", g.add("Conv", "x", weight, pads=[1] * 4))
    x = g.add("Conv", x, weight, pads=[1] * 4)
    g.add("ConvTranspose", x, g.normal(4, 2, 2, 2, scale=0.3), strides=[2, 2], output="y")
    kinds = ((TensorProto.FLOAT, ["N", 4, 8, 8]), (TensorProto.FLOAT, ["N", 2, 16, 16]))
    return g.model({"x": kinds[0]}, {"y": kinds[1]})


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "onnx-original"])
@pytest.mark.parametrize("made_by", [read_inside, branches, shared_weights])
def test_unusual_graphs(
    here: Here, tmp_path: Path, made_by: Callable[[], Any], variant: str
) -> None:
    onnx.save(made_by(), tmp_path / "model.onnx")
    model = ONNXSource().open(str(tmp_path / "model.onnx"), ModelOptions())
    data, source = samples(model, tmp_path), loaded(model)
    made = here(ONNXExporter().step(model, named_recipe(variant), data))
    rows = data.rows(source.signature, 0, 12)
    given = answers(made, rows)

    for output, expected in source.run(rows).items():
        assert snr(expected, given[output]) > VARIANTS[variant]


def test_an_input_that_nothing_reads(here: Here, tmp_path: Path) -> None:
    """onnxslim drops it, so the other simplifier is taken."""
    g = onnx_zoo.Graph()
    g.dense("x", 8, 4, output="y")
    onnx.save(g.model({"x": ROW, "unread": ROW}, {"y": FOUR}), tmp_path / "model.onnx")
    model = ONNXSource().open(str(tmp_path / "model.onnx"), ModelOptions())
    data = samples(model, tmp_path)
    made = here(onnx_step(model))

    assert [spec["name"] for spec in made.result["signature"]["inputs"]] == ["x", "unread"]
    assert made.result["notes"] == ["onnxslim was not used: it changed the inputs or outputs"]
    with pytest.raises(ConversionError, match="'unread' is not read by the model"):
        here(ONNXExporter().step(model, named_recipe("onnx-int8-io"), data))


# ------------------------------------------------------------------------------ simplifying


def test_a_simplifier_that_changes_the_answers_is_not_taken(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.export import onnx_float

    def wrong(proto: Any) -> Any:
        for tensor in proto.graph.initializer:
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 2, tensor.name)
            )
        return proto

    def broken(proto: Any) -> Any:
        raise RuntimeError("no such pass")

    monkeypatch.setattr(onnx_float, "_slim", wrong)
    model = opened(folder, "mlp")
    result = onnx_float.convert(tmp_path, model=model.to_json())
    monkeypatch.setattr(onnx_float, "_sim", broken)
    plain = onnx_float.convert(tmp_path, model=model.to_json())

    assert result["way"] == "ONNX, simplified by onnxsim"
    assert "it changed what the model computes: 'y' has other values" in result["notes"][0]
    assert plain["way"] == "ONNX, not simplified"
    assert "onnxsim was not used: RuntimeError: no such pass" in plain["notes"]


def test_names_are_the_sources_even_if_they_stand_inside(tmp_path: Path) -> None:
    """An exporter's names for the border may be the source's names for something inside."""
    from edgekit.export import onnx_float

    g = onnx_zoo.Graph()
    g.add("Relu", g.add("Neg", "x", output="scores"), output="y")
    info = (TensorProto.FLOAT, [1, 4])
    model = g.model({"x": info}, {"y": info})
    wanted = Signature.from_json(
        {
            "inputs": [{"name": "image", "shape": [1, 4], "dtype": "float32"}],
            "outputs": [{"name": "scores", "shape": [1, 4], "dtype": "float32"}],
        }
    )
    onnx_float.finish(tmp_path, model, wanted, "test", "", [])
    (answer,) = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(
        ["scores"], {"image": -np.ones((1, 4), np.float32)}
    )

    assert answer.tolist() == [[1, 1, 1, 1]]


# ------------------------------------------------------------------------------ detectors


def quantized(here: Here, folder: Path, table: dict[str, Any], kind: str = "int8") -> Done:
    model = opened(folder, "cnn")
    about = {"name": "x", "format": "onnx", "quantization": kind, "quantize": table}
    return here(ONNXExporter().step(model, Recipe.from_json(about), samples(model, folder)))


@pytest.mark.parametrize(
    "table",
    [
        {"weights": "per-tensor"},
        {"ranges": "moving-average"},
        {"ranges": "percentile", "percentile": 99.9},
        {"ranges": "mse"},
        {"ranges": "entropy"},
    ],
)
def test_other_ways_to_quantize_answer_like_the_model(
    here: Here, folder: Path, table: dict[str, Any]
) -> None:
    made = quantized(here, folder, table)
    model = opened(folder, "cnn")
    rows = samples(model, folder).rows(loaded(model).signature, 0, 8)
    wanted = loaded(model).run(rows)["scores"]
    assert snr(wanted, answers(made, rows)["scores"]) > 15
    scales = {
        value.size
        for name, value in onnx_graph.values(onnx.load(file_of(made))).items()
        if name.endswith("_scale")
    }
    assert (max(scales) == 1) == ("weights" in table)


@pytest.mark.parametrize("kind", ["int8", "dynamic-int8", "float16"])
def test_a_node_stays_in_float_in_every_kind(here: Here, folder: Path, kind: str) -> None:
    spared = quantized(here, folder, {"float": ["op:Conv"]}, kind)
    assert any("in float, as the recipe says" in note for note in spared.result["notes"])
    graph = onnx.load(file_of(spared)).graph
    kinds = {t.name: t.data_type for t in graph.initializer}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    assert {kinds[node.input[1]] for node in convs} == {TensorProto.FLOAT}


@pytest.mark.parametrize("variant", ["onnx-int8", "onnx-tensorrt-int8"])
def test_boxes_and_scores_have_scales_of_their_own(here: Here, folder: Path, variant: str) -> None:
    model = opened(folder, "detector")
    data, source = samples(model, folder), loaded(model)
    made = here(ONNXExporter().step(model, named_recipe(variant), data))
    rows = data.rows(source.signature, 0, 12)
    expected, given = source.run(rows)["found"], answers(made, rows)["found"]

    assert snr(expected[:, 4:], given[:, 4:]) > 30
    assert any("scale of its own" in note for note in made.result["notes"])


def test_one_scale_for_both_would_ruin_the_scores(
    here: Here, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the exclusion is for: without it the scores are gone."""
    from edgekit.export import onnx_quantize

    model = opened(folder, "detector")
    data, source = samples(model, folder), loaded(model)
    step = ONNXExporter().step(model, named_recipe("onnx-int8"), data)
    monkeypatch.setattr(onnx_quantize, "FAR_APART", 1e9)
    made = Here(tmp_path)(step)
    rows = data.rows(source.signature, 0, 12)

    assert snr(source.run(rows)["found"][:, 4:], answers(made, rows)["found"][:, 4:]) < 10


def test_such_an_output_cannot_be_integers(here: Here, folder: Path) -> None:
    model = opened(folder, "detector")

    with pytest.raises(ConversionError, match=r"joins numbers up to 6.* with numbers up to"):
        here(ONNXExporter().step(model, named_recipe("onnx-int8-io"), samples(model, folder)))


# ------------------------------------------------------------------------------ TensorRT


def test_what_tensorrt_takes(here: Here, folder: Path) -> None:
    """No zero points, no integer biases, a scale for each channel of weights, and no
    quantization between an operator with weights and the activation after it."""
    model = opened(folder, "cnn")
    made = here(
        ONNXExporter().step(model, named_recipe("onnx-tensorrt-int8"), samples(model, folder))
    )
    graph = onnx.load(file_of(made)).graph
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    pairs = [n for n in graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    convolutions = [node for node in graph.node if node.op_type == "Conv"]

    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
    assert all(not constants[node.input[2]].any() for node in pairs)
    assert all(constants[node.input[2]].dtype == np.int8 for node in pairs)
    for node in convolutions:
        assert constants[makers[node.input[1]].input[1]].shape == (8,)
        assert constants[node.input[2]].dtype == np.float32
    readers = [n.op_type for c in convolutions for n in graph.node if c.output[0] in n.input]
    # The third is added to the residual, and an addition is quantized.
    assert sorted(readers) == ["QuantizeLinear", "Relu", "Relu"]


@pytest.mark.parametrize("variant", ["onnx-tensorrt-float32", "onnx-tensorrt-int8"])
def test_the_engine_is_built_on_the_device(here: Here, folder: Path, variant: str) -> None:
    model = opened(folder, "mlp")
    result = here(ONNXExporter().step(model, named_recipe(variant), samples(model, folder))).result

    name = f"mlp-{variant}"
    command = f"trtexec --onnx={name}.onnx --saveEngine={name}.engine --stronglyTyped"
    assert any(command in note for note in result["notes"])
    assert result["stand_in"] == {
        "file": "model.onnx", "format": "onnx", "what": "the same file in ONNX Runtime",
    }  # fmt: skip


def test_all_of_the_graph_is_tensorrts(here: Here, folder: Path) -> None:
    """Multiply-adds by hand: convolutions on 16×16 and 8×8 places, a dense layer."""
    model = opened(folder, "cnn")
    expected = 256 * 8 * 27 + 64 * 8 * 9 + 64 * 8 * 72 + 8 * 10
    for variant in ("onnx-tensorrt-float32", "onnx-tensorrt-int8"):
        step = ONNXExporter().step(model, named_recipe(variant), samples(model, folder))
        coverage = Coverage.from_json(here(step).result["coverage"])

        assert sum(node.macs for node in coverage.nodes) == expected
        assert coverage.left("tensorrt") == ()
        assert "the build on the device decides" in coverage.source


@pytest.mark.parametrize("name", ["mlp", "sequence", "recurrent", "two"])
def test_multiply_adds_of_other_graphs(here: Here, folder: Path, name: str) -> None:
    model = opened(folder, name)
    made = here(ONNXExporter().step(model, named_recipe("onnx-tensorrt-float32"), None))
    coverage = Coverage.from_json(made.result["coverage"])

    assert (
        sum(node.macs for node in coverage.nodes)
        == {
            "mlp": 16 * 32 + 32 * 32 + 32 * 4,
            "sequence": 6 * (8 * 16 + 16 * 4),
            "recurrent": 6 * 4 * 16 * (8 + 16) + 16 * 4,
            "two": 2 * 8 * 8,
        }[name]
    )


def test_operators_that_only_onnx_runtime_has(here: Here, folder: Path, tmp_path: Path) -> None:
    model = opened(folder, "recurrent")
    made = here(ONNXExporter().step(model, named_recipe("onnx-dynamic"), None))
    again = ONNXSource().open(str(file_of(made)), ModelOptions())

    assert "DynamicQuantizeLSTM" in operators(here(onnx_step(again)))
    with pytest.raises(
        ConversionError, match=r"does not have .*com\.microsoft\.DynamicQuantizeLSTM"
    ):
        here(ONNXExporter().step(again, named_recipe("onnx-tensorrt-float32"), None))


# -------------------------------------------------------------------------------- plans


def test_variants_share_the_float_file_and_the_ranges(folder: Path) -> None:
    model = opened(folder, "cnn")
    data = samples(model, folder)
    step = {name: ONNXExporter().step(model, named_recipe(name), data) for name in VARIANTS}
    floats = {s.needs["float"].key for s in step.values() if "float" in s.needs}
    ranges = {s.needs["ranges"].key for s in step.values() if "ranges" in s.needs}

    assert floats == {step["onnx-float32"].key}
    assert len(ranges) == 1
    assert len({s.key for s in step.values()}) == len(step)


@pytest.mark.parametrize("name", ["cpu", "tensorrt"])
def test_delegates_say_what_they_are(name: str) -> None:
    delegate = DELEGATES[f"onnx/{name}"]

    assert EXPORTERS["onnx"] is ONNXExporter
    assert delegate.title
    assert "int8" in delegate.quantizations
    assert delegate.runs_here == (name == "cpu")
    assert {need.name for need in delegate.requirements} >= {"onnx", "onnxruntime"}


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("onnx-int16x8", "ONNX Runtime has no int16x8; it has float32, float16"),
        ("onnx-tensorrt-dynamic", "TensorRT has no dynamic-int8"),
        ("onnx-tensorrt-int8-io", "the inputs and outputs stay float"),
    ],
)
def test_what_a_delegate_does_not_have(folder: Path, variant: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        ONNXExporter().step(opened(folder, "mlp"), named_recipe(variant), None)


def test_an_option_that_nobody_knows(folder: Path) -> None:
    recipe = Recipe.from_json(
        {**named_recipe("onnx-float32").to_json(), "options": {"threads": "4"}}
    )
    with pytest.raises(PlanError, match="no option 'threads'"):
        ONNXExporter().step(opened(folder, "mlp"), recipe, None)


def test_integers_need_calibration(folder: Path) -> None:
    with pytest.raises(PlanError, match="needs calibration data"):
        ONNXExporter().step(opened(folder, "mlp"), named_recipe("onnx-int8"), None)


def test_a_file_in_another_form_does_not_stay_as_it_is(folder: Path) -> None:
    model = opened(folder, "cnn", forms={"": InputForm(dtype="uint8")})
    with pytest.raises(PlanError, match="cannot take its inputs in another form"):
        ONNXExporter().step(model, named_recipe("onnx-original"), None)


# ------------------------------------------------------------------------ what goes wrong


@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_samples_that_are_not_finite(
    here: Here, folder: Path, tmp_path: Path, number: float
) -> None:
    model = opened(folder, "mlp")
    rows = np.ones((4, 16), np.float32)
    rows[2, 5] = number
    np.save(tmp_path / "0.npy", rows)
    data = DataSet(folder=str(tmp_path), inputs=("x",), count=4, digest=str(number), origin="test",
                   choice="all")  # fmt: skip

    with pytest.raises(DataError, match="calibration samples"):
        here(ONNXExporter().step(model, named_recipe("onnx-int8"), data))


def test_a_model_that_is_quantized_already(here: Here, folder: Path, tmp_path: Path) -> None:
    model = opened(folder, "mlp")
    made = here(ONNXExporter().step(model, named_recipe("onnx-int8"), samples(model, folder)))
    again = ONNXSource().open(str(file_of(made)), ModelOptions())

    for variant in ("onnx-int8", "onnx-dynamic"):
        with pytest.raises(ConversionError, match="quantizing it once more"):
            here(ONNXExporter().step(again, named_recipe(variant), samples(again, folder)))
    kept = here(onnx_step(again))
    assert "QuantizeLinear" in operators(kept)


@pytest.mark.parametrize("variant", ["onnx-float16", "onnx-dynamic", "onnx-int8"])
def test_nothing_to_quantize(here: Here, tmp_path: Path, variant: str) -> None:
    g = onnx_zoo.Graph()
    g.add("Sin", "x", output="y")
    info = (TensorProto.FLOAT, [1, 4])
    onnx.save(g.model({"x": info}, {"y": info}), tmp_path / "sine.onnx")
    model = ONNXSource().open(str(tmp_path / "sine.onnx"), ModelOptions())

    with pytest.raises(ConversionError):
        here(ONNXExporter().step(model, named_recipe(variant), samples(model, tmp_path)))


def test_float16_weights_have_no_dynamic_form(here: Here, folder: Path) -> None:
    with pytest.raises(ConversionError, match="weights are float16"):
        here(ONNXExporter().step(opened(folder, "half"), named_recipe("onnx-dynamic"), None))


# ------------------------------------------------------------------- from other frameworks


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool() as workers:
        yield workers


@pytest.mark.parametrize("name", ["cnn", "words", "lstm"])
def test_a_torch_model_becomes_onnx(name: str, pool: Pool, tmp_path: Path) -> None:
    from tests import torch_nets

    model = torch_nets.handle(name)
    step = onnx_step(model)
    made = run_steps([step], pool=pool, cache=Cache(tmp_path))[step]
    if isinstance(made, EdgekitError):
        raise made
    names = [node.name for node in onnx.load(file_of(made)).graph.node]
    onnxruntime.InferenceSession(str(file_of(made)))

    assert made.result["way"] == "torch.export → torch.onnx.export, simplified by onnxslim"
    assert made.result["parent"] == model.digest
    assert [spec["name"] for spec in made.result["signature"]["inputs"]] == {
        "cnn": ["image"], "words": ["ids", "padded"], "lstm": ["sound"],
    }[name]  # fmt: skip
    layer = {"cnn": "depthwise/", "words": "embedding/", "lstm": "gru/"}[name]
    assert any(each.startswith(layer) for each in names)


def test_an_operator_without_an_onnx_form_names_the_users_layer(pool: Pool, tmp_path: Path) -> None:
    from tests import torch_nets

    step = onnx_step(torch_nets.handle("unsupported"))
    error = run_steps([step], pool=pool, cache=Cache(tmp_path))[step]

    assert isinstance(error, ConversionError)
    assert "cannot convert aten._linalg_svd (layer spectrum, torch_nets.py:" in error.message
