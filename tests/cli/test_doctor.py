"""`edgekit doctor`: what is here and how to get the rest, without starting any of it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgekit as package
from edgekit.core.errors import PlanError, UnknownNameError
from edgekit.core.requirement import Requirement
from edgekit.export.delegates import DELEGATES
from edgekit.jobs.doctor import PACKAGES, Finding, examine, require
from edgekit.work.requirements import find_file, missing
from edgekit.work.toolchains import TOOLCHAINS
from tests.cli.conftest import Run


def by_name() -> dict[str, Finding]:
    return {finding.name: finding for finding in examine()}


def test_everything_is_looked_for_once(fresh_cache: Path) -> None:
    findings = examine()
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names)
    assert set(names) >= {*PACKAGES, *TOOLCHAINS}
    for name in DELEGATES:
        assert any(found == name or found.startswith(f"{name}/") for found in names)
    for finding in findings:
        assert finding.here == (not finding.missing)
        assert bool(finding.how) == (not finding.here), finding.name


def test_the_extras_it_names_bring_the_package() -> None:
    asked = importlib.metadata.requires("edgekit") or []
    for name, (_, extra) in PACKAGES.items():
        assert any(
            line.partition(";")[0].strip().startswith(name) and f'extra == "{extra}"' in
            line.replace("'", '"') for line in asked
        ), f"{extra} does not bring {name}"  # fmt: skip


def test_a_toolchain_that_is_missing_takes_its_delegate_with_it(fresh_cache: Path) -> None:
    found = by_name()
    for name in ("executorch-openvino", "executorch/openvino"):
        assert not found[name].here
        assert found[name].how.startswith("edgekit toolchain add executorch-openvino (1.")


def test_a_makers_sdk_is_told_with_its_variable(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("QNN_SDK_ROOT", raising=False)
    assert by_name()["executorch/qnn"].missing == "needs the variable QNN_SDK_ROOT"
    assert by_name()["QNN_SDK_ROOT"].title == "for executorch/qnn"
    monkeypatch.setenv("QNN_SDK_ROOT", "/no/such/folder")
    assert by_name()["QNN_SDK_ROOT"].missing == "it leads to '/no/such/folder', where nothing is"
    monkeypatch.setenv("QNN_SDK_ROOT", str(tmp_path))
    assert by_name()["executorch/qnn"].here


def test_a_delegate_with_a_compiler_of_each_makers_needs_only_that_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_TENSOR_COMPILER_LIB", str(tmp_path))
    monkeypatch.delenv("EXYNOS_AI_LITECORE_ROOT", raising=False)
    found = by_name()
    assert found["tflite/npu/google_tensor"].here
    assert not found["tflite/npu/samsung"].here
    assert found["EXYNOS_AI_LITECORE_ROOT"].title == "for tflite/npu"


def test_a_vulkan_driver_is_one_whose_description_can_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "libvulkan.so.1").write_bytes(b"")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.delenv("VK_ICD_FILENAMES", raising=False)
    driver = tmp_path / "soft.json"
    monkeypatch.setenv("VK_DRIVER_FILES", str(driver))
    assert by_name()["vulkan"].missing == "no driver is registered"
    driver.write_text("{}")
    assert not by_name()["vulkan"].here
    driver.write_text('{"ICD": {"library_path": "./soft.so"}}')
    assert by_name()["vulkan"].title == "runs TFLite on the GPU with soft"


def test_a_broken_plugin_is_told_and_takes_nothing_else_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = {"tflite/mine": "no_such_package.delegate:Mine"}
    monkeypatch.setattr(DELEGATES, "_builtin", {**DELEGATES._builtin, **broken})
    found = by_name()
    assert "no module called 'no_such_package'" in found["tflite/mine"].missing
    assert found["executorch/xnnpack"].group == "delegates"


@pytest.mark.parametrize(
    ("requirement", "says"),
    [
        (("package", "no-such-package"), "it is not installed"),
        (("package", "click"), ""),
        (("program", "no-such-program"), "it is not on PATH"),
        (("program", "sh"), ""),
        (("variable", "EDGEKIT_NO_SUCH"), "it is not set"),
        (("variable", "HOME"), ""),
        (("file", "libnosuch.so.3"), "it is not there"),
        (("file", "/no/such/file"), "it is not there"),
        (("file", "/bin/sh"), ""),
        (("toolchain", "executorch-ethos-u"), "it is not installed"),
    ],
)
def test_a_requirement(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch, requirement: tuple[str, str], says: str
) -> None:
    monkeypatch.setenv("HOME", "/")
    kind, name = requirement
    wanted = Requirement.from_json({"kind": kind, "name": name, "how": "x"})
    assert missing(wanted) == says


def test_a_library_is_found_where_the_loader_looks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "libmine.so").write_bytes(b"")
    assert find_file("libmine.so") is None
    monkeypatch.setenv("LD_LIBRARY_PATH", f":{tmp_path}")
    assert find_file("libmine.so") == tmp_path / "libmine.so"


def test_what_is_required_and_missing_is_an_error(fresh_cache: Path) -> None:
    findings = examine()
    require(findings, ["python", "paramiko"])
    with pytest.raises(PlanError, match="executorch/ethos-u cannot be used") as error:
        require(findings, ["python", "executorch/ethos-u"])
    assert "edgekit toolchain add executorch-ethos-u" in error.value.hint
    with pytest.raises(UnknownNameError, match="executorch/ethos-u"):
        require(findings, ["executorch/ethos"])


@pytest.mark.slow
def test_the_command(edgekit: Run, fresh_cache: Path) -> None:
    shown = edgekit("doctor")
    assert shown.code == 0
    assert "tensorflow" in shown.out
    assert "edgekit toolchain add executorch-ethos-u" in shown.out
    listed = json.loads(edgekit("doctor", "--json").out)
    assert [Finding.from_json(entry) for entry in listed] == package.doctor()
    required = edgekit("doctor", "--require", "executorch-ethos-u")
    assert (required.code, required.out) == (4, "")
    assert "error: executorch-ethos-u cannot be used: it is not installed" in required.err


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from edgekit.jobs.doctor import examine; examine()\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        set(done.stdout.split()) & {"tensorflow", "torch", "onnx", "numpy", "executorch"} == set()
    )
