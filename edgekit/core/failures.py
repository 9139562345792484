"""What somebody else's exception says, in words that fit into an error of ours."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path


def said(exc: BaseException, most: int = 300) -> str:
    """The message on one line, at most so many characters; the class where there is none."""
    return " ".join(str(exc).split())[:most] or type(exc).__name__


def named(exc: BaseException) -> str:
    """The class and the message on one line, at most 220 characters of it."""
    text = " ".join(str(exc).split())[:220]
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def place(exc: BaseException) -> str:
    """The last line of the user's own code in the traceback: ``net.py:12 in forward``."""
    frames = traceback.extract_tb(exc.__traceback__)
    own = [frame for frame in frames if not is_library(frame.filename)]
    return f"{Path(own[-1].filename).name}:{own[-1].lineno} in {own[-1].name}" if own else ""


def is_library(file: str) -> bool:
    """Whether a file of a traceback is Python's, a package's or ours, and not the user's."""
    roots = {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    ours = str(Path(__file__).parent.parent)
    return file.startswith(("<", ours, *roots)) or not file.endswith(".py")
