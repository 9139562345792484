"""What LiteRT says of where a file runs: XNNPACK's share, and the GPU on a driver in software."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.description import Coverage
from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.core.recipe import named_recipe
from edgekit.verify import accelerate_gpu
from edgekit.verify.accelerate import gpu_step, vulkan_drivers, xnnpack_step
from edgekit.verify.accelerate_gpu import read_log
from edgekit.verify.accelerate_xnnpack import coverage
from edgekit.verify.operators import Operator, between, operators, partitions
from edgekit.work.cache import RESULT_FILE, Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Step, run_steps
from tests.swiftshader import use_swiftshader
from tests.tflite_graphs import (
    CNN_MACS,
    IMAGE,
    cnn,
    loop,
    quantized,
    running_sum,
    six_dimensions,
)
from tests.tiny_tflite import dense_model

LITERT = version("ai-edge-litert")


def folder(path: Path, model: Path) -> Path:
    """The folder that a step which makes `model` leaves."""
    path.mkdir()
    (path / "model.tflite").write_bytes(model.read_bytes())
    (path / RESULT_FILE).write_text(json.dumps({"files": ["model.tflite"]}))
    return path


def check_set(path: Path, model: Path, count: int = 3) -> Path:
    """The folder of a check set: inputs and LiteRT's answers on the CPU."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(model), num_threads=1).get_signature_runner("serving_default")
    drawn = np.random.default_rng(7).normal(size=(count, *IMAGE[1:]))
    kind = run.get_input_details()["image"]["dtype"]
    images = (drawn if kind == np.float32 else np.clip(drawn * 40, -128, 127)).astype(kind)
    scores = [run(image=image[None])["scores"][0] for image in images]
    path.mkdir()
    np.savez(path / "check.npz", **{"in:image": images, "out:scores": np.stack(scores)})
    return path


# --------------------------------------------------------------------------------- XNNPACK


def test_xnnpack_takes_a_cnn_whole(tmp_path: Path) -> None:
    found = coverage(cnn(tmp_path / "model.tflite"))
    assert [node.operator for node in found.nodes] == [
        "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED",
    ]  # fmt: skip
    assert {node.where for node in found.nodes} == {"xnnpack"}
    assert (found.partitions, found.fully_accelerated) == (1, True)
    assert sum(node.macs for node in found.nodes) == CNN_MACS
    assert [node.layer for node in found.nodes][:2] == ["first", "depth"]
    assert found.source == f"LiteRT {LITERT} with XNNPACK"


def test_what_xnnpack_leaves_is_named_and_splits_the_graph(tmp_path: Path) -> None:
    found = coverage(running_sum(tmp_path / "model.tflite"))
    assert [(node.operator, node.layer) for node in found.left("xnnpack")] == [("CUMSUM", "summed")]
    assert (found.partitions, found.fully_accelerated) == (2, False)
    assert found.share_of_operators("xnnpack") == pytest.approx(2 / 3)
    assert found.share_of_macs("xnnpack") == 1


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["float16", "dynamic", "int8", "int8-io"])
def test_xnnpack_takes_quantized_files_whole(tmp_path: Path, variant: str) -> None:
    found = coverage(quantized(cnn(tmp_path / "model.tflite"), variant))
    assert found.share_of_operators("xnnpack") == 1
    assert sum(node.macs for node in found.nodes) == CNN_MACS


def test_the_body_of_a_loop_counts_too(tmp_path: Path) -> None:
    found = coverage(loop(tmp_path / "model.tflite"))
    assert [(node.operator, node.layer, node.where, node.macs) for node in found.nodes] == [
        ("WHILE", "end", "cpu", 0),
        ("FULLY_CONNECTED", "scores", "xnnpack", 32),
        ("LESS", "goes_on", "cpu", 0),
        ("ADD", "counted", "cpu", 0),
        ("FULLY_CONNECTED", "round", "xnnpack", 64),
    ]
    assert (found.partitions, found.fully_accelerated) == (2, False)


