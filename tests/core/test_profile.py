from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.locate import shipped
from edgekit.core.profile import all_profiles, load_profile, user_profiles_dir
from edgekit.core.recipe import named_recipe
from edgekit.export.delegates import DELEGATES
from edgekit.sensors import SENSORS

SHIPPED = sorted(shipped("device_profiles").glob("*.toml"))
MINIMAL = """
schema = 1
name = "my-board"
title = "My board"
page = "https://example.com"
os = "linux"
arch = "aarch64"
transport = "ssh"
threads = 2
variants = ["float32"]
[[runtimes]]
name = "ai-edge-litert"
version = "2.3.0"
variants = ["float32"]
"""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_ships_is_valid_and_says_where_its_facts_are_from(path: Path) -> None:
    profile = load_profile(path.stem)
    assert profile.name == path.stem
    assert profile.page.startswith("https://")
    runnable = {variant for runtime in profile.runtimes for variant in runtime.variants}
    assert set(profile.variants) <= runnable
    assert len({runtime.name for runtime in profile.runtimes}) == len(profile.runtimes)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_variant_that_a_board_runs_is_one_that_can_be_made(path: Path) -> None:
    for runtime in load_profile(path.stem).runtimes:
        assert len(set(runtime.variants)) == len(runtime.variants)
        for variant in runtime.variants:
            recipe = named_recipe(variant)
            assert recipe.variant == variant
            assert recipe.format in runtime.formats
            delegate = DELEGATES[f"{recipe.format}/{recipe.delegate}"]()
            assert recipe.quantization in delegate.quantizations, variant
            assert recipe.io == "float" or delegate.integer_io, variant


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_board_that_is_reached_says_how_it_is_measured(path: Path) -> None:
    profile = load_profile(path.stem)
    measuring = profile.measure
    assert all(SENSORS[name].gives == "power" for name in measuring.power)
    if profile.transport != "none":
        assert measuring.covers


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_accelerator_is_a_delegate_that_the_runtimes_use(path: Path) -> None:
    profile = load_profile(path.stem)
    for accelerator in profile.accelerators:
        for file_format in accelerator.formats:
            delegate = DELEGATES[f"{file_format}/{accelerator.delegate}"]()
            recipes = [named_recipe(v) for r in profile.runtimes for v in r.variants]
            used = [
                r for r in recipes if (r.format, r.delegate) == (file_format, accelerator.delegate)
            ]
            assert used
            assert all(profile.accelerator(recipe) == accelerator for recipe in used)
            if accelerator.options:
                assert set(accelerator.options) <= set(delegate.known_options)


def test_the_configurations_of_ethos_u_are_in_velas_file() -> None:
    file = importlib.metadata.distribution("ethos-u-vela").locate_file(
        "ethosu/config_files/Arm/vela.ini"
    )
    known = Path(str(file)).read_text()
    found = 0
    for path in SHIPPED:
        for accelerator in load_profile(path.stem).accelerators:
            if accelerator.delegate == "ethos-u":
                found += 1
                assert f"[System_Config.{accelerator.options['system_config']}]" in known
                assert f"[Memory_Mode.{accelerator.options['memory_mode']}]" in known
                name = accelerator.options.get("accelerator") or accelerator.options["target"]
                generation = name.removeprefix("ethos-").partition("-")[0]
                assert accelerator.options["system_config"].startswith(
                    f"Ethos_{generation.upper()}_"
                )
    assert found >= 7


def test_the_chips_of_npus_are_those_that_litert_compiles_for() -> None:
    package = Path(
        str(importlib.metadata.distribution("ai-edge-litert").locate_file("ai_edge_litert"))
    )
    found = 0
    for path in SHIPPED:
        for accelerator in load_profile(path.stem).accelerators:
            if accelerator.delegate == "npu":
                found += 1
                vendor, soc = accelerator.options["vendor"], accelerator.options["soc"]
                known = (package / "aot" / "vendors" / vendor / "target.py").read_text()
                assert f'"{soc}"' in known
    assert found >= 7


def test_all_of_it_is_demanded_of_an_accelerator_unless_said_otherwise() -> None:
    for path in SHIPPED:
        shares = [accelerator.share for accelerator in load_profile(path.stem).accelerators]
        assert all(share == 1 for share in shares) or "share = " in path.read_text()


def test_the_host_is_probed() -> None:
    host = load_profile("host")
    assert host.transport == "local"
    assert host.cpu[0].cores >= 1
    assert host.memory_mb is not None


def test_all_profiles_lists_the_host_first() -> None:
    names = [profile.name for profile in all_profiles()]
    assert names[0] == "host"
    assert len(set(names)) == len(names)
    assert {"linux-aarch64", "raspberry-pi-5", "pixel-10", "corstone-300-u55"} <= set(names)


def test_an_unknown_board_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match=r"raspberry-pi-5"):
        load_profile("rasberry-pi-5")


def test_a_board_of_ones_own_is_one_file_and_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path))
    user_profiles_dir().mkdir(parents=True)
    (user_profiles_dir() / "my-board.toml").write_text(MINIMAL)
    assert load_profile("my-board").title == "My board"
    assert "my-board" in [profile.name for profile in all_profiles()]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("threads = 2", "threads = 2\nthread = 4"), "unknown key 'thread'"),
        (("threads = 2", ""), "key 'threads' is missing"),
        (("threads = 2", "threads = 0"), "threads = 0"),
        (("schema = 1", "schema = 2"), "schema = 2"),
        (("schema = 1", ""), "key 'schema' is missing"),
        (("schema = 1", "schema ="), "not valid TOML"),
        (('arch = "aarch64"', 'arch = "z80"'), "arch = 'z80'"),
    ],
)
def test_a_mistake_in_a_profile_is_named_with_its_file(
    tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    path = tmp_path / "board.toml"
    path.write_text(MINIMAL.replace(*change))
    with pytest.raises(UsageError) as caught:
        load_profile(str(path))
    assert says in str(caught.value)
    assert "board.toml" in str(caught.value)


def test_a_profile_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no profile file"):
        load_profile(str(tmp_path / "no.toml"))


def test_a_runtime_is_found_by_name_or_by_name_and_version() -> None:
    profile = load_profile("raspberry-pi-5")
    assert profile.runtime_named("tflite-runtime").version == "2.14.0"
    assert profile.runtime_named("tflite-runtime==2.14.0").name == "tflite-runtime"
    with pytest.raises(UnknownNameError, match=r"tflite-runtime==2\.14\.0"):
        profile.runtime_named("tflite-runtime==1.0")


def test_toml_files_carry_no_key_twice() -> None:
    for path in SHIPPED:  # tomllib refuses doubles; a broken file must not ship
        tomllib.loads(path.read_text())
