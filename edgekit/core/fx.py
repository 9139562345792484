"""What nodes of a PyTorch program tell of the user's own modules; needs no torch."""

from __future__ import annotations

from typing import Any


def modules(node: Any) -> list[str]:
    """The user's names of the module that the node comes from, and of those around it."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [str(entry[0]) for entry in stack.values() if entry and entry[0]]
    # "L['self'].features.0.conv" in older programs
    return [
        name.replace("L['self'].", "").replace("L['self']", "").removeprefix("inner.")
        for name in reversed(names)
    ]
