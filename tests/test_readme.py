"""The README and the help texts name what there is: commands, options, variants, boards, extras."""

from __future__ import annotations

import itertools
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from edgekit.cli import COMMANDS, EXTRA_OF, edgekit
from edgekit.core.profile import all_profiles, load_profile
from edgekit.core.recipe import KINDS, PREFIXES, USUAL_DELEGATE, named_recipe
from edgekit.core.registry import resolve
from edgekit.export.delegates import DELEGATES

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
OWN = {"demo", "test", "peers"}  # what the Makefile installs, and a benchmark needs


def command_lines() -> list[str]:
    """Every ``edgekit …`` that is shown as typed, in the README and below the commands' helps."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.M | re.S)
    blocks = [text for language, text in fenced if not language]
    blocks += [resolve(where).epilog or "" for where, _ in COMMANDS.values()]
    blocks.append(edgekit.epilog or "")
    text = "\n".join(blocks).replace("\\\n", " ")
    return re.findall(r"^ *(?:\$ |\w+\$ )?(edgekit [a-z-].*)$", text, flags=re.M)


def options_of(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def subcommand(group: click.Group, name: str) -> click.Command:
    found = group.get_command(click.Context(group), name)
    assert found is not None
    return found


def section(title: str) -> str:
    return README.split(f" {title}\n", 1)[1].split("\n#", 1)[0]


def first_cells(text: str) -> list[list[str]]:
    """The words in code type of the first cell of each row."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return [re.findall(r"`([^`]+)`", cell) for cell in rows]


@pytest.mark.parametrize("line", command_lines())
def test_a_command_that_is_shown_can_be_typed(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    if words == ["--help"]:
        return
    command = resolve(COMMANDS[words.pop(0)][0])
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = subcommand(command, words.pop(0))
    known = options_of(command)
    assert {word for word in words if word.startswith("-") and word != "-"} <= known
    for option, value in itertools.pairwise(words):
        if option == "--variant" and not value.endswith(".toml"):
            recipe = named_recipe(value)
            assert f"{recipe.format}/{recipe.delegate}" in DELEGATES
        if option == "--for":
            load_profile(value)


def test_enough_is_shown() -> None:
    shown = {line.split()[1] for line in command_lines()}
    assert shown >= {"convert", "profile", "report", "bundle", "inspect", "doctor", "demo"}


def test_every_delegate_stands_in_the_table() -> None:
    told = {
        cell[0].removesuffix("…").removesuffix("-")
        for cell in first_cells(section("Delegates"))
        if cell
    }
    meant = set()
    for key in DELEGATES:
        form, _, delegate = key.partition("/")
        prefix = next(name for name, format_ in PREFIXES.items() if format_ == form)
        usual = delegate == USUAL_DELEGATE[form]  # type: ignore[index]
        meant.add("-".join(part for part in (prefix, "" if usual else delegate) if part))
    assert told == meant


def test_every_kind_of_numbers_stands_in_the_table() -> None:
    assert [cell[0] for cell in first_cells(section("Variants")) if cell] == list(KINDS)


def test_every_extra_stands_in_the_table() -> None:
    told = [name for cell in first_cells(section("Try it: two commands")) for name in cell]
    assert set(told) == set(EXTRAS) - OWN


def test_every_board_stands_in_the_table() -> None:
    told = set(re.findall(r"`([a-z0-9_-]+)`", section("Boards").split("`edgekit", 1)[0]))
    assert told == {profile.name for profile in all_profiles()}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(--[a-z-]+)", README))))
def test_an_option_that_is_told_of_is_one_of_a_commands(name: str) -> None:
    commands = [resolve(where) for where, _ in COMMANDS.values()]
    for group in [command for command in commands if isinstance(command, click.Group)]:
        commands += [subcommand(group, each) for each in group.list_commands(click.Context(group))]
    commands.append(resolve("edgekit.cli.bundle:make"))  # of a build, which is no sub-command
    assert any(name in options_of(command) for command in commands)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_a_link_leads_somewhere(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"tools/\w+\.py", README))))
def test_a_tool_that_is_named_is_there(name: str) -> None:
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?\bmake ([a-z-]+)", README))))
def test_a_target_of_make_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.M)


def test_a_missing_package_is_told_with_an_extra_that_is_there() -> None:
    assert set(EXTRA_OF.values()) <= set(EXTRAS)


def test_what_the_tests_need_includes_every_extra_that_pip_can_bring() -> None:
    needed = {name for line in EXTRAS["test"] for name in _extras(line)}
    needed |= {name for line in EXTRAS["demo"] for name in _extras(line)}
    assert needed >= set(EXTRAS) - OWN - {"board", "board-legacy"}


def _extras(requirement: str) -> list[str]:
    found = re.fullmatch(r"edgekit\[(.*)\]", requirement)
    return found[1].split(",") if found else []
