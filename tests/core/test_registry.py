from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.registry import Registry, find_module, resolve

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


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("def classifier(): ...\nwidth = 1", "clasifier", "did you mean classifier?"),
        ("def classifier(): ...\nwidth: int = 1", "a", "known: classifier, width"),
        ("", "classifier.large", "known: none"),
    ],
)
def test_a_name_that_a_module_lacks_is_told_before_the_module_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str, says: str
) -> None:
    (tmp_path / "nets_read.py").write_text(f"raise SystemExit('it ran')\n{text}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match="no function in nets_read called") as caught:
        find_module(f"nets_read:{name}")
    assert says in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "if True:\n    made = 1",
        "from elsewhere import *",
        "def __getattr__(name): ...",
        "globals().update(mad=1)",
    ],
)
def test_a_name_that_a_module_may_have_is_left_to_its_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "nets_made.py").write_text(text)
    (tmp_path / "nets_package").mkdir()
    (tmp_path / "nets_package" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    assert find_module("nets_made:made").name == "nets_made"
    assert find_module("nets_package:made").name == "nets_package"
