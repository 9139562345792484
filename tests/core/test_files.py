from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import OutputError
from edgekit.core.files import (
    check_file,
    is_safe_relative,
    readable_bytes,
    replaced_folder,
    sha256_path,
    write_text,
    zipped_bytes,
)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def interrupted() -> None:
        with replaced_folder(target) as scratch:
            (scratch / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_an_older_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for name in ("old", "new"):
        with replaced_folder(target) as scratch:
            (scratch / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_leaves_the_older_folder(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with replaced_folder(target) as scratch:
        (scratch / "old").write_text("old")
    with pytest.raises(ValueError, match="boom"), replaced_folder(target) as scratch:
        raise ValueError("boom")
    assert [path.name for path in target.iterdir()] == ["old"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_text(tmp_path / "file" / "x", "text")
    with pytest.raises(OutputError, match="cannot write"), replaced_folder(tmp_path / "file" / "x"):
        pass


def test_the_digest_of_a_folder_sees_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = sha256_path(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = sha256_path(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, sha256_path(tmp_path)}) == 3


@pytest.mark.parametrize(
    "name", ["", "/etc/x", "../x", "a/../x", "a//b", "./a", "a/", "a\\b", "a\0b", ".", ".."]
)
def test_names_that_could_leave_their_folder(name: str) -> None:
    assert not is_safe_relative(name)


@given(st.text(min_size=1, max_size=40))
def test_a_safe_name_stays_inside(name: str) -> None:
    if is_safe_relative(name):
        assert os.path.normpath(f"/base/{name}").startswith("/base/")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (14_000_000, "14.0 MB"), (2_500_000_000, "2.50 GB")],
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert readable_bytes(count) == text


def test_a_file_that_could_not_be_written_is_known_before(tmp_path: Path) -> None:
    check_file(tmp_path / "new" / "below" / "page.html", hint="")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="is a folder, not a file\\nname a file"):
        check_file(tmp_path, hint="name a file")
    (tmp_path / "file").write_text("kept")
    check_file(tmp_path / "file", hint="")
    with pytest.raises(OutputError, match="cannot write"):
        check_file(tmp_path / "file" / "below", hint="")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_file_is_zipped_in_pieces_as_in_one(tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    content = bytes(range(256)) * 10_000 + os.urandom(1000)
    (tmp_path / "file").write_bytes(content)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        archive.write(tmp_path / "file", "file")
        known = archive.getinfo("file").compress_size
    assert zipped_bytes(tmp_path / "file") == known
