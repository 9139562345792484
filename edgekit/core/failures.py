"""What somebody else's exception says, in words that fit into an error of ours."""

from __future__ import annotations

import re
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


_PLACE = re.compile(r"L\['(\w+)'\](?:\[\d+\])?\.size\(\)\[(\d+)\]")
_GUARD = re.compile(r"satisfy the generated guard (.+?)\.?(?:\n|$)")
_CONSTANT = re.compile(r"(?:specialized it to be a|inferred to be a) constant \((\d+)\)")


def size_constraint(text: str) -> str:
    """Which sizes of a range a model does not take, of what torch.export says; empty if it is
    something else. Dimensions are named by input and axis (``ids.1``).
    """
    if "Constraints violated" not in text and "constraint violation" not in text.lower():
        return ""
    guard, constant = _GUARD.search(text), _CONSTANT.search(text)
    if guard is not None:
        return f"it takes only sizes with {_PLACE.sub(lambda m: f'{m[1]}.{m[2]}', guard[1])}"
    if constant is not None:
        return f"it holds to a size of {constant[1]}"
    return "it does not take all of them"
