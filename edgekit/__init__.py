"""edgekit: trained models onto edge boards and phones, verified and measured on the board."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.api import (
        bundle,
        convert,
        doctor,
        inspect,
        load_build,
        profile,
        report,
        run,
        sensitivity,
        technique_sensitivity,
        tune,
        verify_bundle,
    )

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "bundle",
    "convert",
    "doctor",
    "inspect",
    "load_build",
    "profile",
    "report",
    "run",
    "sensitivity",
    "technique_sensitivity",
    "tune",
    "verify_bundle",
]


def __getattr__(name: str) -> Any:
    """The jobs, imported when first asked for: ``import edgekit`` itself costs nothing."""
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("edgekit.api"), name)
    raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
