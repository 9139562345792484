"""What is refused before any work, and which steps variants of ExecuTorch share."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.dataset import DataSet
from edgekit.core.errors import PlanError
from edgekit.core.recipe import Recipe, named_recipe
from edgekit.export.delegates import DELEGATES
from edgekit.export.delegates.executorch_ethos_u import EthosUDelegate
from edgekit.export.executorch import ExecuTorchExporter
from edgekit.export.program import program_step
from edgekit.work.steps import Step
from tests.torch_nets import handle

DATA = DataSet(
    folder="/nowhere", inputs=("image",), count=16, digest="d", origin="test", choice="all"
)


def recipe(variant: str, **options: str) -> Recipe:
    return named_recipe(variant).model_copy(update={"options": options})


def step(variant: str, data: DataSet | None = DATA, **options: str) -> Step:
    return ExecuTorchExporter().step(handle("cnn"), recipe(variant, **options), data)


def test_every_delegate_says_what_it_is() -> None:
    names = [name for name in DELEGATES.names() if name.startswith("executorch/")]

    assert len(names) == 7
    for name in names:
        delegate = DELEGATES[name]()
        assert delegate.name == name.partition("/")[2]
        assert delegate.title
        assert delegate.quantizations


def test_an_unknown_delegate_is_refused_with_the_known() -> None:
    with pytest.raises(PlanError, match=r"no delegate 'gpu'.*coreml.*xnnpack"):
        step("pte-gpu-float32")


def test_numbers_that_a_delegate_does_not_compute_in_are_refused() -> None:
    with pytest.raises(PlanError, match="Vulkan has no int8; it has float32, float16"):
        step("pte-vulkan-int8")
    with pytest.raises(PlanError, match="Arm Ethos-U has no float32; it has int8"):
        step("pte-ethos-u-float32", target="ethos-u55-128")


def test_an_integer_border_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(PlanError, match="inputs and outputs stay float") as caught:
        step("pte-int8-io")

    assert "pte-int8" in caught.value.hint


def test_calibration_data_is_asked_for() -> None:
    with pytest.raises(PlanError, match="needs calibration data"):
        step("pte-int8", None)


def test_qualcomms_sdk_is_asked_for_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QNN_SDK_ROOT", raising=False)
    with pytest.raises(PlanError, match="QNN_SDK_ROOT is not set") as caught:
        step("pte-qnn-int8", soc="SM8650")
    assert "https://www.qualcomm.com/" in caught.value.hint

    monkeypatch.setenv("QNN_SDK_ROOT", str(tmp_path))
    with pytest.raises(PlanError, match=r"holds no .*libQnnHtp\.so"):
        step("pte-qnn-int8", soc="SM8650")

    library = tmp_path / "lib" / "x86_64-linux-clang" / "libQnnHtp.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"")
    with pytest.raises(PlanError, match="which chip"):
        step("pte-qnn-int8")


def test_another_sdk_of_qualcomms_is_another_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> str:
        return str(step("pte-qnn-float16", soc="SM8650").key)

    folder = tmp_path / "lib" / "x86_64-linux-clang"
    folder.mkdir(parents=True)
    (folder / "libQnnHtp.so").write_bytes(b"one")
    monkeypatch.setenv("QNN_SDK_ROOT", str(tmp_path))
    first = key()
    assert key() == first
    (folder / "libQnnHtp.so").write_bytes(b"two")
    second = key()
    (tmp_path / "sdk.yaml").write_text("name: qairt\nversion: 2.41.0\n")
    told = key()
    (tmp_path / "sdk.yaml").write_text("name: qairt\nversion: 2.48.0\n")
    assert len({first, second, told, key()}) == 4


@pytest.mark.parametrize("target", ["", "ethos-u55-512", "u55"])
def test_an_ethos_u_is_named_exactly(target: str) -> None:
    options = {"target": target} if target else {}
    with pytest.raises(PlanError, match="ethos-u85-256"):
        EthosUDelegate().check(recipe("pte-ethos-u-int8", **options))


@pytest.mark.parametrize(
    ("variant", "options", "said"),
    [
        ("pte-coreml-float16", {"compute_unit": "gpu"}, "compute_unit = 'gpu'"),
        ("pte-coreml-int8", {"deployment_target": "iOS16"}, "possible: iOS17"),
        ("pte-openvino-int8", {"device": "TPU"}, "known: CPU, GPU, NPU"),
        ("pte-float32", {"threads": "2"}, "no option 'threads'"),
    ],
)
def test_options_are_checked(variant: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        step(variant, **options)


def test_all_variants_start_from_one_program() -> None:
    program = program_step(handle("cnn"))

    assert step("pte-float32").needs["program"].key == program.key
    assert step("pte-dynamic").needs["program"].key == program.key
    assert step("pte-int8").needs["program"].needs["program"].key == program.key


def test_calibration_is_shared_by_variants_that_differ_in_their_border() -> None:
    target = {"target": "ethos-u55-128"}
    plain, integer = step("pte-ethos-u-int8", **target), step("pte-ethos-u-int8-io", **target)

    assert plain.needs["program"].key == integer.needs["program"].key
    assert plain.key != integer.key
    other = step("pte-ethos-u-int8", target="ethos-u85-256")
    assert other.needs["program"].key != plain.needs["program"].key


def test_toolchains_of_their_own_are_where_their_steps_run() -> None:
    assert step("pte-openvino-float32").worker == "executorch-openvino"
    assert step("pte-ethos-u-int8", target="ethos-u65-256").worker == "executorch-ethos-u"
    assert step("pte-coreml-float16").worker == "torch"


def test_there_is_no_way_from_an_unknown_framework() -> None:
    with pytest.raises(PlanError, match="no way from a jax model"):
        program_step(handle("cnn").model_copy(update={"framework": "jax"}))
