"""Looks for a program on a device."""

from __future__ import annotations

import re

from edgekit.core.errors import RuntimeMissingError
from edgekit.core.protocols import Device

_FIND = """
for program in "$@"; do
  case $program in '~/'*) program=$HOME/${program#'~/'};; esac
  found=$(command -v "$program") && printf 'edgekit-found:%s\\n' "$found" && exit 0
done
exit 0
"""


def find_program(device: Device, name: str, places: tuple[str, ...], get: str) -> str:
    """Where `device` has a program: on its PATH, or in one of `places`.

    Raises:
        RuntimeMissingError: nowhere; `get` tells how to get it.
    """
    result = device.run(["sh", "-c", _FIND, "sh", name, *places], timeout_seconds=60)
    found = re.search(r"^edgekit-found:(.+)$", result.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeMissingError(
            f"{device.address} has no {name}, neither on its PATH nor at {', '.join(places)}",
            hint=get,
        )
    return found[1]
