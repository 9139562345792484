"""Options that have a unit."""

from __future__ import annotations

import math
import re

import click

_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class Duration(click.ParamType[float]):
    """A time as 90, 90s, 10m or 1h; seconds as a float.

    Args:
        zero: whether no time at all is one.
    """

    name = "time"

    def __init__(self, *, zero: bool = True) -> None:
        self._zero = zero

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*(ms|s|m|min|h)?", str(value).strip())
        seconds = float(found[1]) * _SECONDS[found[2] or ""] if found else math.inf
        if not math.isfinite(seconds) or (seconds == 0 and not self._zero):
            self.fail(f"{value!r} is no time; write 90s, 10m or 1h", param, ctx)
        return seconds


class Share(click.ParamType[float]):
    """A share as 1% or 0.01; a float between 0 and 1."""

    name = "share"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(r"(\d+(?:\.\d*)?)\s*(%)?", str(value).strip())
        share = float(found[1]) / (100 if found[2] else 1) if found else math.inf
        if not 0 < share < 1:
            self.fail(f"{value!r} is no share; write 1% or 0.01", param, ctx)
        return share
