"""`edgekit devices`: which boards there are, and all of one."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from edgekit.core.profile import load_profile
from tests.cli.conftest import Run


def test_the_list_is_grouped_and_in_a_natural_order(edgekit: Run) -> None:
    answer = edgekit("devices")
    assert answer.code == 0
    lines = answer.out.splitlines()
    groups = [line for line in lines if line and not line.startswith(" ")]
    assert groups[:2] == ["Linux boards and computers", "Android phones"]
    assert lines[1].startswith("  host ")
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert names.index("pixel-9") < names.index("pixel-10")
    (pixel,) = [line for line in lines if line.startswith("  pixel-9 ")]
    assert "Google Pixel 9" in pixel
    assert "gpu, vulkan, npu" in pixel


def test_one_is_told_whole(edgekit: Run) -> None:
    told = edgekit("devices", "corstone-300-u55").out
    assert "nothing: files are brought there" in told
    assert "ethos-u (tflite): has to take all multiply-adds" in told
    assert "accelerator = ethos-u55-128, system_config = Ethos_U55_High_End_Embedded" in told
    profile = json.loads(edgekit("devices", "corstone-300-u55", "--json").out)
    assert profile == load_profile("corstone-300-u55").to_json()


def test_all_as_json(edgekit: Run) -> None:
    names = [entry["name"] for entry in json.loads(edgekit("devices", "--json").out)]
    assert names[0] == "host"
    assert len(names) > 20


def test_the_option_may_stand_before_the_name(edgekit: Run) -> None:
    told = edgekit("devices", "--json", "corstone-300-u55")
    assert json.loads(told.out)["name"] == "corstone-300-u55"


def test_an_unknown_name_is_no_board_and_no_command(edgekit: Run) -> None:
    answer = edgekit("devices", "raspbery-pi-5")
    assert answer.code == 2
    assert "did you mean raspberry-pi-5" in answer.err


def test_the_help_names_the_commands_with_their_own_lines() -> None:
    from edgekit.cli.devices import SUBCOMMANDS
    from edgekit.core.registry import resolve

    for name, (reference, text) in SUBCOMMANDS.items():
        command = resolve(reference)
        assert command.name == name
        assert command.get_short_help_str(limit=200).startswith(text.rstrip("."))


@pytest.mark.slow
def test_probing_this_computer(edgekit: Run, desk: Path) -> None:
    told = edgekit("devices", "probe", "local", "-o", "mine.toml")
    assert told.code == 0, told.err
    assert platform.release() in told.out
    assert "unavailable" in told.out
    assert load_profile(str(desk / "mine.toml")).transport == "local"
    again = edgekit("devices", "probe", "local", "-o", "mine.toml")
    assert again.code == 9
    assert "is there already" in again.err


@pytest.mark.slow
def test_a_probe_as_json(edgekit: Run) -> None:
    told = json.loads(edgekit("devices", "probe", "local", "--json").out)
    assert told["board"]["kernel"] == platform.release()
    assert told["profiles"][0]["how"] in ("model", "chip", "architecture")
    assert {"runtime", "version", "python"} <= set(told["installable"][0])


def test_what_cannot_be_probed(edgekit: Run) -> None:
    assert "there is no board called 'nonsense!'" in edgekit("devices", "probe", "nonsense!").err
    answer = edgekit("devices", "probe", "local", "-o", "mine.txt")
    assert answer.code == 2
    assert "has to end in .toml" in answer.err


@pytest.mark.slow
def test_preparing_says_what_it_would_do(edgekit: Run) -> None:
    told = edgekit("devices", "prepare", "local", "--runtime", "ai-edge-litert", "--dry-run")
    assert told.code == 0, told.err
    assert "would install ai-edge-litert==" in told.out
    answer = edgekit("devices", "prepare", "local", "--undo", "--runtime", "executorch")
    assert answer.code == 2
    assert "takes no other option" in answer.err
