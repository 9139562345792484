from __future__ import annotations

import re

import pytest

from edgekit.core import errors
from edgekit.core.errors import EdgekitError, UnknownNameError


def subclasses(cls: type[EdgekitError]) -> list[type[EdgekitError]]:
    return [cls, *(deeper for sub in cls.__subclasses__() for deeper in subclasses(sub))]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = dict(re.findall(r"(\w+Error)\s+(\d+)", errors.__doc__ or ""))
    ours = [cls for cls in subclasses(EdgekitError) if cls.__module__ == errors.__name__]
    assert drawn == {cls.__name__: str(cls.exit_code) for cls in ours}


@pytest.mark.parametrize("cls", subclasses(EdgekitError), ids=lambda cls: cls.__name__)
def test_every_error_crosses_a_process_boundary(cls: type[EdgekitError]) -> None:
    if cls is UnknownNameError:
        error: EdgekitError = UnknownNameError("board", "pi", ["pi-4", "pi-5"])
    else:
        error = cls("what is wrong", hint="what to do", log="a.log")
    again = EdgekitError.from_json(error.to_json())
    assert type(again) is cls
    assert str(again) == str(error)


def test_an_unknown_name_comes_with_the_nearest() -> None:
    error = UnknownNameError("board", "raspbery-pi5", ["raspberry-pi-5", "jetson"])
    assert "raspberry-pi-5" in str(error)
    assert "jetson" not in str(error)


def test_a_name_like_nothing_gets_the_whole_list() -> None:
    assert "known: a, b" in str(UnknownNameError("board", "zzz", ["b", "a"]))
