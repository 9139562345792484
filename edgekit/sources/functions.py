"""Which framework a function makes its model in, told without calling or importing it.

Every source takes ``package.module:function``, and TensorFlow and torch must not meet in one
process, so the one that gets the function is chosen from the text of its module: by what that
imports, wherever in it. Nothing is followed from there. Where that does not tell,
``torch:package.module:function`` and ``keras:package.module:function`` do.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from edgekit.core.errors import UsageError
from edgekit.core.registry import find_module, refuse_file

FRAMEWORKS: dict[str, tuple[str, ...]] = {
    "keras": ("keras", "tf_keras", "tensorflow"),
    "torch": ("torch", "torchvision", "torchaudio", "timm", "lightning", "pytorch_lightning"),
}
_FUNCTION = re.compile(r"(?:(keras|torch):)?([A-Za-z_][\w.]*:[A-Za-z_][\w.]*)")
TEXT_LIMIT_BYTES = 16 * 2**20


def function_in(reference: str) -> str | None:
    """``package.module:function`` without the framework in front; None if it names no function."""
    prefix, colon, rest = reference.partition(":")
    if colon and prefix in FRAMEWORKS:
        refuse_file(rest)
    found = _FUNCTION.fullmatch(reference)
    return found[2] if found and not Path(reference).exists() else None


def framework_of(reference: str) -> str:
    """``keras`` or ``torch``, for a reference that `function_in` knows.

    Raises:
        UsageError: there is no such module, it is not Python, or its imports do not tell.
    """
    found = _FUNCTION.fullmatch(reference)
    assert found is not None, reference
    if found[1]:
        return found[1]
    name = found[2].partition(":")[2]
    imported = _imports(_text(found[2]), found[2])
    known = [each for each, names in FRAMEWORKS.items() if not imported.isdisjoint(names)]
    if len(known) == 1:
        return known[0]
    what = "imports both torch and Keras" if known else "imports neither torch nor Keras itself"
    raise UsageError(
        f"{reference!r}: its module {what}, so which of them {name} uses is not known",
        hint=f"write torch:{found[2]} or keras:{found[2]}",
    )


def _text(function: str) -> bytes:
    spec = find_module(function)
    origin = Path(spec.origin or "")
    if origin.suffix != ".py" or not origin.is_file():
        return b""
    if origin.stat().st_size > TEXT_LIMIT_BYTES:
        return b""
    return origin.read_bytes()


def _imports(text: bytes, function: str) -> set[str]:
    """Top-level names of the packages that the text of a module imports, in functions too."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as exc:
        line = getattr(exc, "lineno", None)
        where = f", line {line}" if line else ""
        raise UsageError(f"{function!r}: its module is not valid Python{where}: {exc}") from exc
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found
