"""What the step that made a file has said of its inputs and outputs.

Files say that a dimension is open; its range stands in the step's result alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from edgekit.core.tensor import Signature
from edgekit.work.cache import RESULT_FILE


def ranged(folder: Path, found: Signature) -> Signature:
    """The signature of the step whose `folder` it is; `found`, the file's own, if no step made it.

    It is `found` as well where nothing is open in that.
    """
    kept = folder / RESULT_FILE
    opened = any(None in spec.shape for spec in (*found.inputs, *found.outputs))
    if not opened or not kept.exists():
        return found
    return Signature.from_json(json.loads(kept.read_text(encoding="utf-8"))["signature"])
