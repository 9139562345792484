"""LiteRT's ahead-of-time compilers: their Python side is real, a double stands for the makers'."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.description import Coverage, Node
from edgekit.core.errors import ConversionError, PlanError
from edgekit.core.recipe import Recipe, named_recipe
from edgekit.export import flatbuffer
from edgekit.export.delegates import DELEGATES, tflite_base
from edgekit.export.delegates.tflite_npu import VENDORS, NpuDelegate, chips
from edgekit.export.delegates.tflite_npu_worker import _coverage, compile_model
from edgekit.work.cache import RESULT_FILE
from edgekit.work.steps import Step
from tests.tflite_graphs import cnn, quantized, running_sum, signature_of

STEP = Step(title="export", function="tests.verify.networks:export", worker="plain")


def recipe(variant: str = "int8", **options: str) -> Recipe:
    return named_recipe(f"npu-{variant}").model_copy(update={"options": options})


def refused(wanted: Recipe) -> PlanError:
    with pytest.raises(PlanError) as caught:
        NpuDelegate().step(STEP, wanted)
    return caught.value


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A double of LiteRT's ``apply_plugin_main``."""
    from ai_edge_litert.aot.core import apply_plugin

    path = tmp_path / "apply_plugin_main"
    path.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "from tests.export.delegates.doubles import apply_plugin_main\n"
        "sys.exit(apply_plugin_main())"
    )
    path.chmod(0o755)
    monkeypatch.setattr(apply_plugin, "_BINARY", path)


def compiled(folder: Path, model: Path, soc: str = "SM8650") -> tuple[Path, dict[str, Any]]:
    before, out = folder / "made", folder / "out"
    before.mkdir()
    out.mkdir()
    (before / "model.tflite").write_bytes(model.read_bytes())
    result = {"files": ["model.tflite"], "way": "by hand", "notes": ["first"]}
    (before / RESULT_FILE).write_text(json.dumps(result))
    return out, compile_model(out, vendor="qualcomm", soc=soc, made=str(before))


@pytest.mark.slow
def test_from_the_report_to_coverage(compiler: None, tmp_path: Path) -> None:
    file = quantized(running_sum(tmp_path / "model.tflite"), "int8-io")
    out, result = compiled(tmp_path, file)
    coverage = Coverage.from_json(result["coverage"])
    assert [node.layer for node in coverage.delegated("npu")] == ["before"]
    assert "CUMSUM" in {node.operator for node in coverage.left("npu")}
    assert coverage.partitions == 1
    assert result["signature"] == signature_of(file).to_json()
    assert result["way"].startswith("by hand, then LiteRT 2.")
    assert result["way"].endswith("'s compiler for qualcomm SM8650")
    assert result["notes"] == ["first", "it runs on qualcomm SM8650 only"]
    names = [op.name for op in flatbuffer.operators(flatbuffer.read(out / "model.tflite"))]
    assert names[0] == "DISPATCH_OP"
    assert sorted(path.name for path in out.iterdir()) == ["before.tflite", "model.tflite"]


@pytest.mark.slow
def test_the_compilers_last_word(compiler: None, tmp_path: Path) -> None:
    file = quantized(cnn(tmp_path / "model.tflite"), "int8-io")
    with pytest.raises(ConversionError, match=r"SM8350 failed: Failed to load libQnnHtp.so$"):
        compiled(tmp_path, file, soc="SM8350")
    assert "INFO" in (tmp_path / "out" / "compiler.log").read_text()


@pytest.mark.slow
def test_without_the_makers_sdk_litert_says_so(tmp_path: Path) -> None:
    # LiteRT's own program, with its own plugin, on a computer that has no SDK of Qualcomm's.
    with pytest.raises(ConversionError, match=r"SM8650 failed: .*libQnnHtp.so: cannot open"):
        compiled(tmp_path, quantized(cnn(tmp_path / "model.tflite"), "int8-io"))


def test_a_report_that_its_file_does_not_bear_out() -> None:
    class Stats:
        num_total_ops, num_ops_offloaded = 2, 2

    before = [Node(operator="CONV_2D", layer="a"), Node(operator="CUMSUM", layer="b")]
    with pytest.raises(ConversionError, match="counts 0 operators off the NPU, its file has 1"):
        _coverage(before, [Node(operator="DISPATCH_OP", layer="a"), before[1]], [Stats()])


# ------------------------------------------------------------------------------------ plan


def test_whose_npu_has_to_be_said() -> None:
    assert DELEGATES["tflite/npu"] is NpuDelegate
    error = refused(recipe())
    assert error.message == (
        "npu-int8: whose NPU is it for?; possible: qualcomm, mediatek, google_tensor, samsung, "
        "intel"
    )
    assert "vendor = 'arm'" in refused(recipe(vendor="arm")).message


@pytest.mark.parametrize(
    ("vendor", "name", "how"),
    [
        ("qualcomm", "ai-edge-litert-sdk-qualcomm", "pip install 'ai-edge-litert-sdk-qualcomm~="),
        ("mediatek", "ai-edge-litert-sdk-mediatek", "pip install 'ai-edge-litert-sdk-mediatek~="),
        ("google_tensor", "the variable GOOGLE_TENSOR_COMPILER_LIB", "tensor-sdk"),
        ("samsung", "the variable EXYNOS_AI_LITECORE_ROOT", "Exynos AI LiteCore"),
        ("intel", "openvino", "pip install 'openvino==2026.3.1'"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    vendor: str, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflite_base, "missing", lambda requirement: "it is not here")
    error = refused(recipe(vendor=vendor, soc="x"))
    assert error.message == f"npu-int8: LiteRT's NPU compiler needs {name}: it is not here"
    assert how in error.hint
    assert "\n" not in error.hint


@pytest.mark.slow
def test_with_the_sdk_there_is_a_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_TENSOR_COMPILER_LIB", str(tmp_path))
    wanted = {"vendor": "google_tensor", "soc": "Tensor_G5"}
    step = NpuDelegate().step(STEP, recipe(**wanted))
    assert step.arguments == wanted
    (tmp_path / "libcompiler.so").write_bytes(b"another version")
    assert NpuDelegate().step(STEP, recipe(**wanted)).key != step.key
    assert step.needs == {"made": STEP}
    error = refused(recipe(vendor="google_tensor", soc="Tensor_G9"))
    assert "soc = 'Tensor_G9'; LiteRT's compiler for google_tensor knows Tensor_G3, " in (
        error.message
    )
    monkeypatch.delenv("GOOGLE_TENSOR_COMPILER_LIB")
    assert "GOOGLE_TENSOR_COMPILER_LIB: it is not set" in refused(recipe(**wanted)).message


@pytest.mark.slow
def test_litert_knows_chips_of_every_vendor() -> None:
    assert {vendor for vendor in VENDORS if chips(vendor)} == set(VENDORS)
    assert "SM8750" in chips("qualcomm")
