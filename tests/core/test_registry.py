from __future__ import annotations

from pathlib import Path

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
        ("mk.py:foo", "write mk:foo"),
        ("tools/mk.py:foo", "write mk:foo, in the folder 'tools'"),
    ],
)
def test_a_reference_that_leads_nowhere(reference: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(reference)
    assert says in str(caught.value)


def test_a_function_named_by_its_file_is_refused_before_the_file_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mk_by_file.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="names a file"):
        resolve("mk_by_file.py:foo")
