"""The runner in Python as one file: what is in it, when it is made anew, that Python runs it."""

from __future__ import annotations

import ast
import graphlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgekit.core import bench
from edgekit.core.bench import PACKAGE, bench_digest, bench_program, programs_dir
from edgekit.core.errors import OutputError
from edgekit.core.files import sha256_file
from tests.tiny_tflite import dense_model

pytestmark = pytest.mark.usefixtures("fresh_cache")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources that is taken in their place, newer than they are."""
    copy = shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, copy_function=shutil.copyfile)
    monkeypatch.setattr(bench, "PACKAGE", copy)
    return copy


def test_it_holds_the_package_and_nothing_else() -> None:
    with zipfile.ZipFile(bench_program()) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
    assert list(held) == sorted(held)
    sources = {f"edgekit_bench/{path.name}": path.read_bytes() for path in PACKAGE.glob("*.py")}
    sources["__main__.py"] = sources.pop("edgekit_bench/__main__.py")
    assert held == sources


def test_the_same_sources_give_the_same_bytes(package: Path) -> None:
    made = bench_program().read_bytes()
    os.utime(package / "main.py", (0, 0))
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__" / "main.cpython-38.pyc").write_bytes(b"compiled")
    bench_program().unlink()
    assert bench_program().read_bytes() == made
    assert bench_digest() == sha256_file(bench_program())


def test_it_is_made_once_and_anew_when_a_source_changes(package: Path) -> None:
    first = bench_program()
    made = first.stat()
    assert (bench_program(), first.stat()) == (first, made)
    (package / "main.py").write_text("# changed\n")
    second = bench_program()
    assert second != first
    assert zipfile.ZipFile(second).read("edgekit_bench/main.py") == b"# changed\n"
    assert first.stat() == made  # somebody may be sending it


def test_several_make_it_at_once() -> None:
    command = "from edgekit.core.bench import bench_program; print(bench_program())"
    makers = [
        subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE) for _ in range(4)
    ]
    told = {maker.communicate()[0].decode().strip() for maker in makers}
    assert told == {str(path) for path in programs_dir().iterdir()} == {str(bench_program())}
    assert sha256_file(bench_program()) == bench_digest()


def test_a_cache_folder_that_cannot_be_written(fresh_cache: Path) -> None:
    fresh_cache.write_text("a file")
    with pytest.raises(OutputError, match="cannot write") as caught:
        bench_program()
    assert "EDGEKIT_CACHE" in caught.value.hint


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_python_runs_it(form: str, tmp_path: Path) -> None:
    """As boards keep it: under a name without a suffix, beside whatever there is."""
    program = tmp_path / bench_digest()
    if form == "zip":
        shutil.copyfile(bench_program(), program)
    else:
        shutil.copytree(PACKAGE, program / "edgekit_bench")
        program = program / "edgekit_bench"
    for name in ("numpy", "edgekit_bench"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    job = {"protocol": 2, "model": str(dense_model(tmp_path / "a.tflite")), "streams": 2}
    done = subprocess.run(
        [sys.executable, program.name, "-"],
        cwd=program.parent,
        input=json.dumps(job).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert (events[0], events[-1], events.count("samples")) == ("hello", "done", 2)


def test_no_module_needs_one_that_needs_it() -> None:
    needs: dict[str, set[str]] = {}
    for source in PACKAGE.glob("*.py"):
        found = [
            node
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.level == 1
        ]
        needs[source.stem] = {node.module or "__init__" for node in found}
    assert needs["main"] >= {"job", "many_streams"}
    tuple(graphlib.TopologicalSorter(needs).static_order())  # raises CycleError
