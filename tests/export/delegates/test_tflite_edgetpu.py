"""The Edge TPU's compiler, as a double: Google's own is neither on PyPI nor in Debian."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.core.description import Coverage, Node
from edgekit.core.errors import ConversionError, PlanError
from edgekit.core.recipe import Recipe, named_recipe
from edgekit.export import flatbuffer
from edgekit.export.delegates import DELEGATES
from edgekit.export.delegates.tflite_edgetpu import EdgeTpuDelegate
from edgekit.export.delegates.tflite_edgetpu_worker import Row, _coverage, read_table
from edgekit.work.steps import Done, Step
from tests.export.delegates.conftest import made
from tests.export.delegates.doubles import EDGETPU_VERSION
from tests.tflite_graphs import cnn, quantized, running_sum, signature_of

Run = Callable[[Step], Done]


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A double called ``edgetpu_compiler`` on PATH."""
    return program(
        tmp_path / "bin",
        monkeypatch,
        f"#!{sys.executable}\nimport sys\n"
        "from tests.export.delegates.doubles import edgetpu_compiler\nsys.exit(edgetpu_compiler())",
    )


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    folder.mkdir()
    path = folder / "edgetpu_compiler"
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return path


def recipe(variant: str = "int8-io", **options: str) -> Recipe:
    return named_recipe(f"edgetpu-{variant}").model_copy(update={"options": options})


@pytest.mark.slow
def test_it_takes_a_cnn_whole(done: Run, compiler: Path, tmp_path: Path) -> None:
    file = quantized(cnn(tmp_path / "model.tflite"), "int8-io")
    outcome = done(EdgeTpuDelegate().step(made(file), recipe()))
    result, folder = outcome.result, outcome.folder
    coverage = Coverage.from_json(result["coverage"])
    assert coverage.share_of_operators("edgetpu") == coverage.share_of_macs("edgetpu") == 1
    assert coverage.source == f"Edge TPU Compiler {EDGETPU_VERSION}'s table and its file"
    assert result["way"] == f"by hand, then Edge TPU Compiler {EDGETPU_VERSION}"
    assert result["signature"] == signature_of(file).to_json()  # put back: the double drops it
    assert "on-chip memory used: 2.75KiB" in result["notes"]
    assert result["stand_in"]["file"] == "before.tflite"
    names = [op.name for op in flatbuffer.operators(flatbuffer.read(folder / "model.tflite"))]
    assert names == ["edgetpu-custom-op"]
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".json") == [
        "before.tflite", "edgetpu_compiler.log", "model.tflite",
    ]  # fmt: skip


@pytest.mark.slow
def test_what_it_leaves_is_told_with_its_reason(done: Run, compiler: Path, tmp_path: Path) -> None:
    file = quantized(running_sum(tmp_path / "model.tflite"), "int8-io")
    result = done(EdgeTpuDelegate().step(made(file), recipe(min_runtime_version="14"))).result
    coverage = Coverage.from_json(result["coverage"])
    assert [node.layer for node in coverage.delegated("edgetpu")] == ["before"]
    assert [node.operator for node in coverage.left("edgetpu")] == [
        "DEQUANTIZE", "CUMSUM", "QUANTIZE", "CONV_2D",
    ]  # fmt: skip
    assert "1 CUMSUM stay on the CPU: Operation not supported" in result["notes"]
    assert "1 CONV_2D stay on the CPU: More than one subgraph is not supported" in result["notes"]


@pytest.mark.slow
def test_its_own_words_when_it_fails(done: Run, compiler: Path, tmp_path: Path) -> None:
    file = quantized(cnn(tmp_path / "model.tflite"), "int8-io")
    step = EdgeTpuDelegate().step(made(file), recipe(min_runtime_version="9"))
    with pytest.raises(ConversionError, match="failed: ERROR: :58 Model requires a newer runtime"):
        done(step)


TABLE = """\
Number of operations that will run on Edge TPU: 13
Number of operations that will run on CPU: 71

Operator                       Count      Status

TRANSPOSE                      70         Operation not supported
CONV_2D                        12         Mapped to Edge TPU
CONV_2D                        1          More than one subgraph is not supported
QUANTIZE                       1          Mapped to Edge TPU
Compilation child process completed within timeout period.
"""


def test_the_table() -> None:
    assert read_table(TABLE) == [
        Row("TRANSPOSE", 70, "Operation not supported"),
        Row("CONV_2D", 12, "Mapped to Edge TPU"),
        Row("CONV_2D", 1, "More than one subgraph is not supported"),
        Row("QUANTIZE", 1, "Mapped to Edge TPU"),
    ]
    assert read_table("Edge TPU Compiler version 16.0\nCONV_2D 1 x") == []


def test_a_table_that_its_file_does_not_bear_out() -> None:
    before = [Node(operator="CONV_2D", layer="a"), Node(operator="CUMSUM", layer="b")]
    after = [Node(operator="edgetpu-custom-op", layer="a"), before[1]]
    mapped = Row("CONV_2D", 1, "Mapped to Edge TPU")
    good = [mapped, Row("CUMSUM", 1, "Operation not supported")]
    assert _coverage(before, after, good, "16").partitions == 1
    with pytest.raises(ConversionError, match="lists nothing on the CPU, its file has 1 CUMSUM"):
        _coverage(before, after, [mapped], "16")
    with pytest.raises(ConversionError, match="lists nothing on the CPU, its file has nothing"):
        _coverage(before[:1], after[:1], [], "16")


# ------------------------------------------------------------------------------------ plan


def refused(wanted: Recipe) -> PlanError:
    step = Step(title="export", function="tests.verify.networks:export", worker="plain")
    with pytest.raises(PlanError) as caught:
        EdgeTpuDelegate().step(step, wanted)
    return caught.value


def test_without_the_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert DELEGATES["tflite/edgetpu"] is EdgeTpuDelegate
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refused(recipe())
    assert error.message == (
        "edgetpu-int8-io: Coral's Edge TPU needs edgetpu_compiler: it is not on PATH"
    )
    assert "https://coral.ai/docs/edgetpu/compiler/" in error.hint


def test_other_numbers_and_options(compiler: Path) -> None:
    assert "Coral's Edge TPU has no float16; it has int8" in refused(recipe("float16")).message
    message = refused(recipe(min_runtime_version="newest")).message
    assert "min_runtime_version = 'newest' is not a number" in message


def test_a_program_of_that_name_that_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(tmp_path / "bin", monkeypatch, "#!/bin/sh\necho usage: something else >&2\nexit 2")
    assert "does not tell its version: usage: something else" in refused(recipe()).message
