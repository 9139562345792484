"""The jobs from Python, with the commands' behaviour; where the CLI exits non-zero, these raise.

    import edgekit

    build = edgekit.convert("model.keras", board="raspberry-pi-5", calibration="train.npz")
    edgekit.profile(build, on="ssh://pi@raspberrypi.local")
    edgekit.bundle(build, output="product/model")

No global state: what is cached and where results go is decided by the environment variables
EDGEKIT_CACHE and EDGEKIT_DATA alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from edgekit.core.build import Build, load_build
from edgekit.core.measurement import Measurement, MeasureSettings
from edgekit.core.preprocess_text import read_preprocessing
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.recipe import Calibration
from edgekit.work.steps import Progress


def _silent(*_: object) -> None:
    """Nobody is watching."""


def convert(
    model: str | Path,
    *,
    board: str,
    variants: Sequence[str] = (),
    calibration: str | Path | None = None,
    evaluate: str | Path | None = None,
    preprocessing: Preprocessing | str | None = None,
    labels: Iterable[str] = (),
    max_drop: float | None = None,
    samples: Calibration | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    runtime: str | None = None,
    trust_code: bool = False,
    output: str | Path | None = None,
    progress: Progress = _silent,
) -> Build:
    """Convert a model into verified artifacts for a kind of board; see ``edgekit convert --help``.

    Args:
        model: a path, or ``package.module:function``.
        board: a name that ``edgekit devices`` lists, or the path of a profile file.
        variants: names or recipe files, instead of the board's usual ones.
        calibration, evaluate: a ``.npz`` or ``.npy`` file, a folder of images, or
            ``package.module:function``.
        preprocessing: what is done to each input before the model sees it.
        labels: names of the classes.
        max_drop: accuracy that may be lost, in percentage points.
        samples: which calibration samples are used.
        shapes: sizes for inputs with open dimensions, by name, batch included.
        output: the build's folder; ``<model>-<board>.build`` if not given.
        progress: called with each step and "start", "done", "cached" or "failed".

    Raises:
        RejectedError: a named variant, or every variant, cannot be used; the build is kept.
        EdgekitError: anything else; nothing is written.
    """
    from edgekit.jobs.convert import convert as job
    from edgekit.jobs.convert import require_usable
    from edgekit.jobs.plan import Wish, make_plan

    if isinstance(preprocessing, str):
        preprocessing = read_preprocessing(preprocessing)
    wish = Wish(
        model=str(model),
        profile=board,
        variants=tuple(variants),
        calibration=None if calibration is None else str(calibration),
        evaluation=None if evaluate is None else str(evaluate),
        preprocessing=preprocessing or Preprocessing(),
        labels=tuple(labels),
        max_drop=max_drop,
        samples=samples,
        shapes=shapes or {},
        runtime=runtime,
        trust_code=trust_code,
    )
    plan = make_plan(wish)
    build = job(plan, Path(output) if output else plan.default_output, progress=progress)
    require_usable(build)
    return build


def _opened(build: Build | str | Path) -> Build:
    return build if isinstance(build, Build) else load_build(Path(build))
