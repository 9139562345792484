"""edgekit: trained models onto edge boards and phones, verified and measured on the board."""

from __future__ import annotations

__version__ = "0.1.0"
