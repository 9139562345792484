"""Several boards at once, for `edgekit profile` and `edgekit jobs resume`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.output import _Live, table
from edgekit.reports.words import duration, interval, plain

if TYPE_CHECKING:
    from edgekit.core.boards import Target
    from edgekit.core.build import Build
    from edgekit.core.result import Result
    from edgekit.jobs.fleet import Outcome
    from edgekit.store.queue import Job


class FleetProgress(_Live):
    """Shows what each board is at; results and failures as they come, a line each."""

    def __init__(self) -> None:
        super().__init__()
        self._at: dict[str, str] = {}

    def __call__(self, board: str, variant: str, what: str, done: int, of: int) -> None:
        with self._lock:
            self._at[board] = f"{board}: {variant} {what} {done}/{of}"

    def say(self, line: str) -> None:
        """A line of its own."""
        with self._lock:
            self._say(f"  {line}")

    def done(self, board: str, result: Result) -> None:
        """A result has come."""
        median = result.summary.median_ns
        mark = "" if result.summary.stable else ", unstable"
        with self._lock:
            self._at.pop(board, None)
            self._say(
                f"  {board} {result.measurement.variant}: median {duration(median.value)} "
                f"({interval(median)}{mark})"
            )

    def _now(self) -> str:
        return "; ".join(self._at.values()) or "connecting"


def profile_on(
    boards: Sequence[Target],
    build: Build,
    variants: Sequence[str],
    every: bool,
    settings: Mapping[str, Any],
    wish: Mapping[str, Any],
    wait_seconds: float,
    as_json: bool,
) -> None:
    """Measure variants of `build` on all `boards`, and show what came of it."""
    from pathlib import Path

    from edgekit.cli.output import say_preferred
    from edgekit.core.measurement import MeasureSettings
    from edgekit.jobs.accuracy import read_evaluation
    from edgekit.jobs.fleet import HowToMeasure, enqueue
    from edgekit.jobs.profile import check_runs, check_ways
    from edgekit.jobs.results import results_of
    from edgekit.measure.runners import RUNNERS
    from edgekit.sensors.watch import OFF, asked_for

    check_ways([MeasureSettings.from_json(dict(settings))])  # told before any work, as the rest is
    known = () if variants or every else results_of(build)
    chosen = build.choose(variants, every=every, results=known)
    for board in boards:
        check_runs(build, chosen, board.address)
    if wish["evaluate"] is not None:
        read_evaluation(build, wish["evaluate"], chosen)
    if wish["runner"] is not None:
        RUNNERS[wish["runner"]]
    if wish["power"] != OFF:
        asked_for(wish["power"], wish["rate_hz"])
    files = {  # it may be taken up again from another folder
        key: str(Path(wish[key]).resolve())
        for key in ("evaluate", "native_program", "native_library")
        if wish[key] is not None and Path(wish[key]).exists()
    }
    if not variants and not every:
        say_preferred(build)
    how = HowToMeasure.from_json({**wish, **files, "settings": dict(settings)})
    run_jobs(enqueue(build, boards, chosen, how), wait_seconds, as_json)


def run_jobs(jobs: Sequence[Job], wait_seconds: float, as_json: bool) -> None:
    """Do `jobs`, show the results, write the pages of their builds, and raise what went wrong."""
    from pathlib import Path

    from edgekit.core.build import load_build
    from edgekit.core.errors import EdgekitError
    from edgekit.jobs.accuracy import require_accurate
    from edgekit.jobs.fleet import require_all, run_fleet
    from edgekit.jobs.results import write_page

    try:
        with FleetProgress() as progress:
            outcome = run_fleet(
                jobs,
                wait_seconds=wait_seconds,
                say=progress.say,
                done=progress.done,
                progress=progress,
            )
    except KeyboardInterrupt:
        click.echo("what is left is kept: edgekit jobs resume", err=True)
        raise
    if as_json:
        import json

        click.echo(json.dumps(_document(outcome), indent=2))
    else:
        _show(jobs, outcome)
        for folder in dict.fromkeys(job.task.build for job in jobs):
            try:
                build = load_build(Path(folder))
            except EdgekitError:  # its jobs have failed for it, and said so
                continue
            page, here = write_page(build, build.folder), Path.cwd()
            shown = page.relative_to(here) if page.is_relative_to(here) else page
            click.echo(f"page: {shown}")
    require_all(outcome)
    require_accurate(outcome.results)


def _show(jobs: Sequence[Job], outcome: Outcome) -> None:
    """Medians, a row a variant and a column a board."""
    from edgekit.reports.view import accuracy_words

    names = {job.task.address: job.task.board for job in jobs}
    cells: dict[tuple[str, str], str] = {}
    for failure in outcome.failures:
        cells[failure.variant, failure.board] = "failed"
    for result in outcome.results:
        taken = result.measurement
        mark = "" if result.summary.stable else " !"
        worse = taken.accuracy is not None and not taken.accuracy.ok
        text = duration(result.summary.median_ns.value) + mark + (" WORSE" if worse else "")
        board = names.get(taken.device, taken.device_name)
        cells[taken.variant, board] = text
    variants = list(dict.fromkeys(job.task.variant for job in jobs))
    boards = list(names.values())
    click.echo()
    table(
        ["Median", *boards],
        ([variant, *(cells.get((variant, board), "left") for board in boards)]
         for variant in variants),
    )  # fmt: skip
    if any(" !" in cell for cell in cells.values()):
        click.echo("! not to be relied on; edgekit report tells why")
    for result in outcome.results:
        if said := accuracy_words(result):
            click.echo(plain(f"{result.measurement.device_name}: {said}"))


def _document(outcome: Outcome) -> dict[str, Any]:
    return {
        "results": [result.to_json() for result in outcome.results],
        "failures": [
            {
                "board": failure.board,
                "variant": failure.variant,
                "error": type(failure.error).__name__,
                "message": failure.error.message,
            }
            for failure in outcome.failures
        ],
    }
