"""Which profile suits a board, and the profile that is written for one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.errors import PlanError, UnknownNameError
from edgekit.core.fitting import as_toml, draft, fits
from edgekit.core.profile import DeviceProfile, all_profiles, load_profile
from edgekit.devices.probe import parse
from edgekit.jobs.boards import Examined
from tests.devices import board_samples as samples

PROFILES = [profile for profile in all_profiles() if profile.page]


def found(text: str) -> list[tuple[str, str]]:
    return [(fit.profile, fit.how) for fit in fits(parse(text, "ssh://board"), PROFILES)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (samples.RASPBERRY_PI_5, [("raspberry-pi-5", "model")]),
        (samples.JETSON_ORIN_NANO, [("jetson-orin-nano", "model")]),
        (samples.PIXEL_8, [("pixel-8", "model")]),
        (samples.ALPINE_PC, [("linux-x86_64", "architecture")]),
        (samples.RASPBERRY_PI_4_32_BIT, []),
    ],
    ids=["pi 5", "orin nano", "pixel", "pc", "32 bits"],
)
def test_what_suits(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


def test_another_model_with_a_chip_that_is_known() -> None:
    assert found(samples.RASPBERRY_PI_5.replace("Pi 5 Model B", "Pi 500")) == [
        ("raspberry-pi-5", "chip")
    ]
    assert found(samples.PIXEL_8.replace("|Pixel 8", "|Pixel 8 Pro")) == [("pixel-8", "chip")]


@pytest.mark.parametrize(
    ("compatible", "expected"),
    [
        ("nvidia,p3768-0000+p3767-0000", ["jetson-orin-nx"]),
        ("nvidia,p3768-0000+p3767-0001-super", ["jetson-orin-nx"]),
        ("acme,carrier+p3767-0004", ["jetson-orin-nano"]),
        ("nvidia,p3768-0000+p3767-0005-super", ["jetson-orin-nano"]),
        ("nvidia,p3737-0000+p3701-0005", ["jetson-agx-orin"]),
        ("acme,carrier", ["jetson-agx-orin", "jetson-orin-nano", "jetson-orin-nx"]),
    ],
)
def test_modules_on_carriers_of_others(compatible: str, expected: list[str]) -> None:
    text = samples.blocks(
        uname__s="Linux", uname__m="aarch64", elf=samples.ELF_AARCH64, model="ACME Edge Box",
        compatible=f"{compatible}\nnvidia,tegra234\n",
    )  # fmt: skip
    how = "chip" if len(expected) > 1 else "module"
    assert sorted(found(text)) == [(name, how) for name in expected]


def test_a_chip_that_several_kinds_of_board_have_is_asked_for() -> None:
    text = samples.JETPACK_5.replace("p3767-0000", "box")
    board = parse(text, "ssh://box")
    suited = fits(board, all_profiles())
    with pytest.raises(PlanError, match="ssh://box may be any of jetson-agx-orin, ") as caught:
        Examined(board, suited, []).draft()
    assert "--like jetson-agx-orin" in caught.value.hint
    with pytest.raises(UnknownNameError, match="raspberry-pi-5"):
        Examined(board, suited, []).draft("raspberry-pi-5")
    assert Examined(board, suited, []).draft("jetson-orin-nx").accelerators


def test_a_board_of_an_unknown_maker() -> None:
    text = samples.blocks(uname__s="Linux", uname__m="aarch64", elf=samples.ELF_AARCH64)
    assert found(text) == [("linux-aarch64", "architecture")]
    assert found(text.replace("|Linux", "|FreeBSD")) == []


VERSIONS = {
    "ai-edge-litert": ["2.3.0", "2.0.3"], "tflite-runtime": ["2.14.0"], "onnxruntime": [],
    "executorch": [],
}  # fmt: skip


def test_a_draft_can_be_loaded(tmp_path: Path) -> None:
    board = parse(samples.RASPBERRY_PI_5, "ssh://pi@board")
    profile = draft(board, load_profile("raspberry-pi-5"), VERSIONS, own=True)
    file = tmp_path / "mine.toml"
    file.write_text(as_toml(profile), encoding="utf-8")
    assert load_profile(str(file)) == profile
    assert profile.name == "raspberry-pi-5-model-b-rev-1-0"
    assert (profile.transport, profile.memory_mb) == ("ssh", 8061)
    assert [c.model for c in profile.cpu] == ["Cortex-A76"]
    assert [r.name for r in profile.runtimes] == ["ai-edge-litert", "tflite-runtime"]


def test_a_draft_has_the_version_that_runs_there() -> None:
    board = parse(samples.JETPACK_5, "ssh://jetson")
    older = {**VERSIONS, "ai-edge-litert": ["2.0.3"], "tflite-runtime": []}
    profile = draft(board, load_profile("jetson-orin-nx"), older, own=True)
    assert [(r.name, r.version) for r in profile.runtimes] == [
        ("tensorrt", "8.5"), ("ai-edge-litert", "2.0.3"),
    ]  # fmt: skip
    assert [a.delegate for a in profile.accelerators] == ["tensorrt"]


def test_without_tensorrt_its_runtime_is_left_out() -> None:
    text = samples.JETPACK_5.replace("@package.libnvinfer8", "@package.none")
    board = parse(text, "ssh://jetson")
    profile = draft(board, load_profile("jetson-orin-nx"), VERSIONS, own=True)
    assert [r.name for r in profile.runtimes] == ["ai-edge-litert"]
    assert set(profile.variants) <= set(profile.runtimes[0].variants)


def test_where_nothing_runs_there_is_no_draft() -> None:
    board = parse(samples.ALPINE_PC, "ssh://pc")
    nothing = {name: [] for name in VERSIONS}
    with pytest.raises(PlanError, match=r"no runtime .* runs on LENOVO 20XW00AQUS: musl 1\.2\.5"):
        draft(board, load_profile("linux-x86_64"), nothing, own=False)


@given(st.text(min_size=1, max_size=40), st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_name_can_be_written(model: str, chip: str) -> None:
    text = samples.RASPBERRY_PI_5.replace("Raspberry Pi 5 Model B Rev 1.0", model)
    board = parse(text.replace("brcm,bcm2712", chip), "ssh://board")
    profile = draft(board, load_profile("raspberry-pi-5"), VERSIONS, own=True)
    import tomllib

    assert DeviceProfile.from_json(tomllib.loads(as_toml(profile))) == profile
