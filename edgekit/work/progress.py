"""What a step that takes long says of itself while it runs in a worker process."""

from __future__ import annotations

import json
from typing import BinaryIO

_answers: BinaryIO | None = None


def tell(text: str) -> None:
    """Say in a few words how far the step is; whoever watches it sees the last ones.

    A step that says something in time is not stopped for taking long: the limit of time is between
    two words. Outside a worker nobody listens.
    """
    if _answers is not None:
        _answers.write(json.dumps({"says": text}).encode() + b"\n")
        _answers.flush()


def listen(answers: BinaryIO) -> None:
    """From now on words go there; for the worker's own start."""
    global _answers
    _answers = answers
