from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.locate import shipped
from edgekit.core.profile import all_profiles, load_profile, user_profiles_dir
from edgekit.core.recipe import BUILTIN

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
    assert "# http" in path.read_text() or "page = " in path.read_text()
    for runtime in profile.runtimes:
        assert set(runtime.variants) <= set(BUILTIN)
    assert set(profile.variants) <= set(profile.runtime.variants)


def test_the_host_is_probed() -> None:
    host = load_profile("host")
    assert host.transport == "local"
    assert host.cpu[0].cores >= 1
    assert host.memory_mb is not None


def test_all_profiles_lists_the_host_first() -> None:
    names = [profile.name for profile in all_profiles()]
    assert names[0] == "host"
    assert {"linux-aarch64", "linux-x86_64", "raspberry-pi-4", "raspberry-pi-5"} <= set(names)


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
