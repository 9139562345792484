"""What Android's ``dumpsys thermalservice`` says.

It prints what it remembers and, below "Current temperatures from HAL:", what is now; numbers of
types differ between makers, names do not. 0.0 and −99.9 are dummies.
https://source.android.com/docs/core/power/thermal-mitigation
"""

from __future__ import annotations

import re

_NOW = "Current temperatures from HAL:"
_REMEMBERED = "Cached temperatures:"
_VALUE = re.compile(r"Temperature\{mValue=(-?[\d.]+),[^}]*?mName=([^,}]+)")
_DUMMIES = (0.0, -99.9)


def status(answer: str) -> int | None:
    """How much the phone holds back now, 0 (not) to 6; None if it does not tell."""
    found = re.search(r"^Thermal Status: *(\d+)", answer, re.MULTILINE)
    return int(found[1]) if found else None


def temperatures(answer: str) -> dict[str, str]:
    """°C by name, dummies left out; what it remembers only where it does not tell what is now."""
    for head in (_NOW, _REMEMBERED):
        _, found, rest = answer.partition(head)
        # A section goes on as long as its lines are temperatures.
        section = re.match(r"(?:\s*Temperature\{[^}]*\}\s*)*", rest)
        if found and section and section[0].strip():
            return {
                name.strip(): value
                for value, name in _VALUE.findall(section[0])
                if float(value) not in _DUMMIES
            }
    return {}
