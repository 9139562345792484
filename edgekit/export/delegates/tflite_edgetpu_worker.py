"""An INT8 ``.tflite`` → one for the Edge TPU, by Google's compiler. Runs in a worker.

The compiler writes ``<name>_edgetpu.tflite``, in which one operator, ``edgetpu-custom-op``, stands
for what the Edge TPU takes, and says of every kind of operator how many it took and why not the
others:

    Operator                       Count      Status

    TRANSPOSE                      70         Operation not supported
    CONV_2D                        12         Mapped to Edge TPU
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.description import CPU, Coverage, Node
from edgekit.core.errors import ConversionError, WorkerError
from edgekit.core.files import sha256_file
from edgekit.export import flatbuffer
from edgekit.export.delegates.tflite_nodes import nodes, placed
from edgekit.export.delegates.tflite_results import result_of, with_signature

FILE = "model.tflite"
BEFORE = "before.tflite"
LOG = "edgetpu_compiler.log"
OPERATOR = "edgetpu-custom-op"
NAME = "edgetpu"
MAPPED = "Mapped to Edge TPU"
COMPILER_SECONDS = 1500

_ROW = re.compile(r"^([A-Z][A-Z0-9_]*) +(\d+) +(\S.*?)\s*$", re.MULTILINE)
_MEMORY = re.compile(r"^(On-chip memory used|Off-chip memory used)[^:]*: (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """A line of the compiler's table."""

    operator: str
    count: int
    status: str


def compile_model(
    out: Path, *, program: str, version: str, oldest: str, made: str
) -> dict[str, Any]:
    """Make ``model.tflite``; what comes back is said by `Exporter.step`.

    Raises:
        ConversionError: the compiler fails, or its file is not what it says.
    """
    given = result_of(made)
    shutil.copyfile(Path(made) / given["files"][0], out / BEFORE)
    argv = [program, "-s", "-o", str(out), "-t", str(COMPILER_SECONDS)]
    if oldest:
        argv += ["-m", oldest]
    text = _run([*argv, str(out / BEFORE)], out / LOG)
    compiled = out / f"{Path(BEFORE).stem}_edgetpu.tflite"
    if not compiled.is_file():
        raise ConversionError(f"{Path(program).name} wrote no {compiled.name}")
    compiled.replace(out / FILE)
    (out / f"{Path(BEFORE).stem}_edgetpu.log").unlink(missing_ok=True)

    before = flatbuffer.read(out / BEFORE)
    signature = with_signature(out / FILE, flatbuffer.signature(before))
    after = flatbuffer.read(out / FILE)
    coverage = _coverage(nodes(before), nodes(after), read_table(text), version)
    return {
        "files": [FILE],
        "signature": signature.to_json(),
        "way": f"{given['way']}, then Edge TPU Compiler {version}",
        "parent": sha256_file(out / BEFORE),
        "sha256": sha256_file(out / FILE),
        "tools": given.get("tools", []),
        "notes": [*given.get("notes", []), *_notes(text)],
        "coverage": coverage.to_json(),
        "stand_in": {
            "file": BEFORE,
            "format": "tflite",
            "what": "the INT8 file before the Edge TPU compiler",
        },
    }


def _run(argv: list[str], log: Path) -> str:
    name = Path(argv[0]).name
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            timeout=COMPILER_SECONDS + 60, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise WorkerError(f"{name} took longer than {exc.timeout:.0f} s and was stopped") from exc
    except OSError as exc:
        raise WorkerError(f"cannot start {argv[0]!r}: {exc.strerror}") from exc
    text = done.stdout + done.stderr
    log.write_text(text, encoding="utf-8")
    if done.returncode < 0:
        raise WorkerError(f"{name} was killed by signal {-done.returncode}")
    if done.returncode != 0:
        raise ConversionError(f"{name} failed: {_reason(text)}")
    return text


def _reason(text: str) -> str:
    """Its line that says what is wrong ("Invalid model: …"), or its last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.match(r"(?i)(error|invalid|internal)", line)]
    return (telling or lines or ["it said nothing"])[-1][:300]


def read_table(text: str) -> list[Row]:
    """The rows of the table of operators."""
    table = text.partition("Operator  ")[2]
    return [Row(op, int(count), status) for op, count, status in _ROW.findall(table)]


def _coverage(before: list[Node], after: list[Node], table: list[Row], version: str) -> Coverage:
    """Where each operator runs, as the compiler's file shows; its table has to agree.

    Raises:
        ConversionError: it does not.
    """
    left = [node for node in after if node.operator != OPERATOR]
    found = placed(before, left, NAME)
    said: Counter[str] = Counter()
    for row in table:
        said[row.operator] += 0 if row.status == MAPPED else row.count
    stay = Counter(node.operator for node in left)
    if found is None or +said != stay or not table:
        raise ConversionError(
            f"the Edge TPU compiler lists {_counted(+said)} on the CPU, its file has "
            f"{_counted(stay)}"
        )
    return Coverage(
        nodes=tuple(found),
        partitions=len(after) - len(left),
        source=f"Edge TPU Compiler {version}'s table and its file",
    )


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing"


def _notes(text: str) -> list[str]:
    notes = [f"{what.lower()}: {size}" for what, size in _MEMORY.findall(text)]
    notes += [
        f"{row.count} {row.operator} stay on the {CPU.upper()}: {row.status}"
        for row in read_table(text)
        if row.status != MAPPED
    ]
    return notes
