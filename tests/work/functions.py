"""What the tests have worker processes do."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edgekit.core.errors import ConversionError, ModelError
from edgekit.work.progress import tell


def write(out: Path, text: str) -> dict[str, Any]:
    (out / "text").write_text(text, encoding="utf-8")
    return {"pid": os.getpid(), "text": text}


def join(out: Path, first: str, second: str) -> dict[str, Any]:
    texts = [(Path(folder) / "text").read_text(encoding="utf-8") for folder in (first, second)]
    return write(out, "".join(texts))


def chatter(out: Path) -> dict[str, Any]:
    """Prints like a library that thinks stdout is its own, through Python and below it."""
    print('{"result": "not an answer"}')
    os.write(1, b"native noise\n")
    sys.stdout.flush()
    return {}


def litter(out: Path, die: bool = False) -> dict[str, Any]:
    """Leaves a temporary file behind, and may die on top of that."""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        (out.parent.parent / "littered").write_text(file.name, encoding="utf-8")
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"path": file.name}


def refuse(out: Path) -> dict[str, Any]:
    raise ModelError("not a model", hint="give a model")


def blunder(out: Path) -> dict[str, Any]:
    raise ZeroDivisionError("a bug")


def crash(out: Path) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def hang(out: Path, started: str = "") -> dict[str, Any]:
    if started:
        tempfile.mkstemp()
        Path(started).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(600)
    return {}


def devour(out: Path) -> dict[str, Any]:
    hoard = [bytearray(os.urandom(1 << 20)) for _ in range(400)]
    time.sleep(600)
    return {"never": len(hoard)}


def convert(out: Path, log: str, message: str = "no such operator") -> dict[str, Any]:
    """Fails like a converter, and notes in the file `log` that it was asked."""
    with Path(log).open("a", encoding="utf-8") as file:
        file.write("asked\n")
    raise ConversionError(message)


def convert_late(out: Path, log: str, first: str, second: str) -> dict[str, Any]:
    time.sleep(0.5)
    return convert(out, log)


def report(out: Path, words: int, pause: float = 0.0, then_hang: bool = False) -> dict[str, Any]:
    """Says how far it is, again and again."""
    for number in range(words):
        time.sleep(pause)
        tell(f"word {number + 1} of {words}, “{'ä' * number}”\nin two lines")
    if then_hang:
        time.sleep(600)
    return {"said": words}