def test_a_file_that_litert_refuses(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="LiteRT on this computer does not load it"):
        coverage(dense_model(tmp_path / "model.tflite", version=99))


# ----------------------------------------------------------------------------------- graph


def chain(*names: str) -> list[Operator]:
    """Operators one after the other; tensor n enters the nth."""
    return [
        Operator(name, (place,), (place + 1,), 0, f"layer{place}", "float32")
        for place, name in enumerate(names)
    ]


def test_between_stops_at_the_border() -> None:
    graph = chain("A", "B", "C", "D")
    assert between(graph, [1], [3]) == {1, 2}
    assert between(graph, [0], [4]) == {0, 1, 2, 3}


def test_partitions_are_cut_as_tflite_cuts_them() -> None:
    # Both branches of a fork are ready at once; the refused one waits for its own piece.
    graph = [
        Operator("A", (0,), (1,), 0, "", ""),
        Operator("NO", (1,), (2,), 0, "", ""),
        Operator("B", (1,), (3,), 0, "", ""),
        Operator("JOIN", (2, 3), (4,), 0, "", ""),
    ]
    wanted = [operator.name != "NO" for operator in graph]
    assert partitions(graph, wanted) == [{0, 2}, {3}]


# -------------------------------------------------------------------------------- GPU's log

LOG = """\
I0000 00:00:1 1 environment.cc:532] Selected adapter: SwiftShader Device (Subzero), \
arch=swiftshader, vendor=google, backend=Vulkan, adapterType=CPU / Software
ERROR: Following operations are not supported by GPU delegate:
DEQUANTIZE: \nTRANSPOSE: Tensor "a: b" has bad input dims size: 6.
2 operations will run on the GPU, and the remaining 2 operations will run on the CPU.
I0000 00:00:1 1 delegate_kernel.cc:984] Initializing WebGPU-based API from graph.
"""


def test_the_log_tells_device_refusals_and_counts() -> None:
    said = read_log(LOG + LOG)
    assert (said.device, said.software, said.no_gpu) == ("SwiftShader Device (Subzero)", True, "")
    assert len(said.partial) == 1
    assert said.partial[0].refused == (
        ("DEQUANTIZE", ""),
        ("TRANSPOSE", 'Tensor "a: b" has bad input dims size: 6.'),
    )
    assert (said.partial[0].on_gpu, said.partial[0].on_cpu) == (2, 2)


def test_a_log_of_no_operation_at_all() -> None:
    said = read_log(
        "ERROR: Following operations are not supported by GPU delegate:\nWHILE: no.\n"
        "No operations will run on the GPU, and all 3 operations will run on the CPU.\n"
    )
    assert (said.partial[0].on_gpu, said.partial[0].on_cpu) == (0, 3)


INVALID = """\
E0000 00:00:1 1 environment.cc:105] Validation error: Error while parsing WGSL: :62:22 error: \
cannot assign 'vec4<f32>' to 'vec4<i32>'
    dst_tensor[i] = value;
E0000 00:00:1 1 environment.cc:105] Validation error: [Invalid ShaderModule] is invalid
"""


def test_an_invalid_program_is_an_error_even_if_it_runs() -> None:
    said = read_log(LOG + INVALID)
    found: dict[str, Any] = {"fully_accelerated": True, "error": ""}
    assert accelerate_gpu._error(found, said) == (
        "LiteRT makes a GPU program that is not valid: Error while parsing WGSL: :62:22 error: "
        "cannot assign 'vec4<f32>' to 'vec4<i32>'"
    )
    found["error"] = "its process was killed by SIGSEGV"
    assert accelerate_gpu._error(found, said).endswith("; its process was killed by SIGSEGV")


def test_a_gpu_that_nothing_is_said_of_is_an_error() -> None:
    found: dict[str, Any] = {"fully_accelerated": True, "error": ""}
    assert accelerate_gpu._error(found, read_log(LOG)) == ""
    assert "does not say which GPU" in accelerate_gpu._error(found, read_log("INFO: fine\n"))


