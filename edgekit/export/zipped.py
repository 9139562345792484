"""What an artifact costs in an app's download: its files after deflate. Runs in a plain worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgekit.core.files import zipped_bytes
from edgekit.export.tflite_layers import kept_result
from edgekit.work.steps import Step


def zipped_step(export: Step, name: str) -> Step:
    """The step's result holds ``zipped_bytes``, of all files of the artifact called `name`."""
    return Step(
        title=f"{name}: zip",
        function="edgekit.export.zipped:weigh",
        worker="plain",
        identity={},
        needs={"export": export},
    )


def weigh(out: Path, *, export: str) -> dict[str, Any]:
    """See `zipped_step`."""
    names = kept_result(Path(export))["files"]
    return {"zipped_bytes": sum(zipped_bytes(Path(export) / name) for name in names)}
