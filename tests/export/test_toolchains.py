"""What comes out of the toolchains that have an environment of their own, each made with pip.

Slow: 1.7 GB are fetched and unpacked for each, once a run, and removed again. An EDGEKIT_CACHE in
which they are, named by EDGEKIT_TEST_TOOLCHAINS, spares that.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from edgekit.core.build import Build, Variant, load_build
from edgekit.jobs.convert import convert
from edgekit.jobs.doctor import examine
from edgekit.jobs.plan import Wish, make_plan
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Step, run_steps
from edgekit.work.toolchains import (
    TOOLCHAINS,
    add_toolchain,
    is_installed,
    pinned_versions,
    remove_toolchain,
)

# Two times pip on a slow line; tests that wait for another process to make one wait as long.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("toolchains"), pytest.mark.timeout(1800)]

OPENVINO, ETHOS_U = "executorch-openvino", "executorch-ethos-u"
SHAPES = {"cnn": (3, 16, 16), "sound": (10, 32), "attention": (6, 16), "lstm": (6, 4)}
NPU = """\
schema = 1
name = "npu"
format = "executorch"
delegate = "openvino"
quantization = "none"
[options]
device = "NPU"
"""

Work = tuple[str, str, tuple[str, ...]]  # a model of tests.torch_zoo, a board, variants


class Made:
    """What is left of a toolchain's work: builds, and what was noted while it was there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.noted: dict[str, Any] = json.loads((folder / "noted.json").read_text())

    def build(self, model: str) -> Build:
        return load_build(self.folder / model)

    def variant(self, model: str, name: str) -> Variant:
        return next(v for v in self.build(model).variants if v.recipe.name == name)

    def structure(self, model: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.noted["structures"][f"{model}/{name}"]
        return found


@pytest.fixture(scope="module")
def openvino(tmp_path_factory: pytest.TempPathFactory) -> Made:
    npu = tmp_path_factory.mktemp("recipes") / "npu.toml"
    npu.write_text(NPU)
    variants = ("pte-openvino-float32", "pte-openvino-int8", str(npu))
    place, small = board(tmp_path_factory), variants[1:2]
    work = [("cnn", place, variants), ("attention", place, small), ("lstm", place, small)]
    return made(tmp_path_factory, OPENVINO, work)


@pytest.fixture(scope="module")
def ethos_u(tmp_path_factory: pytest.TempPathFactory) -> Made:
    both = ("pte-ethos-u-int8", "pte-ethos-u-int8-io")
    work = [("cnn", "corstone-300-u55", both), ("sound", "corstone-320-u85", both[1:])]
    return made(tmp_path_factory, ETHOS_U, work)


def board(tmp_path_factory: pytest.TempPathFactory) -> str:
    """This computer with ExecuTorch."""
    path = tmp_path_factory.mktemp("boards") / "host.toml"
    path.write_text(
        'schema = 1\nname = "host"\ntitle = "host"\npage = "https://example.org"\nos = "linux"\n'
        'arch = "x86_64"\ntransport = "local"\nthreads = 1\nvariants = ["pte-openvino-int8"]\n'
        '[[runtimes]]\nname = "executorch"\nversion = "1.5.1"\n'
        'variants = ["pte-openvino-float32", "pte-openvino-int8"]\n'
    )
    return str(path)


def made(tmp_path_factory: pytest.TempPathFactory, toolchain: str, work: list[Work]) -> Made:
    """All that the tests of a toolchain look at, by whichever test process comes first.

    So the toolchain itself is needed only here, and can go when the work is done.
    """
    root = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        root = root.parent
    folder = root / toolchain
    given = os.environ.get("EDGEKIT_TEST_TOOLCHAINS")
    with FileLock(f"{folder}.lock"), pytest.MonkeyPatch.context() as patch:
        if (folder / "noted.json").exists():
            return Made(folder)
        shutil.rmtree(folder, ignore_errors=True)  # of one that failed
        folder.mkdir()
        patch.setenv("EDGEKIT_CACHE", given or str(folder / "cache"))
        added = False
        if not is_installed(toolchain):
            require_pip(folder / "pip")
            added = add_toolchain(toolchain)
        try:
            noted: dict[str, Any] = {"doctor": [each.to_json() for each in examine()]}
            for model, place, variants in work:
                data = folder / f"{model}.npy"
                rng = np.random.default_rng(0)
                np.save(data, rng.normal(size=(16, *SHAPES[model])).astype(np.float32))
                wish = Wish(
                    model=f"tests.torch_zoo:{model}", profile=place, variants=variants,
                    calibration=str(data),
                )  # fmt: skip
                convert(make_plan(wish), folder / model)
            noted["structures"] = structures(folder, [model for model, _, _ in work])
        finally:
            noted["freed"] = remove_toolchain(toolchain) if added else None
        noted["installed"] = is_installed(toolchain)
        (folder / "noted.json").write_text(json.dumps(noted))
    return Made(folder)


def require_pip(folder: Path) -> None:
    """Skip where pip reaches no packages: one small one stands for all."""
    wanted = f"filelock=={pinned_versions(OPENVINO)['filelock']}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", str(folder), wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("needs the packages of pip, which cannot be had here")


def structures(folder: Path, models: list[str]) -> dict[str, Any]:
    """What each ``.pte`` holds when it is opened again, by the ExecuTorch of this environment."""
    steps = {}
    for model in models:
        build = load_build(folder / model)
        for variant in build.variants:
            if variant.artifact is not None:
                file = variant.artifact.files[0]
                place = folder / "opened" / model / variant.recipe.name
                place.mkdir(parents=True)
                shutil.copy(folder / model / file.path, place / "model.pte")
                steps[f"{model}/{variant.recipe.name}"] = Step(
                    title="open", function="tests.torch_nets:structure", worker="torch",
                    arguments={"made": str(place)}, identity={"sha256": file.sha256},
                )  # fmt: skip
    with Pool() as pool:
        outcomes = run_steps(steps.values(), pool=pool, cache=Cache())
    found = {}
    for key, step in steps.items():
        outcome = outcomes[step]
        assert isinstance(outcome, Done), outcome
        found[key] = outcome.result
    return found


def snr_db(variant: Variant) -> float:
    (parity,) = variant.verdict.parity
    assert parity.snr_db is not None
    return parity.snr_db


# ------------------------------------------------------------------------------------- OpenVINO


def test_openvinos_file_runs_and_answers_like_the_model(openvino: Made) -> None:
    plain = openvino.variant("cnn", "pte-openvino-float32")
    small = openvino.variant("cnn", "pte-openvino-int8")

    for variant, least_db in ((plain, 100), (small, 25)):
        assert variant.verdict.status == "accepted"
        assert variant.verdict.stand_in == ""  # the file itself was run
        (load,) = variant.verdict.loads
        assert (load.runtime, load.ok) == ("executorch", True)
        assert snr_db(variant) > least_db


def test_openvino_takes_all_of_it_in_one_piece(openvino: Made) -> None:
    for name in ("pte-openvino-float32", "pte-openvino-int8"):
        variant, found = openvino.variant("cnn", name), openvino.structure("cnn", name)
        assert variant.coverage is not None
        assert variant.coverage.left("openvino") == ()
        assert variant.coverage.partitions == 1
        assert found["delegates"] == ["OpenvinoBackend"]
        assert found["kernels"] == []


def test_openvinos_float32_says_in_what_it_was_compared(openvino: Made) -> None:
    plain = openvino.variant("cnn", "pte-openvino-float32").artifact
    small = openvino.variant("cnn", "pte-openvino-int8").artifact
    assert plain is not None
    assert small is not None

    assert any("bfloat16" in note for note in plain.notes)
    assert not any("bfloat16" in note for note in small.notes)
    assert plain.tools["openvino"] == pinned_versions(OPENVINO)["openvino"]


def test_openvino_computes_attention_in_8_bits(openvino: Made) -> None:
    """NNCF marks what torchao cannot mark: biases of norms, and lists of tensors."""
    variant = openvino.variant("attention", "pte-openvino-int8")
    assert variant.verdict.status == "accepted"
    assert snr_db(variant) > 20
    assert variant.coverage is not None
    assert variant.coverage.left("openvino") == ()


def test_a_recurrent_layer_that_openvinos_quantizer_does_not_read(openvino: Made) -> None:
    variant = openvino.variant("lstm", "pte-openvino-int8")
    assert variant.verdict.status == "failed"
    assert "reads no graph with aten.lstm.input of layer" in variant.verdict.reasons[0]


def test_a_device_of_openvino_that_is_not_here_is_named(openvino: Made) -> None:
    variant = openvino.variant("cnn", "npu")

    assert variant.verdict.status == "failed"
    assert "finds no NPU on this computer, only CPU" in variant.verdict.reasons[0]


# -------------------------------------------------------------------------------------- Ethos-U


def test_ethos_u_takes_all_with_integers_at_the_border(ethos_u: Made) -> None:
    for model in ("cnn", "sound"):  # a pooling over one dimension, too
        variant = ethos_u.variant(model, "pte-ethos-u-int8-io")
        assert variant.verdict.status == "accepted"
        assert variant.verdict.stand_in == "the quantized program before lowering"
        assert snr_db(variant) > 20
        assert variant.coverage is not None
        assert variant.coverage.left("ethos-u") == ()
        assert variant.coverage.partitions == 1
        assert variant.artifact is not None
        for spec in (*variant.artifact.signature.inputs, *variant.artifact.signature.outputs):
            assert spec.dtype == "int8"
            assert spec.quantization is not None


def test_with_real_numbers_at_the_border_two_operators_are_left(ethos_u: Made) -> None:
    variant = ethos_u.variant("cnn", "pte-ethos-u-int8")

    assert variant.coverage is not None
    assert [node.operator.split(".")[1] for node in variant.coverage.left("ethos-u")] == [
        "quantize_per_tensor", "dequantize_per_tensor",
    ]  # fmt: skip
    assert variant.verdict.status == "rejected"  # the board demands all
    assert "take the int8-io variant" in " ".join(variant.verdict.reasons)


def test_the_file_holds_velas_commands(ethos_u: Made) -> None:
    for model in ("cnn", "sound"):
        found = ethos_u.structure(model, "pte-ethos-u-int8-io")
        (stream,) = found["vela"]
        assert found["delegates"] == ["EthosUBackend"]
        assert found["kernels"] == []
        assert found["commands"] == ["COP1"]
        assert stream["cmd_data"] > 100
        assert stream["weight_data"] > 100


def test_velas_estimate_is_told_with_the_boards_memories(ethos_u: Made) -> None:
    for model, memories in (
        ("cnn", "Ethos_U55_High_End_Embedded and Shared_Sram"),
        ("sound", "Ethos_U85_SYS_DRAM_Mid and Dedicated_Sram_384KB"),
    ):
        artifact = ethos_u.variant(model, "pte-ethos-u-int8-io").artifact
        assert artifact is not None
        version = pinned_versions(ETHOS_U)["ethos-u-vela"]
        estimate = next(note for note in artifact.notes if note.startswith(f"Vela {version} "))
        assert memories in estimate
        assert "not a measurement" in estimate
        assert artifact.tools["ethos-u-vela"] == version


# --------------------------------------------------------------------------------- both of them


@pytest.mark.parametrize("name", list(TOOLCHAINS))
def test_doctor_finds_it_and_it_can_be_removed(name: str, request: Any) -> None:
    found: Made = request.getfixturevalue(name.removeprefix("executorch-").replace("-", "_"))

    rows = {row["name"]: row for row in found.noted["doctor"]}
    for row in (rows[name], rows[name.replace("executorch-", "executorch/")]):
        assert row["here"]
        assert row["missing"] == row["how"] == ""
    if found.noted["freed"] is not None:
        size = TOOLCHAINS[name].size_bytes
        assert 0.8 * size < found.noted["freed"] < 1.2 * size
        assert not found.noted["installed"]
