"""Measurements with made-up contents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.core.measurement import Launch, Measurement, MeasureSettings


def measurement(
    launches: Sequence[Launch],
    *,
    settings: Mapping[str, Any] | None = None,
    hello: Mapping[str, Any] | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    emulated: bool = False,
) -> Measurement:
    return Measurement(
        created="2026-01-01T00:00:00+00:00",
        device="ssh://board",
        device_name="board",
        build_name="digits",
        variant="int8",
        artifact_sha256="0" * 64,
        artifact_size_bytes=1000,
        settings=MeasureSettings(**{"launches": len(launches), **(settings or {})}),
        hello={"runtime": "ai-edge-litert", "cores": 4, **(hello or {})},
        environment_before=dict(before or {}),
        environment_after=dict(after or {}),
        launches=tuple(launches),
        emulated=emulated,
        edgekit_version="0",
    )
