"""The inspect job: what is in a model file, found out without running anything that is in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from edgekit.core.description import Description
from edgekit.core.errors import EdgekitError, InputError, UsageError
from edgekit.core.model import ModelOptions
from edgekit.inspection import INSPECTORS
from edgekit.sources import SOURCES
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Progress, Step, run_steps

TIMEOUT_SECONDS = 300.0
READS = ".tflite, .pte, .onnx, .keras, .h5, .pt2 and SavedModel folders"


def inspect(
    path: str, options: ModelOptions | None = None, *, progress: Progress = lambda *_: None
) -> Description:
    """Describe the file or folder at `path`.

    Args:
        options: for models that can only be described loaded: sizes of open dimensions, and
            whether code inside may run.

    Raises:
        InputError: it is not there, of no known format, damaged or truncated.
        UntrustedModelError: it would run code when it is loaded.
        UsageError: options were given that this format has no use for.
    """
    step = _step(path, options or ModelOptions())
    # A file is looked at in seconds; one that keeps a worker busy for long was made to do that.
    patience = None if "EDGEKIT_WORKER_TIMEOUT" in os.environ else TIMEOUT_SECONDS
    with Pool(timeout_seconds=patience) as pool:
        outcome = run_steps([step], pool=pool, cache=Cache(), progress=progress)[step]
    if isinstance(outcome, EdgekitError):
        raise outcome
    return Description.from_json(outcome.result["description"], where=path)


def _step(path: str, options: ModelOptions) -> Step:
    inspector = _inspector(path)
    # Where the parts that a file is made of can only be seen when it is loaded, its source looks
    # at it first and says how it is loaded.
    source = getattr(inspector, "source", "")
    step: Step
    if source:
        step = inspector.step_of(SOURCES[source]().open(path, options))
    else:
        if options.shapes:
            raise UsageError(
                f"--shape has no use for {path!r}: its open dimensions are shown as they are",
                hint="it is for Keras models, which are loaded to be counted",
            )
        step = inspector.step(path, trust_code=options.trusted)
    return step


def _inspector(path: str) -> Any:
    if not Path(path).exists():
        raise InputError(f"there is no file {path!r}", hint="check the path; it is read as given")
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        raise InputError(f"{path!r} is empty", hint=f"edgekit inspect reads {READS}")
    for name in INSPECTORS:
        inspector = INSPECTORS[name]()
        if inspector.accepts(path):
            return inspector
    what = "folder" if Path(path).is_dir() else "file"
    raise InputError(
        f"{path!r} is no {what} of a format that edgekit knows",
        hint=f"edgekit inspect reads {READS}, by what is in them and by their names",
    )
