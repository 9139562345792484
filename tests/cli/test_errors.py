"""Wrong words on the command line: one or two lines, the right exit code, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.samples import write_build
from tests.tiny_tflite import dense_model


def make(desk: Path) -> None:
    (desk / "text.keras").write_text("not a model")
    (desk / "empty.h5").write_bytes(b"")
    with zipfile.ZipFile(desk / "zip.keras", "w") as archive:
        archive.writestr("hello", "a zip, but not Keras'")
    (desk / "folder").mkdir()
    (desk / "notes.txt").write_text("kept")
    (desk / "blank.txt").write_text("\n \n")
    (desk / "twice.txt").write_text("cat\ndog\n\ncat\n")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["convert", "text.keras", "--for", "rasbery-pi-5"], 2, "did you mean raspberry-pi-5"),
        (["convert", "text.keras"], 2, "--for"),
        (["convert", "text.keras", "--for", "host", "--variant", "int7"], 2, "int8"),
        (["convert", "text.keras", "--for", "host", "--variant", "float32"], 3, "text.keras"),
        (["convert", "empty.h5", "--for", "host", "--variant", "float32"], 3, "empty.h5"),
        (["convert", "zip.keras", "--for", "host", "--variant", "float32"], 3, "zip.keras"),
        (["convert", "no.keras", "--for", "host"], 3, "no.keras"),
        (["convert", "folder", "--for", "host"], 3, "folder"),
        (["convert", "no.such.module:f", "--for", "host", "--variant", "float32"], 2, "no module"),
        (["convert", "mk.py:f", "--for", "host", "--variant", "float32"], 2, "write mk:f"),
        (["convert", "a/mk.py:f", "--for", "host", "--variant", "float32"], 2, "write mk:f"),
        (["convert", "keras:os:f", "--for", "host", "--calibration", "mk.py:f"], 2, "write mk:f"),
        (["convert", "text.keras", "--for", "host", "--shape", "image"], 2, "NAME=SIZES"),
        (["convert", "text.keras", "--for", "host", "--max-drop", "-1"], 2, "max-drop"),
        (["convert", "text.keras", "--for", "host", "--max-drop", "nan"], 2, "max_drop = nan"),
        (["convert", "text.keras", "--for", "host", "--preprocess", "resise=1x1"], 2, "resize"),
        (
            ["convert", "text.keras", "--for", "host", "--labels", "no.txt"],
            2,
            "in 'no.txt': No such file or directory\n",
        ),
        (["convert", "text.keras", "--for", "host", "--labels", "blank.txt"], 2, "line 1 is empty"),
        (["convert", "text.keras", "--for", "host", "--labels", "twice.txt"], 2, "line 4, 'cat'"),
        (["convert", "text.keras", "--for", "host", "--labels", "folder"], 2, "Is a directory"),
        (["profile", "folder", "--on", "local"], 3, "is not a build"),
        (["profile", "folder"], 2, "--on"),
        (["profile", "folder", "--on", "local", "--sweep", "power=1"], 3, "is not a build"),
        (["profile", "folder", "--on", "local", "--sustained", "long"], 2, "write 90s, 10m or 1h"),
        (["profile", "folder", "--on", "local", "--sustained", "0s"], 2, "write 90s, 10m or 1h"),
        (["profile", "folder", "--on", "local", "--precision", "0"], 2, "write 1% or 0.01"),
        (["profile", "folder", "--on", "local", "--budget", "5m"], 2, "add --precision 1%"),
        (
            ["profile", "folder", "--on", "local", "--sustained", "5m", "--min-seconds", "1"],
            2,
            "it takes no --min-seconds",
        ),
        (["report", "notes.txt"], 3, "is not a build"),
        (
            ["run", "folder", "--on", "local", "--on", "ssh://pi", "--input", "cat.jpg"],
            2,
            "run takes one board",
        ),
        (["bundle", "folder", "-o", "out"], 3, "is not a build"),
        (["verify", "folder"], 8, "folder"),
        (["verify", "nowhere"], 3, "nowhere"),
        (["devices", "pi"], 2, "no device profile"),
        (["devices", "prob", "local"], 2, "did you mean probe?"),
        (["devices", "probe", "kitchen-pi"], 2, "no board called 'kitchen-pi'"),
        (["clean", "--keep", "-1"], 2, "keep"),
        (["covnert"], 2, "did you mean convert"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_it_says_what_is_wrong_and_what_to_do(
    edgekit: Run, desk: Path, arguments: list[str], code: int, says: str
) -> None:
    make(desk)
    before = sorted(desk.rglob("*"))
    answer = edgekit(*arguments)
    assert answer.code == code, answer.err
    assert says in answer.err
    assert "Traceback" not in answer.err
    complaint = answer.err[answer.err.index("error:") :].strip().splitlines()
    assert 1 <= len(complaint) <= 3
    assert sorted(desk.rglob("*")) == before


@pytest.mark.slow
def test_the_plan_alone_finds_an_unwritable_place(edgekit: Run, desk: Path, keras3: Path) -> None:
    command = ["convert", keras3 / "cnn.keras", "--for", "host", "--variant", "float32", "--plan"]
    assert edgekit(*command).code == 0
    refused = edgekit(*command, "-o", "/proc/build")
    assert refused.code == 9
    assert "/proc/build" in refused.err
    assert list(desk.iterdir()) == []


def test_a_folder_that_is_no_build_is_never_replaced(edgekit: Run, desk: Path) -> None:
    make(desk)
    (desk / "folder" / "precious").write_text("precious")
    answer = edgekit(
        "convert", "zip.keras", "--for", "host", "--variant", "float32", "-o", "folder"
    )
    assert answer.code in (3, 9)
    assert (desk / "folder" / "precious").read_text() == "precious"


@pytest.mark.slow
def test_what_is_replaced_is_said_before(edgekit: Run, desk: Path) -> None:
    write_build(desk / "build")
    for name in ("digits", "faces"):
        dense_model(desk / f"{name}.tflite")
    common = ("--for", "host", "--variant", "original", "-o", "build", "--plan")

    said = edgekit("convert", "digits.tflite", *common)
    refused = edgekit("convert", "faces.tflite", *common)
    replaced = edgekit("convert", "faces.tflite", *common, "--replace")

    assert said.code == 0, said.err
    assert "build: the build of 2026-03-14 09:26:53 (digits for Raspberry Pi 5) is " in said.err
    assert refused.code == 9
    assert "another model, 'digits'" in refused.err
    assert replaced.code == 0
    assert "(digits for Raspberry Pi 5) is replaced" in replaced.err


def test_a_path_that_is_no_text_is_refused(edgekit: Run, desk: Path) -> None:
    given = edgekit("report", os.fsdecode(b"caf\xe9"))
    folder = desk / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    inside = edgekit("report", "build", cwd=folder)
    for answer in (given, inside):
        assert answer.code == 2
        assert "caf\ufffd' is not UTF-8 text" in answer.err
        assert "Traceback" not in answer.err


@pytest.mark.parametrize(("encoding", "gained"), [("ascii", "+-"), ("latin-1", "±")])
def test_an_encoding_without_a_minus_keeps_the_sign(
    desk: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, gained: str
) -> None:
    write_build(desk / "build")
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", "report", "build"],
        cwd=desk, capture_output=True, check=True,
    )  # fmt: skip
    text = done.stdout.decode(encoding)
    assert " -0.55 " in text
    assert f" {gained}0 " in text


def test_help_without_a_command_is_no_error(edgekit: Run) -> None:
    answer = edgekit()
    assert answer.code == 0
    assert "convert" in answer.out + answer.err


def test_a_page_that_cannot_be_written_is_said_before_the_report(edgekit: Run, desk: Path) -> None:
    write_build(desk / "build")
    refused = edgekit("report", "build", "--html", "build")
    assert refused.code == 9
    assert refused.out == ""
    assert "'build' is a folder, not a file" in refused.err
    assert edgekit("report", "build", "--html", "/proc/page.html").out == ""
