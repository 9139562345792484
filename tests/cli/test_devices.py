"""`edgekit devices`: which boards there are, and all of one."""

from __future__ import annotations

import json

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
