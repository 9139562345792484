"""Preprocessing as one line for the command line, and from a TOML file.

The line is the operations in order, separated by commas; `none` is the empty list:

    resize=224x224:bilinear             height x width : method
    resize-short-side=256:bilinear      pixels : method
    center-crop=224x224                 height x width
    color=bgr                           or gray
    normalize=127.5/127.5               mean / std; one value, or one a channel: 1:2:3/4:5:6
    layout=CHW
    cast=float32                        or uint8, int8
    quantize=0.0078125/128:uint8        scale / zero point : type

The file holds the same:

    schema = 1
    [[operations]]
    op = "resize"
    height = 224
    width = 224
    [[operations]]
    op = "normalize"
    mean = [127.5]
    std = [127.5]
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.preprocessing import (
    MAX_SIDE,
    CenterCrop,
    Color,
    Normalize,
    Operation,
    Preprocessing,
    Quantize,
    Resize,
    ResizeShortSide,
)

EMPTY = "none"


def read_preprocessing(reference: str) -> Preprocessing:
    """The preprocessing that `reference` states: a line, or the path of a `.toml` file.

    Raises:
        UsageError: not of that form; names the operation or the key.
    """
    if reference.endswith(".toml"):
        return load_preprocessing(Path(reference))
    return parse_preprocessing(reference)


def load_preprocessing(path: Path) -> Preprocessing:
    """The preprocessing in a TOML file. Raises UsageError."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise UsageError(f"cannot read the preprocessing {str(path)!r}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path}: not valid TOML: {exc}") from exc
    if data.pop("schema", None) != 1:
        raise UsageError(f"{path}: key 'schema' is missing or not 1; write schema = 1")
    return _checked(data, str(path))


def parse_preprocessing(text: str) -> Preprocessing:
    """The preprocessing that `text` states in the form above; inverse of `format_preprocessing`.

    Raises:
        UnknownNameError: no operation has that name.
        UsageError: an operation's arguments are not of its form.
    """
    if text.strip() == EMPTY:
        return Preprocessing()
    operations: list[dict[str, Any]] = []
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if name not in _PARSERS:
            raise UnknownNameError(
                "preprocessing operation",
                name,
                _PARSERS,
                hint=f"the operations are {', '.join(_PARSERS)}; or a file that ends in .toml",
            )
        parse, form = _PARSERS[name]
        try:
            arguments = parse(value)
        except ValueError as exc:
            raise UsageError(f"preprocessing {part.strip()!r}: write it as {form}") from exc
        if not equals:
            raise UsageError(f"preprocessing {part.strip()!r}: write it as {form}")
        operations.append({"op": name, **arguments})
        # One at a time, so that the error names the operation that was typed.
        _checked({"operations": operations[-1:]}, f"preprocessing {part.strip()!r}")
    return _checked({"operations": operations}, "preprocessing")


def _checked(data: dict[str, Any], where: str) -> Preprocessing:
    """What `data` states; a wrong value is said in the words of its operation."""
    try:
        return Preprocessing.model_validate(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        # ("operations", number, operation[, key, …]) where the operation is known
        operation, key = (*map(str, first["loc"][2:4]), "", "")[:2]
        if first["type"] == "value_error":
            raise UsageError(f"{where}: {first['ctx']['error']}") from exc
        # A missing or unknown key is said as everywhere.
        if first["type"] not in ("missing", "extra_forbidden"):
            rule = _RULES.get(key) or (_PARSERS[operation][1] if operation in _PARSERS else "")
            if rule:
                said = rule if key in _RULES else f"write it as {rule}"
                raise UsageError(f"{where}: {said}") from exc
        return Preprocessing.from_json(data, where=where)


def format_preprocessing(preprocessing: Preprocessing) -> str:
    """The line that `parse_preprocessing` reads back to the same value."""
    return ",".join(format_operation(op) for op in preprocessing.operations) or EMPTY


def format_operation(op: Operation) -> str:
    """One operation as text."""
    if isinstance(op, Resize):
        return f"{op.op}={op.height}x{op.width}:{op.method}"
    if isinstance(op, ResizeShortSide):
        return f"{op.op}={op.size}:{op.method}"
    if isinstance(op, CenterCrop):
        return f"{op.op}={op.height}x{op.width}"
    if isinstance(op, Normalize):
        return f"{op.op}={_join(op.mean)}/{_join(op.std)}"
    if isinstance(op, Quantize):
        return f"{op.op}={op.scale!r}/{op.zero_point}:{op.dtype}"
    value = op.to if isinstance(op, Color) or op.op == "layout" else op.dtype
    return f"{op.op}={value}"


def _join(values: tuple[float, ...]) -> str:
    return ":".join(repr(value) for value in values)


def _resize(value: str) -> dict[str, Any]:
    size, colon, method = value.partition(":")
    return _size(size) | ({"method": method} if colon else {})


def _short_side(value: str) -> dict[str, Any]:
    size, colon, method = value.partition(":")
    return {"size": int(size)} | ({"method": method} if colon else {})


def _size(value: str) -> dict[str, Any]:
    height, width = value.split("x")
    return {"height": int(height), "width": int(width)}


def _normalize(value: str) -> dict[str, Any]:
    mean, std = value.split("/")
    return {"mean": [float(v) for v in mean.split(":")], "std": [float(v) for v in std.split(":")]}


def _quantize(value: str) -> dict[str, Any]:
    numbers, dtype = value.split(":")
    scale, zero_point = numbers.split("/")
    return {"scale": float(scale), "zero_point": int(zero_point), "dtype": dtype}


# What each key must be, for people.
_RULES = {
    "height": f"height and width are at least 1 and at most {MAX_SIDE}",
    "width": f"height and width are at least 1 and at most {MAX_SIDE}",
    "size": f"the short side is at least 1 and at most {MAX_SIDE}",
    "method": "the method is nearest or bilinear",
    "mean": "mean must be a finite number, one or one a channel",
    "std": "std must be above zero and finite, one or one a channel",
    "scale": "scale must be above zero and finite",
    "zero_point": "the zero point must be a whole number of the type",
}

_PARSERS: dict[str, tuple[Callable[[str], dict[str, Any]], str]] = {
    "resize": (_resize, "resize=HEIGHTxWIDTH[:nearest|:bilinear]"),
    "resize-short-side": (_short_side, "resize-short-side=PIXELS[:nearest|:bilinear]"),
    "center-crop": (_size, "center-crop=HEIGHTxWIDTH"),
    "color": (lambda value: {"to": value}, "color=bgr or color=gray"),
    "normalize": (_normalize, "normalize=MEAN/STD, channels separated by ':'"),
    "layout": (lambda value: {"to": value}, "layout=CHW"),
    "cast": (lambda value: {"dtype": value}, "cast=float32, cast=uint8 or cast=int8"),
    "quantize": (_quantize, "quantize=SCALE/ZERO_POINT:TYPE"),
}
