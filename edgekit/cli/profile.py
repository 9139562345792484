"""`edgekit profile`: a build's artifacts measured on a device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.runner_options import runner_options
from edgekit.cli.units import Duration, Share

if TYPE_CHECKING:
    from edgekit.core.result import Result

SWEPT = ("threads", "batch", "streams")

EPILOG = """\b
Examples:
  edgekit profile build --on ssh://pi@raspberrypi.local
  edgekit profile build --on ssh://pi --all --threads 4 --python '~/edge/bin/python'
  edgekit profile build --on local --variant int8 --precision 1%
  edgekit profile build --on ssh://pi --sweep threads=1,2,4 --sweep batch=1,4
  edgekit profile build --on ssh://pi --sustained 10m
  edgekit profile build --on ssh://pi@raspberrypi.local --evaluate test.npz
  edgekit profile build --on kitchen-pi --on group:phones --all
  edgekit profile build --on ssh://root@camera --runner native
"""


@click.command(name="profile", epilog=EPILOG)
@click.argument("build", type=click.Path(path_type=Path))
@click.option(
    "--on",
    "on",
    required=True,
    multiple=True,
    metavar="DEVICE",
    help="local, ssh://[user@]host[:port], adb:SERIAL, a board of yours or group:NAME "
    "(edgekit boards).",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="NAME",
    help="Which; the fastest measured one, or INT8, otherwise.",
)
@click.option("--all", "every", is_flag=True, help="All accepted ones.")
@click.option("--threads", type=click.IntRange(min=1), help="[as many as the board's profile says]")
@click.option("--batch", type=click.IntRange(min=1), help="Samples in one inference. [1]")
@click.option(
    "--streams", type=click.IntRange(min=1), help="Processes that run it at the same time. [1]"
)
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="NAME=N,N,…",
    help="Measure with each of several values of threads, batch or streams; again for more.",
)
@click.option(
    "--sustained",
    type=Duration(zero=False),
    metavar="TIME",
    help="One long run, such as 10m: how the speed changes with heat.",
)
@click.option(
    "--launches", type=click.IntRange(min=1), help="Processes started one after the other. [5]"
)
@click.option(
    "--runs", type=click.IntRange(min=1), help="Inferences timed in each, at least. [100]"
)
@click.option(
    "--min-seconds", type=click.FloatRange(min=0), help="Time measured in each, at least. [0.5]"
)
@click.option(
    "--operators", is_flag=True, default=None, help="Tell the time of each operator, too."
)
@click.option(
    "--precision",
    type=Share(),
    metavar="SHARE",
    help="Go on launching until the median is known to ±SHARE, such as 1%.",
)
@click.option(
    "--budget",
    "budget_seconds",
    type=Duration(),
    metavar="TIME",
    help="With --precision: stop after that time anyway. [15m]",
)
@click.option(
    "--pause",
    "pause_seconds",
    type=Duration(),
    metavar="TIME",
    help="Before each launch but the first, wait at least so long. [as usual for the board]",
)
@click.option(
    "--cooldown",
    "cooldown_seconds",
    type=Duration(),
    metavar="TIME",
    help="Before each launch, wait at most so long for the board to cool down. "
    "[as usual for the board, or 30s]",
)
@click.option(
    "--clocks",
    type=click.Choice(["fixed", "as-is"]),
    help="Hold the clocks still where that is allowed, or leave them alone. [fixed]",
)
@click.option(
    "--power-mode",
    metavar="NAME",
    help="A Jetson's (nvpmodel: 15W, MAXN, or its number), to be in meanwhile. [as it is]",
)
@click.option("--warmup-runs", type=click.IntRange(min=0), help="Not counted, at least. [5]")
@click.option("--warmup-seconds", type=click.FloatRange(min=0), help="Not counted, at least. [0.5]")
@click.option(
    "--timeout", "timeout_seconds", type=click.FloatRange(min=1), help="For one launch. [600]"
)
@click.option(
    "--evaluate",
    metavar="DATA",
    help="Score the board's own answers to it; the data of convert --evaluate.",
)
@runner_options(
    "python, native (needs no Python there), trtexec, benchmark-model, executor-runner, or app "
    "(on a phone). "
    "[the first that runs it there]"
)
@click.option(
    "--power",
    default="auto",
    show_default=True,
    metavar="auto|off|SENSOR[:RAIL]",
    help="What tells the energy of an inference; the best that the board has.",
)
@click.option(
    "--rate",
    "rate_hz",
    type=click.FloatRange(min=0, min_open=True, max=1000),
    default=10.0,
    show_default=True,
    help="Readings of power a second.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, raw samples included.")
def command(
    build: Path,
    on: tuple[str, ...],
    variants: tuple[str, ...],
    every: bool,
    threads: int | None,
    python: str | None,
    runtime: str | None,
    sweeps: tuple[str, ...],
    sustained: float | None,
    evaluate: str | None,
    wait_seconds: float,
    runner: str | None,
    native_program: str | None,
    native_library: str | None,
    power: str,
    rate_hz: float,
    as_json: bool,
    **timing: float | str | None,
) -> None:
    """Measure a build's artifacts on a board, or on this computer.

    The artifact is pushed once, must answer there as it does here, and is then timed in several
    process launches; those of several variants take turns. Samples are kept; edgekit report shows
    them, and edgekit compare tells whether one is faster than another. With --evaluate the board
    answers the whole evaluation set, too: a score below the variant's budget is told, and exit
    code 6.

    Several boards are measured side by side. What fails on one stops none of the others (exit code
    10); what is left to do is kept, see edgekit jobs.
    """
    from edgekit.cli.output import DeviceProgress, say_preferred
    from edgekit.core.boards import targets
    from edgekit.core.build import load_build
    from edgekit.core.errors import UsageError
    from edgekit.core.measurement import MeasureSettings
    from edgekit.jobs import profile as job
    from edgekit.jobs.accuracy import require_accurate
    from edgekit.jobs.results import write_page

    given = {key: value for key, value in timing.items() if value is not None}
    _refuse_idle(given, sustained)
    opened, boards = load_build(build), targets(on)
    if len(boards) > 1:
        from edgekit.cli.fleet import profile_on

        wish = {
            "python": python,
            "runtime": runtime,
            "runner": runner,
            "native_program": native_program,
            "native_library": native_library,
            "evaluate": evaluate,
            "power": power,
            "rate_hz": rate_hz,
        }
        given |= {} if threads is None else {"threads": threads}
        if sweeps:
            raise UsageError("--sweep is for one board at a time", hint="give one --on")
        if sustained is not None:
            long = job.sustained(MeasureSettings.from_json(given), sustained)
            given = long.model_dump(exclude_unset=True)
        profile_on(boards, opened, variants, every, given, wish, wait_seconds, as_json)
        return
    settings = MeasureSettings.from_json(
        {**given, "threads": threads or job.default_threads(opened, boards[0])}
    )
    if sustained is not None:
        settings = job.sustained(settings, sustained)
    ways = job.sweep(settings, _axes(sweeps))
    if not variants and not every:
        say_preferred(opened)
    kept: list[Result] = []
    try:
        with DeviceProgress() as progress:
            results = job.profile(
                opened,
                on=boards[0],
                variants=variants,
                every=every,
                settings=ways,
                python=python,
                runtime=runtime,
                evaluate=evaluate,
                wait_seconds=wait_seconds,
                say=progress.say,
                runner=runner,
                native_program=native_program,
                native_library=native_library,
                power=power,
                rate_hz=rate_hz,
                done=kept.append,
                progress=progress,
            )
    except KeyboardInterrupt:
        if kept:
            click.echo(f"what was measured by then is kept: edgekit report {build}", err=True)
        raise
    if as_json:
        import json

        click.echo(json.dumps([result.to_json() for result in results], indent=2))
        require_accurate(results)
        return
    from edgekit.reports import print_measurements

    print_measurements(opened, results)
    click.echo(f"page: {write_page(opened, opened.folder)}")
    require_accurate(results)


# What a long run of its own length has no use for.
_OF_LAUNCHES = {
    "launches": "--launches",
    "runs": "--runs",
    "min_seconds": "--min-seconds",
    "precision": "--precision",
    "budget_seconds": "--budget",
}


def _refuse_idle(given: Mapping[str, object], sustained: float | None) -> None:
    """Raise UsageError for an option that would do nothing beside the others."""
    from edgekit.core.errors import UsageError

    idle = [name for key, name in _OF_LAUNCHES.items() if key in given]
    if sustained is not None and idle:
        raise UsageError(
            f"--sustained is one run of the length that it says: it takes no {', '.join(idle)}",
            hint="leave out one of them",
        )
    if "budget_seconds" in given and "precision" not in given:
        raise UsageError("--budget ends what --precision goes on with", hint="add --precision 1%")


def _axes(sweeps: tuple[str, ...]) -> dict[str, list[int]]:
    """Values by name for what --sweep was given.

    Raises:
        UsageError: not of the form ``threads=1,2,4``.
    """
    from edgekit.core.errors import UnknownNameError, UsageError

    found: dict[str, list[int]] = {}
    for text in sweeps:
        name, _, values = text.partition("=")
        if name not in SWEPT:
            raise UnknownNameError("thing to sweep", name, SWEPT, hint="--sweep threads=1,2,4")
        numbers = values.split(",")
        if not all(number.isascii() and number.isdigit() and int(number) for number in numbers):
            raise UsageError(
                f"--sweep {text!r}: values are whole numbers above zero with commas between",
                hint=f"--sweep {name}=1,2,4",
            )
        found[name] = list(dict.fromkeys(int(number) for number in numbers))
    return found