def test_weights_in_float16_go_where_their_reader_goes() -> None:
    graph = [
        Operator("DEQUANTIZE", (8,), (9,), 0, "w", "float32"),
        Operator("CONV_2D", (0, 9), (1,), 5, "conv", "float32"),
        Operator("TRANSPOSE", (1,), (2,), 0, "shuffle", "float32"),
    ]
    said = read_log(LOG.replace("\n2 operations", "\n1 operations"))
    found = accelerate_gpu.coverage([graph], said, fully=False)
    assert [node.where for node in found.nodes] == ["gpu", "gpu", "cpu"]


def test_nothing_is_claimed_where_the_counts_do_not_fit() -> None:
    said = read_log(LOG)
    found = accelerate_gpu.coverage([chain("A", "TRANSPOSE", "B", "TRANSPOSE")], said, fully=False)
    assert found.share_of_operators("gpu") == 0.5
    found = accelerate_gpu.coverage([chain("A", "A", "A", "TRANSPOSE")], said, fully=False)
    assert found.share_of_operators("gpu") == 0
    assert "takes 2 of 4 and does not tell which" in found.source


# ------------------------------------------------------------------------------------- GPU


def asked(tmp_path: Path, model: Path, variant: str = "float32") -> dict[str, Any]:
    out = tmp_path / "out"
    out.mkdir()
    return accelerate_gpu.run(
        out,
        quantization=named_recipe(variant).quantization,
        artifact=str(folder(tmp_path / "artifact", model)),
        check=str(check_set(tmp_path / "check", model)),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "least_snr"), [("float32", 110), ("float16", 110), ("int8", 110), ("int8-io", 110)]
)
def test_the_gpu_computes_what_the_cpu_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, least_snr: float
) -> None:
    use_swiftshader(monkeypatch)
    model = cnn(tmp_path / "model.tflite")
    found = asked(tmp_path, model if variant == "float32" else quantized(model, variant), variant)
    assert (found["error"], found["mismatch"], found["refused"], found["problems"]) == (
        "", "", [], [],
    )  # fmt: skip
    assert found["fully_accelerated"] is True
    assert found["software"] is True
    assert "a driver in software: it proves" in found["notes"][0]
    told = Coverage.from_json(found["coverage"])
    assert told.share_of_macs("gpu") == told.share_of_operators("gpu") == 1
    assert sum(node.macs for node in told.nodes) == CNN_MACS
    snr = found["parity"]["snr_db"]
    assert snr is None or snr > least_snr
    assert found["parity"]["max_abs_error"] < 1e-5


@pytest.mark.slow
def test_a_partial_gpu_is_no_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # XNNPACK takes the rest, and then LiteRT's own is_fully_accelerated says True.
    use_swiftshader(monkeypatch)
    model = six_dimensions(tmp_path / "model.tflite")
    assert coverage(model).fully_accelerated is True
    found = asked(tmp_path, model)
    assert (found["error"], found["mismatch"]) == ("", "")
    assert found["fully_accelerated"] is False
    assert {entry["operator"] for entry in found["refused"]} == {"RESHAPE", "TRANSPOSE"}
    assert {"operator": "TRANSPOSE", "why": 'Tensor "apart" has bad input dims size: 6.'} in found[
        "refused"
    ]
    told = Coverage.from_json(found["coverage"])
    assert [node.layer for node in told.delegated("gpu")] == ["before"]
    assert [node.operator for node in told.left("gpu")] == [
        "RESHAPE", "TRANSPOSE", "RESHAPE", "CONV_2D",
    ]  # fmt: skip
    assert (told.partitions, told.fully_accelerated) == (1, False)


