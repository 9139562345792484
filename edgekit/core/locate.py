"""Where edgekit's own files and its data on this computer are."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(name: str) -> Path:
    """A folder that ships with edgekit (`device_profiles`, `runtime_bench`).

    In a wheel it lies inside the package; in a checkout (an editable install does not see the
    wheel's layout) beside it.
    """
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def cache_dir() -> Path:
    """Steps' results and logs; may be deleted at any time. EDGEKIT_CACHE overrides."""
    if override := os.environ.get("EDGEKIT_CACHE"):
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgekit"))


def data_dir() -> Path:
    """Measured results; kept. EDGEKIT_DATA overrides."""
    if override := os.environ.get("EDGEKIT_DATA"):
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_data_dir("edgekit"))


def config_dir() -> Path:
    """The user's own profiles. EDGEKIT_CONFIG overrides."""
    if override := os.environ.get("EDGEKIT_CONFIG"):
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_config_dir("edgekit"))
