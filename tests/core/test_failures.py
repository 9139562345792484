"""Exceptions of others in words: on one line, with the user's own line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.core.failures import is_library, named, place, said, size_constraint


def raised(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever it is
        call()
    return caught.value


def test_messages_come_on_one_line() -> None:
    exc = ValueError("first \n\n  second\n")
    assert said(exc) == "first second"
    assert named(exc) == "ValueError: first second"
    assert (said(KeyError()), named(KeyError())) == ("KeyError", "KeyError")
    assert (len(said(ValueError("x" * 999))), len(said(ValueError("x" * 999), 20))) == (300, 20)


def test_the_place_is_the_users_last_line_and_not_a_librarys() -> None:
    found = place(raised(lambda: json.loads("{")))
    assert found.startswith("test_failures.py:")
    assert found.endswith(" in <lambda>")


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    assert place(ValueError("made")) == ""


def test_whose_a_file_is(tmp_path: Path) -> None:
    assert is_library(json.__file__)
    assert is_library("<frozen importlib._bootstrap>")
    assert is_library(str(Path(said.__code__.co_filename)))
    assert not is_library(str(tmp_path / "net.py"))


GUARD = """Constraints violated (d0)! For more information, run with TORCH_LOGS="+dynamic".
  - Not all values of d0 = L['x'].size()[1] in the specified range 8 <= d0 <= 64 satisfy the \
generated guard (L['x'].size()[1] % 4) == 0."""
CONSTANT = """Constraints violated (d0)! For more information, run with TORCH_LOGS="+dynamic".
  - You marked d0 as dynamic but your code specialized it to be a constant (64)."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GUARD, "it takes only sizes with (x.1 % 4) == 0"),
        (CONSTANT, "it holds to a size of 64"),
        ("Constraints violated (d0)!", "it does not take all of them"),
        ("something else", ""),
    ],
)
def test_the_sizes_that_are_not_taken_are_named(text: str, words: str) -> None:
    assert size_constraint(text) == words
