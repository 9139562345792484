"""Exceptions of others in words: on one line, with the user's own line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.core.failures import is_library, named, place, said


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
