"""An INT8 ``.tflite`` → one for Ethos-U, by Vela in a process of its own. Runs in a worker.

Vela puts one operator called ``ethos-u`` in the place of each piece of the graph that the NPU
takes; the others stay as they are, under their names. Its listing has a line for each part of an
operator, of which one that stays is called "Passthrough".
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekit.core.description import CPU, Coverage, Node
from edgekit.core.errors import ConversionError, WorkerError
from edgekit.core.files import sha256_file
from edgekit.export import flatbuffer
from edgekit.export.delegates.tflite_nodes import nodes, placed
from edgekit.export.delegates.tflite_results import result_of, with_signature
from edgekit.export.delegates.vela_summary import rows, sentences

FILE = "model.tflite"
BEFORE = "before.tflite"
LOG = "vela.log"
OPERATOR = "ethos-u"
TIMEOUT_SECONDS = 1500


def compile_model(
    out: Path,
    *,
    accelerator: str,
    system_config: str,
    memory_mode: str,
    config: str,
    border: str,
    made: str,
) -> dict[str, Any]:
    """Make ``model.tflite``; what comes back is said by `Exporter.step`.

    Raises:
        ConversionError: Vela fails, or its file is not what it says.
    """
    given = result_of(made)
    shutil.copyfile(Path(made) / given["files"][0], out / BEFORE)
    folder = out / "vela"
    argv = [
        sys.executable, "-P", "-m", "ethosu.vela", str(out / BEFORE),
        "--output-dir", str(folder), "--accelerator-config", accelerator, "--config", config,
        "--system-config", system_config, "--memory-mode", memory_mode, "--verbose-performance",
    ]  # fmt: skip
    _run(argv, out / LOG)
    stem = Path(BEFORE).stem
    (folder / f"{stem}_vela.tflite").replace(out / FILE)
    summary = rows(folder / f"{stem}_summary_{system_config}.csv")[0]
    listing = rows(folder / f"{stem}_per-layer.csv")
    shutil.rmtree(folder)

    before = flatbuffer.read(out / BEFORE)
    signature = with_signature(out / FILE, flatbuffer.signature(before))
    after = flatbuffer.read(out / FILE)
    coverage = _coverage(nodes(before), nodes(after), listing)
    tool = f"Vela {version('ethos-u-vela')}"
    return {
        "files": [FILE],
        "signature": signature.to_json(),
        "way": f"{given['way']}, then {tool} for {accelerator}",
        "parent": sha256_file(out / BEFORE),
        "sha256": sha256_file(out / FILE),
        "tools": [*given.get("tools", []), "ethos-u-vela"],
        "notes": [*given.get("notes", []), *_notes(tool, summary, coverage, border)],
        "coverage": coverage.to_json(),
        "stand_in": {"file": BEFORE, "format": "tflite", "what": "the INT8 file before Vela"},
    }


def _run(argv: list[str], log: Path) -> None:
    """Run Vela with its words in `log`.

    Raises:
        ConversionError: it says that it failed; its last words.
        WorkerError: it crashed or took too long.
    """
    with log.open("w", encoding="utf-8") as words:
        try:
            done = subprocess.run(
                argv, stdout=words, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                timeout=TIMEOUT_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as exc:
            raise WorkerError(f"Vela took longer than {exc.timeout:.0f} s and was stopped") from exc
    if done.returncode == 0:
        return
    lines = [x.strip() for x in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    last = next((line for line in reversed(lines) if line), "it said nothing")[:300]
    if done.returncode < 0:
        raise WorkerError(f"Vela was killed by signal {-done.returncode}: {last}")
    raise ConversionError(f"Vela failed: {last}")


def _coverage(before: list[Node], after: list[Node], listing: list[dict[str, str]]) -> Coverage:
    """Where each operator runs, as Vela's file shows; its listing has to agree.

    Raises:
        ConversionError: it does not.
    """
    left = [node for node in after if node.operator != OPERATOR]
    found = placed(before, left, OPERATOR)
    said = sum(row["Target"] == "CPU" for row in listing)
    if found is None or said != len(left):
        raise ConversionError(
            f"Vela lists {said} operators on the CPU, its file has {len(left)}: "
            f"{', '.join(node.operator for node in left)[:200]}"
        )
    return Coverage(
        nodes=tuple(found),
        partitions=len(after) - len(left),
        source=f"Vela {version('ethos-u-vela')}'s listing and its file",
    )


def _notes(tool: str, summary: dict[str, str], coverage: Coverage, border: str) -> list[str]:
    left = coverage.left(OPERATOR)
    if not coverage.partitions:
        names = ", ".join(dict.fromkeys(node.operator for node in left))
        return [f"{tool} takes nothing of it; on the CPU are {names}"]
    notes = sentences(tool, summary)
    if left:
        names = ", ".join(dict.fromkeys(node.operator for node in left))
        why = (
            "; with int8-io the application converts, and none of these is needed"
            if border == "float" and {node.operator for node in left} <= {"QUANTIZE", "DEQUANTIZE"}
            else ""
        )
        notes.append(f"{len(left)} operators stay on the {CPU.upper()}: {names}{why}")
    return notes
