"""From an INT8 file to one for Ethos-U, by Vela itself."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.description import Coverage, Node
from edgekit.core.errors import ConversionError, PlanError
from edgekit.core.files import sha256_file
from edgekit.core.recipe import Recipe, named_recipe
from edgekit.export import flatbuffer
from edgekit.export.delegates import DELEGATES
from edgekit.export.delegates.tflite_ethos_u import ACCELERATORS, EthosUDelegate, _config
from edgekit.export.delegates.tflite_ethos_u_worker import _coverage
from edgekit.work.steps import Done, Step
from tests.export.delegates.conftest import made
from tests.tflite_graphs import CNN_MACS, cnn, quantized, running_sum, signature_of

Run = Callable[[Step], Done]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By variant, the small MobileNet; "sum" has an operator that no Ethos-U takes."""
    model = cnn(tmp_path_factory.mktemp("cnn") / "model.tflite")
    other = running_sum(tmp_path_factory.mktemp("sum") / "model.tflite")
    return {
        "float32": model,
        "int8": quantized(model, "int8"),
        "int8-io": quantized(model, "int8-io"),
        "sum": quantized(other, "int8-io"),
    }


def recipe(variant: str, accelerator: str = "ethos-u55-128", **options: str) -> Recipe:
    wanted = {"accelerator": accelerator, **options}
    return named_recipe(f"ethos-u-{variant}").model_copy(update={"options": wanted})


def compiled(run: Run, file: Path, wanted: Recipe) -> tuple[Path, dict[str, Any], Coverage]:
    outcome = run(EthosUDelegate().step(made(file), wanted))
    return outcome.folder, outcome.result, Coverage.from_json(outcome.result["coverage"])