@pytest.mark.slow
def test_without_vulkan_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(variable, str(tmp_path / "nothing.json"))
    found = asked(tmp_path, cnn(tmp_path / "model.tflite"))
    assert found["error"].startswith("no GPU to ask on this computer: ")
    assert "VK_DRIVER_FILES" in found["error"]
    assert found["problems"] == []  # it says nothing of the artifact
    assert found["notes"] == [f"whether the GPU takes it is not known: {found['error']}"]
    assert (found["coverage"], found["parity"]) == (None, None)
    assert found["fully_accelerated"] is False


@pytest.mark.slow
def test_a_driver_that_crashes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A process that ends as one whose driver crashed does: no driver here crashes when asked to.
    monkeypatch.setattr(accelerate_gpu, "MODULE", "tests.verify.crash")
    found = asked(tmp_path, cnn(tmp_path / "model.tflite"))
    assert found["error"] == (
        "LiteRT's GPU accelerator does not run it: its process was killed by SIGSEGV"
    )
    assert found["coverage"] is None


@pytest.mark.slow
def test_other_numbers_are_a_mismatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_swiftshader(monkeypatch)
    model = cnn(tmp_path / "model.tflite")
    check = check_set(tmp_path / "check", model)
    with np.load(check / "check.npz") as file:
        arrays = dict(file)
    arrays["out:scores"] = arrays["out:scores"] + 1
    np.savez(check / "check.npz", **arrays)
    out = tmp_path / "out"
    out.mkdir()
    artifact = str(folder(tmp_path / "artifact", model))
    found = accelerate_gpu.run(out, quantization="none", artifact=artifact, check=str(check))
    assert found["mismatch"].startswith("LiteRT's GPU: output 'scores' differs by up to 1")
    assert found["problems"] == [found["mismatch"]]
    assert found["parity"]["max_abs_error"] == pytest.approx(1, abs=1e-4)


# ----------------------------------------------------------------------------------- steps


@pytest.mark.slow
def test_both_steps_in_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path
) -> None:
    use_swiftshader(monkeypatch)
    model = cnn(tmp_path / "model.tflite")
    artifact = Step(
        title="export",
        function="tests.verify.networks:export",
        worker="plain",
        arguments={"path": str(model), "signature": {"inputs": [], "outputs": []}},
    )
    check = Step(
        title="check set",
        function="tests.verify.test_accelerate:copied",
        worker="plain",
        arguments={"path": str(check_set(tmp_path / "check", model) / "check.npz")},
    )
    recipe = named_recipe("gpu-float32")
    steps = [xnnpack_step(artifact, recipe), gpu_step(artifact, check, recipe)]
    with Pool() as pool:
        outcomes = run_steps(steps, pool=pool, cache=Cache())
    for step, where in zip(steps, ("xnnpack", "gpu"), strict=True):
        done = outcomes[step]
        assert not isinstance(done, EdgekitError), done
        assert Coverage.from_json(done.result["coverage"]).share_of_operators(where) == 1
        assert isinstance(done, Done)


def copied(out: Path, path: str) -> dict[str, Any]:
    (out / "check.npz").write_bytes(Path(path).read_bytes())
    return {}


def test_another_driver_is_another_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = Step(title="export", function="tests.verify.networks:export", worker="plain")
    recipe = named_recipe("gpu-float32")
    keys = {gpu_step(artifact, artifact, recipe).key}
    driver = tmp_path / "driver.json"
    monkeypatch.setenv("VK_DRIVER_FILES", str(driver))
    keys.add(gpu_step(artifact, artifact, recipe).key)
    driver.write_text("{}")
    keys.add(gpu_step(artifact, artifact, recipe).key)
    assert len(keys) == 3
    assert any(line.startswith(str(driver)) for line in vulkan_drivers()["files"])


def test_operators_have_types_and_layers(tmp_path: Path) -> None:
    listed = operators(dense_model(tmp_path / "model.tflite", quantized=True))
    assert [(op.name, op.layer, op.dtype, op.macs) for op in listed] == [
        ("FULLY_CONNECTED", "y:0", "int8", 12)
    ]
