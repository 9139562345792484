from __future__ import annotations

import pytest

from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.registry import Registry, resolve

THINGS = Registry("thing", {"path": "os.path:join"})


def test_a_plugin_is_imported_on_use() -> None:
    assert THINGS["path"]("a", "b") == "a/b"
    assert THINGS.names() == ["path"]


def test_an_unknown_plugin_names_the_kind_and_the_known() -> None:
    with pytest.raises(UnknownNameError, match="no thing called 'pth'; did you mean path"):
        THINGS["pth"]


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("nocolon", "not of the form"),
        (":x", "not of the form"),
        ("no.such.module:x", "no module called 'no'"),
        ("os:no_such_thing", "has no 'no_such_thing'"),
    ],
)
def test_a_reference_that_leads_nowhere(reference: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(reference)
    assert says in str(caught.value)
