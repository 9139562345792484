"""The run job: what a build's artifact answers on a device for a person's own inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from edgekit.core.boards import target
from edgekit.core.build import Build
from edgekit.core.errors import UsageError
from edgekit.data.inputs import read_inputs
from edgekit.jobs.hold import WAIT_SECONDS, held
from edgekit.jobs.ports import Ports
from edgekit.jobs.profile import Progress, _subject, check_runs, default_threads
from edgekit.jobs.results import results_of
from edgekit.measure.answers import Answering
from edgekit.measure.choice import with_runners
from edgekit.measure.runner import RunnerWish

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

SHOWN = 5  # classes
_SUM_TOLERANCE = 0.02  # of scores that are shares of one; INT8 has steps of 1/256 each


@dataclass(frozen=True)
class Guess:
    """One of the best classes: its number, its label ("" without any) and its score."""

    number: int
    label: str
    score: float


@dataclass(frozen=True)
class Ran:
    """What the board answered.

    Attributes:
        hello: what the runner said of itself and the machine.
        names: what each sample is called.
        stored: by output name, (samples, …), as the artifact gives them.
        real: the same as real numbers where they are quantized, else the same arrays.
        best: of each sample the best classes, best first; empty where no output scores classes.
        shares: whether scores are shares of one, so that they can be told in percent.
        notes: what was done to the inputs that one may not expect.
    """

    variant: str
    device: str
    hello: Mapping[str, Any]
    names: tuple[str, ...]
    stored: Mapping[str, Array]
    real: Mapping[str, Array]
    best: tuple[tuple[Guess, ...], ...]
    shares: bool
    notes: tuple[str, ...]


def run(
    build: Build,
    *,
    on: str,
    inputs: Sequence[str],
    variant: str | None = None,
    threads: int | None = None,
    timeout_seconds: float = 600.0,
    python: str | None = None,
    runtime: str | None = None,
    runner: str | None = None,
    native_program: str | None = None,
    native_library: str | None = None,
    wait_seconds: float = WAIT_SECONDS,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Ran:
    """Run `inputs` through a variant of `build` on the device `on`.

    Args:
        on: ``local``, ``ssh://[user@]host[:port]``, ``adb:SERIAL``, or the name of a board of
            one's own.
        inputs: files and folders, see `edgekit.data.inputs`; they are read and checked before the
            device is spoken to.
        variant: the one that `edgekit.core.choice.preferred` takes if not given.
        threads: as many as the board's profile says if not given.
        timeout_seconds: for one launch of the runner.
        python, runtime, runner, native_program, native_library: what to use there, as
            `edgekit.jobs.profile.profile` takes them.
        wait_seconds: how long to wait for whoever is using the board; `say` is told who that is.

    Raises:
        UsageError: no input is given.
        DataError: an input is not what the model takes; says what it takes.
        UnknownNameError, RejectedError: no such variant, or none that can be used.
        PlanError: it cannot run there, or only in a runner that does not tell its outputs.
        DeviceError: anything that goes wrong there.
    """
    if not inputs:
        raise UsageError("no input is given", hint="--input FILE, as often as you like")
    known = () if variant else results_of(build)
    (chosen,) = build.choose((variant,) if variant else (), results=known)
    board = target(on)
    check_runs(build, (chosen,), board.address)
    given = read_inputs(inputs, build.signature, build.preprocessing)
    if variant is None:
        say(f"{chosen.recipe.name}: {build.preferred(known).why}")
    ports = Ports(build.signature, chosen)
    name = chosen.recipe.name
    rows = ports.store(given.arrays)
    count = len(given.names)
    parts: list[dict[str, Array]] = []
    wish = RunnerWish(
        python or board.python, runtime or board.runtime, native_program, native_library
    )
    with held(board, wait_seconds=wait_seconds, say=say) as (device, _):
        subjects = with_runners(device, {name: _subject(build, chosen)}, wish, runner, say)
        answering = Answering(
            device,
            subjects[name],
            threads=threads or default_threads(build, board),
            timeout_seconds=timeout_seconds,
            wish=wish,
            progress=partial(progress, name),
        )
        size = answering.samples_a_part(ports.sample_bytes)
        for start in range(0, count, size):
            progress(name, "run", start, count)
            part = {key: array[start : start + size] for key, array in rows.items()}
            parts.append(ports.outputs_of(answering.answer(part), device.address))
        progress(name, "run", count, count)
        address = device.address
    stored = _joined(parts)
    real = ports.real(stored)
    best, shares = _best(build, real)
    return Ran(name, address, answering.hello, given.names, stored, real, best, shares, given.notes)


def _joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    import numpy as np

    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _best(build: Build, real: Mapping[str, Array]) -> tuple[tuple[tuple[Guess, ...], ...], bool]:
    """The best classes of each sample, and whether scores are shares of one."""
    import numpy as np

    output = build.signature.score_output()
    if output is None or output.shape[-1] == 1:
        return (), False
    scores = np.asarray(real[output.name], np.float64)
    if scores.ndim != 2 or output.shape[-1] not in (None, scores.shape[1]):
        return (), False
    labels = build.labels if len(build.labels) == scores.shape[1] else ()
    # stable: of equal scores the first comes first, as where accuracy is measured
    order = np.argsort(-scores, axis=1, kind="stable")[:, :SHOWN]
    best = tuple(
        tuple(Guess(int(at), labels[at] if labels else "", float(row[at])) for at in places)
        for row, places in zip(scores, order, strict=True)
    )
    shares = bool((scores >= 0).all() and (np.abs(scores.sum(axis=1) - 1) < _SUM_TOLERANCE).all())
    return best, shares
