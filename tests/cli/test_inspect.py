"""`edgekit inspect`: a file as a person looks at it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edgekit as package
from tests.cli.conftest import Run
from tests.tiny_tflite import dense_model


@pytest.mark.slow
def test_it_shows_a_file_and_remembers_it(edgekit: Run, desk: Path, fresh_cache: Path) -> None:
    dense_model(desk / "tiny.tflite", quantized=True)
    first = edgekit("inspect", "tiny.tflite")
    assert first.code == 0, first.err
    assert "tiny.tflite  TFLite" in first.out
    assert "FULLY_CONNECTED" in first.out
    assert "int8 weights per tensor, int8 activations" in first.out
    (result,) = (fresh_cache / "steps").rglob("_result.json")
    # What is known is not looked for again: another answer would come from the kept one alone.
    result.write_text(result.read_text().replace("FULLY_CONNECTED", "AS_REMEMBERED"))
    again = edgekit("inspect", "tiny.tflite")
    assert "AS_REMEMBERED" in again.out
    (desk / "moved").write_bytes((desk / "tiny.tflite").read_bytes())
    assert "AS_REMEMBERED" in edgekit("inspect", "moved").out


def test_json_has_a_schema(edgekit: Run, desk: Path) -> None:
    dense_model(desk / "tiny.tflite")
    document = json.loads(edgekit("inspect", "--json", "tiny.tflite").out)
    assert (document["schema"], document["format"], document["macs"]) == (1, "tflite", 12)
    assert document["signatures"][0]["inputs"][0]["name"] == "x"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text.txt", b"only words, and enough of them", "no file of a format that edgekit knows"),
        ("empty.onnx", b"", "is empty"),
        ("cut.tflite", b"\x1c\0\0\0TFL3\x14\0", "damaged or truncated .tflite"),
        ("cut.pte", b"\x1c\0\0\0ET12\x14\0", "damaged or truncated .pte"),
        ("cut.pt2", b"PK\x03\x04\0\0", "damaged or truncated .pt2"),
        ("cut.onnx", b"\x08\x0a\x3a\xff\xff", "damaged or truncated .onnx"),
        ("cut.keras", b"PK\x03\x04\0\0", "damaged or truncated .keras"),
    ],
)
def test_what_is_no_model_is_told_in_a_line(
    edgekit: Run, desk: Path, name: str, content: bytes, words: str
) -> None:
    (desk / name).write_bytes(content)
    answer = edgekit("inspect", name)
    assert answer.code == 3
    assert words in answer.err
    assert "Traceback" not in answer.err
    assert len(answer.err.strip().splitlines()) <= 3
    assert answer.out == ""


def test_a_file_that_is_not_there_and_a_folder_of_nothing(edgekit: Run, desk: Path) -> None:
    gone = edgekit("inspect", "gone.tflite")
    assert gone.code == 3
    assert "there is no file 'gone.tflite'" in gone.err
    (desk / "folder").mkdir()
    folder = edgekit("inspect", "folder")
    assert folder.code == 3
    assert "no folder of a format that edgekit knows" in folder.err
    assert "edgekit inspect reads .tflite, .pte, .onnx" in folder.err


def test_from_python(tmp_path: Path) -> None:
    found = package.inspect(dense_model(tmp_path / "tiny.tflite"))
    assert (found.format, found.macs, found.parameters) == ("tflite", 12, 15)
