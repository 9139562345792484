"""The file of one's boards: what it may say, and what ``--on`` makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.boards import Target, known_boards, target, targets
from edgekit.core.errors import UnknownNameError, UsageError

THREE = """
schema = 1
[boards.kitchen-pi]
address = "ssh://pi@10.0.0.7"
kind = "raspberry-pi-5"
groups = ["pis"]
python = "~/edge/bin/python"
meter = { port = "/dev/ttyUSB0" }
[boards.attic-pi]
address = "ssh://pi@10.0.0.8"
groups = ["pis", "attic"]
[boards.desk]
address = "local"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "boards.toml"
    path.write_text(THREE)
    monkeypatch.setenv("EDGEKIT_BOARDS", str(path))
    return path


def names(*on: str) -> list[str]:
    return [board.name for board in targets(on)]


@pytest.mark.usefixtures("file")
def test_names_groups_and_addresses_are_each_board_once() -> None:
    assert names("kitchen-pi") == ["kitchen-pi"]
    assert names("attic-pi", "group:pis") == ["attic-pi", "kitchen-pi"]
    assert names("local", "ssh://elsewhere", "desk") == ["desk", "ssh://elsewhere"]
    assert target("kitchen-pi").python == "~/edge/bin/python"


@pytest.mark.usefixtures("file")
def test_what_is_not_there_comes_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean kitchen-pi") as caught:
        targets(["kitchn-pi"])
    assert "ssh://kitchn-pi" in caught.value.hint
    with pytest.raises(UnknownNameError) as caught:
        targets(["ssh:/pi"])
    assert "an address is ssh://[user@]host[:port]" in caught.value.hint
    assert "ssh://ssh:" not in caught.value.hint
    with pytest.raises(UnknownNameError, match="known: attic, pis"):
        targets(["group:phones"])
    with pytest.raises(UsageError, match="group:pis is 2 boards, kitchen-pi, attic-pi"):
        target("group:pis")


def test_without_a_file_addresses_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CONFIG", str(tmp_path))
    assert known_boards() == {}
    assert targets(["ssh://pi"]) == (Target(name="ssh://pi", address="ssh://pi"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "key 'schema' is missing"),
        ("schema = 2", "schema = 2"),
        ("schema = 1\nbords = 1", "unknown key 'bords' (known: schema, boards)"),
        ('schema = 1\n[boards.a]\naddress = "local"\nuser = "pi"', "unknown key 'boards.a.user'"),
        ('schema = 1\n[boards.a]\naddress = "local"\nname = "b"', "unknown key 'name'"),
        ('schema = 1\n[boards.a]\nkind = "host"', "key 'boards.a.address' is missing"),
        ('schema = 1\n[boards.a]\naddress = "10.0.0.7"', "is not local, nor like ssh://"),
        ('schema = 1\n[boards.local]\naddress = "ssh://a"', "local is this computer"),
        ('schema = 1\n[boards."a b"]\naddress = "ssh://a"', "String should match pattern"),
        ('schema = 1\n[boards.a]\naddress = "ssh://a"\ngroups = "pis"', "groups"),
        ('schema = 1\n[boards.a]\naddress = "ssh://a"\nkind = "raspbery-pi-5"', "raspberry-pi-5"),
        (
            'schema = 1\n[boards.a]\naddress = "ssh://x"\n[boards.b]\naddress = "ssh://x"',
            "a and b have one address",
        ),
        ("schema = ", "not valid TOML"),
    ],
)
def test_what_is_written_wrong_is_told(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        known_boards()
    assert message in caught.value.message
    assert str(file) in caught.value.message


def test_a_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_BOARDS", "/nothing/boards.toml")
    with pytest.raises(UsageError, match="there is no such file"):
        known_boards()