@pytest.mark.slow
@pytest.mark.parametrize("accelerator", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-256"])
def test_each_generation_takes_it_whole(
    done: Run, files: dict[str, Path], accelerator: str
) -> None:
    folder, result, coverage = compiled(done, files["int8-io"], recipe("int8-io", accelerator))
    tree = flatbuffer.read(folder / "model.tflite")
    assert [operator.name for operator in flatbuffer.operators(tree)] == ["ethos-u"]
    assert coverage.share_of_operators("ethos-u") == coverage.share_of_macs("ethos-u") == 1
    assert coverage.partitions == 1
    assert sum(node.macs for node in coverage.nodes) == CNN_MACS
    assert [node.layer for node in coverage.nodes][:2] == ["first", "depth"]
    assert result["signature"] == signature_of(files["int8-io"]).to_json()
    assert result["sha256"] == sha256_file(folder / "model.tflite")
    assert result["parent"] == sha256_file(files["int8-io"])
    assert result["way"].startswith("by hand, then Vela ")
    assert result["way"].endswith(f" for {accelerator}")
    assert "not a measurement" in result["notes"][0]
    assert "cycles" in result["notes"][0]
    stand_in = result["stand_in"]
    assert sha256_file(folder / stand_in["file"]) == result["parent"]
    assert (stand_in["format"], stand_in["what"]) == ("tflite", "the INT8 file before Vela")
    assert sorted(path.name for path in folder.glob("*.tflite")) == [
        "before.tflite", "model.tflite",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_float_border_stays_on_the_cpu(done: Run, files: dict[str, Path]) -> None:
    _, result, coverage = compiled(done, files["int8"], recipe("int8"))
    assert [node.operator for node in coverage.left("ethos-u")] == ["QUANTIZE", "DEQUANTIZE"]
    assert coverage.share_of_macs("ethos-u") == 1
    assert result["notes"][-1] == (
        "2 operators stay on the CPU: QUANTIZE, DEQUANTIZE; with int8-io the application converts, "
        "and none of these is needed"
    )


@pytest.mark.slow
def test_what_it_has_not_is_named_with_its_layer(done: Run, files: dict[str, Path]) -> None:
    folder, result, coverage = compiled(done, files["sum"], recipe("int8-io"))
    left = {node.operator: node.layer for node in coverage.left("ethos-u")}
    assert left["CUMSUM"] == "summed"
    assert [node.layer for node in coverage.delegated("ethos-u")] == ["before", "after"]
    assert coverage.partitions == 2
    names = [op.name for op in flatbuffer.operators(flatbuffer.read(folder / "model.tflite"))]
    assert names.count("ethos-u") == 2
    assert "CUMSUM" in result["notes"][-1]
    assert "int8-io the application" not in result["notes"][-1]


@pytest.mark.slow
def test_of_a_float_file_it_takes_nothing(done: Run, files: dict[str, Path]) -> None:
    wanted = recipe("int8-io").model_copy(update={"quantization": "original", "io": "float"})
    _, result, coverage = compiled(done, files["float32"], wanted)
    assert coverage.share_of_macs("ethos-u") == 0
    assert coverage.partitions == 0
    assert len(result["notes"]) == 1
    assert "takes nothing of it; on the CPU are CONV_2D, DEPTHWISE_CONV_2D" in result["notes"][0]


@pytest.mark.slow
def test_a_configuration_of_ones_own(done: Run, files: dict[str, Path], tmp_path: Path) -> None:
    shipped = _config(recipe("int8-io")).read_text()
    own = tmp_path / "board.ini"
    own.write_text(shipped.replace("Ethos_U55_High_End_Embedded", "My_Board"))
    wanted = recipe("int8-io", config=str(own), system_config="My_Board")
    _, result, _ = compiled(done, files["int8-io"], wanted)
    assert "My_Board and Shared_Sram" in result["notes"][0]


@pytest.mark.slow
def test_velas_last_word_is_told(done: Run, files: dict[str, Path], tmp_path: Path) -> None:
    own = tmp_path / "board.ini"
    own.write_text("[System_Config.Mine]\ncore_clock=1e9\n[Memory_Mode.Mine]\n")
    wanted = recipe("int8-io", config=str(own), system_config="Mine", memory_mode="Mine")
    with pytest.raises(ConversionError, match=r"Vela failed: .*Feature Map memory not configured"):
        done(EthosUDelegate().step(made(files["int8-io"]), wanted))


def test_a_listing_that_its_file_does_not_bear_out() -> None:
    before = [Node(operator="CONV_2D", layer="a"), Node(operator="CUMSUM", layer="b")]
    after = [Node(operator="ethos-u", layer="a"), Node(operator="CUMSUM", layer="b")]
    listing = [{"Target": "NPU"}, {"Target": "CPU"}]
    assert _coverage(before, after, listing).share_of_operators("ethos-u") == 0.5
    with pytest.raises(ConversionError, match="lists 2 operators on the CPU, its file has 1"):
        _coverage(before, after, [*listing, {"Target": "CPU"}])
    with pytest.raises(ConversionError, match="its file has 1: SOFTMAX"):
        _coverage(before, [after[0], Node(operator="SOFTMAX", layer="b")], listing)


# ------------------------------------------------------------------------------------ plan


def refused(wanted: Recipe) -> PlanError:
    step = Step(title="export", function="tests.verify.networks:export", worker="plain")
    with pytest.raises(PlanError) as caught:
        EthosUDelegate().step(step, wanted)
    return caught.value


def test_it_is_registered() -> None:
    assert DELEGATES["tflite/ethos-u"] is EthosUDelegate


def test_which_accelerator_has_to_be_said() -> None:
    error = refused(named_recipe("ethos-u-int8"))
    assert error.message.startswith(
        "ethos-u-int8: which Ethos-U is it for?; possible: ethos-u55-32"
    )
    assert "[options]" in error.hint
    assert "accelerator = 'ethos-u75-1'" in refused(recipe("int8", "ethos-u75-1")).message


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (recipe("int8", system_config="Fast"), "vela.ini has no system_config called 'Fast'; it "),
        (
            recipe("int8", memory_mode="Big"),
            "vela.ini has no memory_mode called 'Big'; it has Sram",
        ),
        (recipe("int8", config="nowhere.ini"), "config = 'nowhere.ini' is not an .ini file"),
        (recipe("int8", speed="high"), "has no option 'speed'; known: accelerator, "),
        (recipe("float16"), "through Vela has no float16; it has int8, original"),
    ],
)
def test_refusals(wanted: Recipe, message: str) -> None:
    assert message in refused(wanted).message


def test_a_configuration_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "bad.ini").write_text("no section = 1")
    assert (
        "is no configuration: File contains no section headers"
        in refused(recipe("int8", config=str(tmp_path / "bad.ini"))).message
    )


def test_without_vela(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "ethos-u-vela":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    error = refused(recipe("int8"))
    assert error.message == (
        "ethos-u-int8: Arm Ethos-U through Vela needs ethos-u-vela: it is not installed"
    )
    assert error.hint == "run: pip install 'ethos-u-vela==5.2.0'"


def test_every_size_has_its_usual_configuration() -> None:
    step = Step(title="export", function="tests.verify.networks:export", worker="plain")
    for kind, sizes in ACCELERATORS.items():
        for macs in sizes:
            asked = EthosUDelegate().step(step, recipe("int8", f"{kind}-{macs}")).arguments
            assert asked["system_config"].lower().startswith(kind.replace("-", "_"))
            assert asked["memory_mode"]


def test_clock_and_memories_are_part_of_the_identity(tmp_path: Path) -> None:
    step = Step(title="export", function="tests.verify.networks:export", worker="plain")
    own = tmp_path / "board.ini"
    own.write_text(_config(recipe("int8")).read_text())
    delegate = EthosUDelegate()
    same = {
        delegate.step(step, recipe("int8")).key,
        delegate.step(step, recipe("int8", config=str(own))).key,
    }
    assert len(same) == 1  # the path is not, what it says is
    own.write_text(own.read_text().replace("500e6", "400e6"))
    assert delegate.step(step, recipe("int8", config=str(own))).key not in same
    assert delegate.step(step, recipe("int8", memory_mode="Sram_Only")).key not in same
