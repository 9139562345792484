"""`edgekit tune`: the recipe that is best within limits, found by trying."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli.output import TuneProgress
from edgekit.cli.wish_options import read_wish, wish_options

# Option, figure, unit, how many stored units (ns, J, bytes) that is.
LIMITS = (
    ("max_ms", "latency", "MS", 1e6, "The latency of one inference (median), at most."),
    ("max_mj", "energy", "MJ", 1e-3, "The energy of one inference, in millijoules, at most."),
    ("max_mb", "memory", "MB", 1e6, "The peak of resident memory, at most."),
    ("max_kb", "size", "KB", 1e3, "The size of the artifact's files, at most."),
    ("max_zipped_kb", "zipped", "KB", 1e3, "The same after deflate, as in an app's download."),
)
EPILOG = """\b
Examples:
  edgekit tune model.keras --for raspberry-pi-5 --on ssh://pi@raspberrypi.local \\
      --calibration calibration.npz --evaluate test.npz --max-drop 0.5
  edgekit tune model.keras --for raspberry-pi-5 --on kitchen-pi --max-ms 5 --max-kb 500 \\
      --train train.npz --calibration calibration.npz --evaluate test.npz \\
      --holdout holdout.npz --minutes 120
  edgekit tune model.keras --for pixel-9 --minimize zipped --train train.npz \\
      --calibration calibration.npz --evaluate test.npz --space mine.toml
\b
edgekit recipes lists the spaces that come with edgekit, edgekit recipes NAME prints one.
"""


def _limits(command: Any) -> Any:
    for name, _, metavar, _, text in reversed(LIMITS):
        option = click.option(
            f"--{name.replace('_', '-')}",
            type=click.FloatRange(min=0, min_open=True),
            metavar=metavar,
            help=text,
        )
        command = option(command)
    return command


@click.command(name="tune", epilog=EPILOG)
@click.argument("model")
@click.option("--for", "profile", required=True, metavar="BOARD", help="See edgekit devices.")
@click.option(
    "--on",
    metavar="DEVICE",
    help="Where candidates are measured, as for edgekit profile; sizes need none.",
)
@click.option(
    "--minimize",
    "objective",
    type=click.Choice(["latency", "energy", "memory", "size", "zipped"]),
    default="latency",
    show_default=True,
    help="What is to be as small as can be.",
)
@_limits
@click.option(
    "--space",
    "spaces",
    multiple=True,
    metavar="NAME",
    help="What may be tried: a space of edgekit's or a file; again for more. "
    "[untrained; with --train also faster, and smaller for the zipped size]",
)
@click.option(
    "--tries",
    type=click.IntRange(min=1),
    default=40,
    show_default=True,
    help="Candidates to make, at most.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="After which no other is begun. [no limit]",
)
@click.option(
    "--holdout",
    metavar="DATA",
    help="What the last few are judged on, instead of the samples that chose them.",
)
@click.option("--threads", type=click.IntRange(min=1), help="[as many as the board's profile says]")
@click.option("--python", metavar="PATH", help="The Python to use there.")
@click.option("--runner", metavar="NAME", help="As for edgekit profile.")
@wish_options
@click.option(
    "-o", "--output", metavar="DIR", type=click.Path(path_type=Path), help="[MODEL-BOARD.tuned]"
)
@click.option("--replace", is_flag=True, help="Begin anew where DIR holds another search.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: all that was tried.")
def command(
    model: str,
    profile: str,
    on: str | None,
    objective: str,
    spaces: tuple[str, ...],
    tries: int,
    minutes: float | None,
    holdout: str | None,
    threads: int | None,
    python: str | None,
    runner: str | None,
    output: Path | None,
    replace: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Find the recipe for MODEL that is best within limits, by trying.

    Candidates are converted and judged as edgekit convert does, and those within --max-drop and
    the other limits are measured on the board, in turns. What is tried next follows from what came
    of the others. The last few are made and measured once more, together; DIR then holds their
    build, their recipes and a page. Ctrl-C, or --minutes, keeps what was tried: the same command
    goes on from there.
    """
    from edgekit.core.boards import target
    from edgekit.core.measurement import MeasureSettings
    from edgekit.core.tuning import Limits
    from edgekit.jobs.tune import default_output, tune
    from edgekit.jobs.tuning_rounds import Search, Watcher
    from edgekit.reports.tuning import print_tuning
    from edgekit.reports.words import plain

    limits = {
        figure: value * per
        for name, figure, _, per, _ in LIMITS
        if (value := given.pop(name)) is not None
    }
    wish = read_wish(model, profile, (), given)
    search = Search(
        objective=objective,  # type: ignore[arg-type]  # click has checked it
        limits=Limits.from_json(limits),
        on=None if on is None else target(on),
        spaces=spaces,
        tries=tries,
        minutes=minutes,
        holdout=holdout,
        settings=None if threads is None else MeasureSettings(threads=threads),
        python=python,
        runner=runner,
    )
    folder = output or default_output(wish)
    with TuneProgress(search.objective) as progress:
        watcher = Watcher(progress.step, progress.device, progress.tried, progress.say)
        try:
            found = tune(wish, search, folder, replace=replace, watcher=watcher)
        except KeyboardInterrupt:
            progress.say(f"what was tried is in {folder}: the same command goes on from there")
            raise
    if as_json:
        import json

        click.echo(json.dumps(found.to_json(), indent=2))
        return
    print_tuning(found)
    click.echo(plain(f"best: {found.best}; the build of all of these: {folder / 'build'}"))
