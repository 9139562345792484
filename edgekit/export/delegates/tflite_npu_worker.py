"""A ``.tflite`` → one for an NPU, by LiteRT's ahead-of-time compilers. Runs in a worker.

LiteRT puts one operator, ``DISPATCH_OP``, in the place of each piece that the NPU takes, with the
maker's code in it. It runs its compiler in a process of its own and counts what was taken.
"""

from __future__ import annotations

import importlib
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekit.core.description import Coverage, Node
from edgekit.core.errors import ConversionError
from edgekit.core.files import sha256_file
from edgekit.export import flatbuffer
from edgekit.export.delegates.tflite_nodes import nodes, placed
from edgekit.export.delegates.tflite_results import result_of, with_signature

FILE = "model.tflite"
BEFORE = "before.tflite"
LOG = "compiler.log"
OPERATOR = "DISPATCH_OP"
NAME = "npu"

# "└ Could not load shared library …" and "ERROR: [file.cc:1] Failed to …".
_TELLING = re.compile(r"(?:└|ERROR: \[[^]]*\]) (?!ERROR: \[)(.+)")
_LOG_NAMED = re.compile(r"See (\S+\.error) for details")


def compile_model(out: Path, *, vendor: str, soc: str, made: str) -> dict[str, Any]:
    """Make ``model.tflite``; what comes back is said by `Exporter.step`.

    Raises:
        ConversionError: the maker's compiler fails, or its file is not what it says.
    """
    given = result_of(made)
    shutil.copyfile(Path(made) / given["files"][0], out / BEFORE)
    stats = _compile(out, vendor, soc)
    before = flatbuffer.read(out / BEFORE)
    signature = with_signature(out / FILE, flatbuffer.signature(before))
    coverage = _coverage(nodes(before), nodes(flatbuffer.read(out / FILE)), stats)
    return {
        "files": [FILE],
        "signature": signature.to_json(),
        "way": f"{given['way']}, then LiteRT {version('ai-edge-litert')}'s compiler for "
        f"{vendor} {soc}",
        "parent": sha256_file(out / BEFORE),
        "sha256": sha256_file(out / FILE),
        "tools": [*given.get("tools", []), "ai-edge-litert"],
        "notes": [*given.get("notes", []), f"it runs on {vendor} {soc} only"],
        "coverage": coverage.to_json(),
        "stand_in": {
            "file": BEFORE,
            "format": "tflite",
            "what": "the file before the NPU's compiler",
        },
    }


def _compile(out: Path, vendor: str, soc: str) -> list[Any]:
    """Make the file; LiteRT's counts for each graph."""
    from ai_edge_litert.aot.aot_compile import aot_compile

    # Each maker's backend enters LiteRT's list as its module is imported.
    importlib.import_module(f"ai_edge_litert.aot.vendors.{vendor}.{vendor}_backend")
    target = importlib.import_module(f"ai_edge_litert.aot.vendors.{vendor}.target")
    folder = out / "compiled"
    try:
        done = aot_compile(
            str(out / BEFORE),
            output_dir=folder,
            target=target.Target(target.SocModel(soc)),
            keep_going=False,
        )
    except (RuntimeError, ValueError, OSError, AssertionError) as exc:
        raise ConversionError(
            f"LiteRT's compiler for {vendor} {soc} failed: {_reason(exc, out / LOG)}"
        ) from exc
    if len(done.models) != 1:
        raise ConversionError(f"LiteRT's compiler for {vendor} made {len(done.models)} files")
    model = done.models[0]
    Path(model.path).replace(out / FILE)
    shutil.rmtree(folder)
    return model.partition_stats.subgraph_stats if model.partition_stats else []


def _reason(exc: BaseException, log: Path) -> str:
    """What the compiler said; LiteRT names a file with that, which is moved to `log`."""
    text = str(exc)
    named = _LOG_NAMED.search(text)
    if named and Path(named[1]).is_file():
        shutil.move(named[1], log)
        text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [match[1] for line in lines if (match := _TELLING.match(line))]
    # The first thing that goes wrong is the cause, the last one its consequence.
    said = (telling or lines[-1:] or [type(exc).__name__])[0]
    return re.sub(r"/\S*/", "", said)[:300]  # names of files without their folders


def _coverage(before: list[Node], after: list[Node], stats: list[Any]) -> Coverage:
    """Where each operator runs, as the file shows; LiteRT's counts have to agree.

    Raises:
        ConversionError: they do not.
    """
    left = [node for node in after if node.operator != OPERATOR]
    found = placed(before, left, NAME)
    counted = sum(each.num_total_ops - each.num_ops_offloaded for each in stats)
    if found is None or not stats or counted != len(left):
        raise ConversionError(
            f"LiteRT counts {counted} operators off the NPU, its file has {len(left)}: "
            f"{', '.join(node.operator for node in left)[:200]}"
        )
    return Coverage(
        nodes=tuple(found),
        partitions=len(after) - len(left),
        source=f"LiteRT {version('ai-edge-litert')}'s report and its file",
    )
