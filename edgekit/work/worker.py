"""The inside of a worker process: ``python -m edgekit.work.worker MODULE…``.

Reads one JSON request a line from stdin, calls the function, answers with one JSON line, before
which there may be lines that say how far it is. Ends when stdin does. What libraries print goes to
stderr, which is the log.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from edgekit.core.errors import ConversionError, EdgekitError, WorkerError
from edgekit.core.registry import resolve
from edgekit.work import progress


def main(preload: list[str]) -> None:
    answers = _claim_stdout()
    progress.listen(answers)
    missing = _preload(preload)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        answer = missing or _do(request)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _claim_stdout() -> BinaryIO:
    """Keep stdout for answers alone and send whatever else is printed to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _preload(modules: list[str]) -> dict[str, Any] | None:
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as exc:
            traceback.print_exc()
            error = WorkerError(f"{name.partition('.')[0]} cannot be imported: {exc}")
            return {"error": error.to_json(), "install": True}
    return None


def _do(request: dict[str, Any]) -> dict[str, Any]:
    try:
        function = resolve(request["function"])
        _forget_peak()
        started = time.perf_counter()
        result = function(Path(request["out"]), **request["arguments"])
        cost = {"seconds": time.perf_counter() - started, "peak_bytes": _peak_bytes()}
        return {"result": {**result, "cost": cost}}
    except EdgekitError as exc:
        traceback.print_exc()
        return {"error": exc.to_json()}
    except MemoryError:
        traceback.print_exc()
        return {"error": WorkerError("out of memory").to_json(), "unexpected": True}
    except Exception as exc:  # noqa: BLE001 - the boundary: whatever it is goes home as an error
        traceback.print_exc()
        last = traceback.format_exception_only(exc)[-1].strip().splitlines()[0][:300]
        name = request["function"].rpartition(":")[2]
        return {"error": ConversionError(f"{name}: {last}").to_json(), "unexpected": True}


def _forget_peak() -> None:
    """Have the kernel count the peak of resident memory anew: /proc/[pid]/clear_refs in proc(5)."""
    with contextlib.suppress(OSError):  # not everywhere; the peak is then the process's
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_bytes() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else None


if __name__ == "__main__":
    main(sys.argv[1:])
