"""`edgekit profile`: a build's artifacts measured on a device."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  edgekit profile build --on ssh://pi@raspberrypi.local
  edgekit profile build --on ssh://pi --all --threads 4 --python '~/edge/bin/python'
  edgekit profile build --on ssh://pi@raspberrypi.local --evaluate test.npz
  edgekit profile build --on kitchen-pi --on group:phones --all
  edgekit profile build --on local --variant int8 --launches 10
"""


@click.command(name="profile", epilog=EPILOG)
@click.argument("build", type=click.Path(path_type=Path))
@click.option(
    "--on",
    "on",
    required=True,
    multiple=True,
    metavar="DEVICE",
    help="local, ssh://[user@]host[:port], a board of yours or group:NAME (edgekit boards).",
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
    "--launches", type=click.IntRange(min=1), help="Processes started one after the other. [5]"
)
@click.option(
    "--runs", type=click.IntRange(min=1), help="Inferences timed in each, at least. [100]"
)
@click.option(
    "--min-seconds", type=click.FloatRange(min=0), help="Time measured in each, at least. [0.5]"
)
@click.option("--warmup-runs", type=click.IntRange(min=0), help="Not counted, at least. [5]")
@click.option("--warmup-seconds", type=click.FloatRange(min=0), help="Not counted, at least. [0.5]")
@click.option(
    "--timeout", "timeout_seconds", type=click.FloatRange(min=1), help="For one launch. [600]"
)
@click.option("--python", metavar="PATH", help="The Python to use there.")
@click.option(
    "--runtime",
    metavar="NAME",
    help="The runtime's package, as pip calls it; what is there otherwise.",
)
@click.option(
    "--evaluate",
    metavar="DATA",
    help="Score the board's own answers to it; the data of convert --evaluate.",
)
@click.option(
    "--wait",
    "wait_seconds",
    type=click.FloatRange(min=0),
    default=300.0,
    help="For whoever is using the board. [300]",
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
    evaluate: str | None,
    wait_seconds: float,
    as_json: bool,
    **timing: float | None,
) -> None:
    """Measure a build's artifacts on a board, or on this computer.

    The artifact is pushed once, must answer there as it does here, and is then timed in several
    process launches. Samples are kept; edgekit report shows them. With --evaluate the board answers
    the whole evaluation set, too: a score below the variant's budget is told, and exit code 6.

    Several boards are measured side by side. What fails on one stops none of the others (exit code
    10); what is left to do is kept, see edgekit jobs.
    """
    from edgekit.cli.output import DeviceProgress, say_preferred
    from edgekit.core.boards import targets
    from edgekit.core.build import load_build
    from edgekit.core.measurement import MeasureSettings
    from edgekit.jobs.accuracy import require_accurate
    from edgekit.jobs.profile import default_threads, profile
    from edgekit.jobs.results import write_page

    opened, boards = load_build(build), targets(on)
    given = {key: value for key, value in timing.items() if value is not None}
    if len(boards) > 1:
        from edgekit.cli.fleet import profile_on

        wish = {"python": python, "runtime": runtime, "evaluate": evaluate}
        given |= {} if threads is None else {"threads": threads}
        profile_on(boards, opened, variants, every, given, wish, wait_seconds, as_json)
        return
    settings = MeasureSettings.from_json(
        {**given, "threads": threads or default_threads(opened, boards[0])}
    )
    if not variants and not every:
        say_preferred(opened)
    with DeviceProgress() as progress:
        results = profile(
            opened,
            on=boards[0],
            variants=variants,
            every=every,
            settings=settings,
            python=python,
            runtime=runtime,
            evaluate=evaluate,
            wait_seconds=wait_seconds,
            say=progress.say,
            progress=progress,
        )
    if as_json:
        import json

        click.echo(json.dumps([result.to_json() for result in results], indent=2))
        require_accurate(results)
        return
    from edgekit.cli.report import show

    show(opened, results)
    click.echo(f"page: {write_page(opened, opened.folder)}")
    require_accurate(results)
