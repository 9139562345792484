"""A Vulkan driver in software, for tests that want a GPU: SwiftShader, as Debian's chromium has it.

It shows that the GPU's results are the CPU's and what falls back. It says nothing about speed, and
it computes in float32 where phones compute in float16.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

FOLDERS = ("/usr/lib/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome")
DRIVER = "vk_swiftshader_icd.json"
LOADER = "libvulkan.so.1"


def use_swiftshader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead Vulkan to SwiftShader; the test is skipped where it is not installed."""
    driver = find_driver()
    if driver is None:
        pytest.skip(f"no {DRIVER}: Debian package chromium")
    for variable in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.setenv(variable, str(driver))
    if not loads(LOADER):
        if not (driver.parent / LOADER).exists():
            pytest.skip(f"no {LOADER}: Debian package libvulkan1")
        before = os.environ.get("LD_LIBRARY_PATH", "")
        paths = [str(driver.parent), *before.split(os.pathsep)]
        monkeypatch.setenv("LD_LIBRARY_PATH", os.pathsep.join(path for path in paths if path))


def find_driver() -> Path | None:
    """SwiftShader's description for Vulkan's loader."""
    found = (Path(folder) / DRIVER for folder in FOLDERS)
    return next((path for path in found if path.is_file()), None)


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
