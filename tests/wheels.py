"""Tiny wheels, built by hand."""

from __future__ import annotations

import zipfile
from pathlib import Path

BROKEN = "raise ImportError('libfoo.so.1: cannot open shared object file')\n"


def make_wheel(
    folder: Path,
    name: str = "ai_edge_litert",
    version: str = "2.3.0",
    *,
    tag: str = "py3-none-any",
    needs: tuple[str, ...] = (),
    files: dict[str, str] | None = None,
) -> Path:
    """A wheel called `name` with a module of that name that has an ``interpreter``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {need}" for need in needs]
    content = {
        f"{name}/__init__.py": "",
        f"{name}/interpreter.py": "class Interpreter:\n    pass\n",
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/RECORD": "",
        **(files or {}),
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for member, text in content.items():
            wheel.writestr(member, text)
    return path
