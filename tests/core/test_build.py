"""Builds are read with care: anybody may have made the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.build import BUILD_FILE, Build, load_build
from edgekit.core.errors import InputError, RejectedError, UnknownNameError, UsageError
from edgekit.core.result import Estimate, Result
from tests.samples import result, write_build


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_build(tmp_path / "build")
    return tmp_path / "build"


def first_file(folder: Path) -> Path:
    artifact = load_build(folder).variants[0].artifact
    assert artifact is not None
    return folder / artifact.files[0].path


def test_a_build_is_read_from_its_folder_or_its_file(folder: Path) -> None:
    assert load_build(folder) == load_build(folder / BUILD_FILE)
    assert load_build(folder).folder == folder


def test_the_best_one_is_int8_where_it_is_accepted(folder: Path) -> None:
    build = load_build(folder)
    assert build.preferred().variant.recipe.name == "int8"
    assert "rule of thumb" in build.preferred().why
    assert [v.recipe.name for v in build.choose()] == ["int8"]
    assert {v.verdict.status for v in build.choose(every=True)} == {"accepted"}
    assert [v.recipe.name for v in build.choose(["int8-io"])] == ["int8-io"]  # rejected, but named


def timed(build: Build, variant: str, median_ns: float, **settings: Any) -> Result:
    made = result(build, variant, **settings)
    summary = made.summary.model_copy(
        update={"median_ns": Estimate(value=median_ns), "findings": ()}
    )
    return made.model_copy(update={"summary": summary})


def test_the_fastest_is_preferred_where_the_board_was_measured(folder: Path) -> None:
    build = load_build(folder)
    slow, fast = timed(build, "int8", 3e6), timed(build, "float16", 2e6)

    def chosen(*results: Result) -> str:
        return build.preferred(results).variant.recipe.name

    assert chosen(slow, fast) == "float16"
    assert "fastest of 2 measured on raspberry-pi-5" in build.preferred([slow, fast]).why
    assert chosen(fast) == "int8"  # with nothing to compare it with
    assert chosen(slow, timed(build, "float16", 2e6, device="local")) == "int8"
    assert chosen(slow, timed(build, "float16", 2e6, emulated=True)) == "int8"
    assert chosen(slow, timed(build, "int8-io", 1e6)) == "int8"  # that was rejected
    other = fast.measurement.model_copy(update={"artifact_sha256": "0" * 64})
    assert chosen(slow, fast.model_copy(update={"measurement": other})) == "int8"


def test_a_quantized_file_that_is_larger_than_float32_is_not_preferred(tmp_path: Path) -> None:
    sizes = {"float32": 900, "int8": 1000, "float16": 700}
    build = write_build(tmp_path, variants=tuple(sizes), artifact_bytes=sizes, failures=False)

    assert build.preferred().variant.recipe.name == "float16"
    assert build.preferred().why.endswith("int8 is larger than float32")
    measured = [timed(build, "int8", 1e6), timed(build, "float32", 2e6)]
    assert build.preferred(measured).variant.recipe.name == "float16"  # one left to compare


def test_wrong_choices(folder: Path) -> None:
    build = load_build(folder)
    with pytest.raises(UnknownNameError, match="int8"):
        build.choose(["int7"])
    with pytest.raises(UsageError, match="exclude each other"):
        build.choose(["int8"], every=True)
    none = build.model_copy(
        update={"variants": tuple(v for v in build.variants if v.verdict.status != "accepted")}
    )
    with pytest.raises(RejectedError, match="no accepted artifact"):
        none.choose()


def test_a_changed_or_missing_file_is_named(folder: Path) -> None:
    file = first_file(folder)
    data = file.read_bytes()
    file.write_bytes(data[:-1] + b"?")
    with pytest.raises(InputError, match="was changed after the build"):
        load_build(folder)
    file.unlink()
    with pytest.raises(InputError, match="is missing"):
        load_build(folder)


def test_a_link_out_of_the_build_is_not_followed(folder: Path, tmp_path: Path) -> None:
    file = first_file(folder)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a link out of the build"):
        load_build(folder)


def test_a_path_that_leaves_the_build_is_not_followed(folder: Path) -> None:
    text = (folder / BUILD_FILE).read_text()
    name = first_file(folder).relative_to(folder).as_posix()
    (folder / BUILD_FILE).write_text(text.replace(name, f"../{folder.name}/{name}"))
    with pytest.raises(InputError, match="is missing"):
        load_build(folder)


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / BUILD_FILE).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is not a build"):
        load_build(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '"\\ud800"', "nonsense"])
def test_what_is_no_json_is_no_build(tmp_path: Path, text: str) -> None:
    (tmp_path / BUILD_FILE).write_text(text)
    with pytest.raises(InputError, match="is not a build"):
        load_build(tmp_path)


def test_a_build_that_is_cut_off_is_told_as_damaged(folder: Path) -> None:
    whole = (folder / "build.json").read_text()
    (folder / "build.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"its build\.json is damaged, .* line \d+"):
        load_build(folder)
    with pytest.raises(InputError, match=r"no readable build\.json"):
        load_build(folder / "artifacts")


def test_an_unknown_key_is_refused(folder: Path) -> None:
    data = json.loads((folder / BUILD_FILE).read_text())
    (folder / BUILD_FILE).write_text(json.dumps({**data, "surprise": 1}))
    with pytest.raises(UsageError, match="surprise"):
        load_build(folder)
