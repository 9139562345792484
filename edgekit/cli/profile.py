"""`edgekit profile`: a build's artifacts measured on a device."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  edgekit profile build --on ssh://pi@raspberrypi.local
  edgekit profile build --on ssh://pi --all --threads 4 --python '~/edge/bin/python'
  edgekit profile build --on local --variant int8 --launches 10
"""


@click.command(name="profile", epilog=EPILOG)
@click.argument("build", type=click.Path(path_type=Path))
@click.option(
    "--on", "on", required=True, metavar="DEVICE", help="local, or ssh://[user@]host[:port]."
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
    on: str,
    variants: tuple[str, ...],
    every: bool,
    threads: int | None,
    python: str | None,
    runtime: str | None,
    power: str,
    rate_hz: float,
    as_json: bool,
    **timing: float | None,
) -> None:
    """Measure a build's artifacts on a board, or on this computer.

    The artifact is pushed once, must answer there as it does here, and is then timed in several
    process launches. Samples are kept; edgekit report shows them.
    """
    from edgekit.cli.output import DeviceProgress, say_preferred
    from edgekit.core.build import load_build
    from edgekit.core.measurement import MeasureSettings
    from edgekit.jobs.profile import default_threads, profile
    from edgekit.jobs.results import write_page

    opened = load_build(build)
    given = {key: value for key, value in timing.items() if value is not None}
    settings = MeasureSettings.from_json(
        {**given, "threads": threads or default_threads(opened, on)}
    )
    if not variants and not every:
        say_preferred(opened)
    with DeviceProgress() as progress:
        results = profile(
            opened,
            on=on,
            variants=variants,
            every=every,
            settings=settings,
            python=python,
            runtime=runtime,
            power=power,
            rate_hz=rate_hz,
            progress=progress,
        )
    if as_json:
        import json

        click.echo(json.dumps([result.to_json() for result in results], indent=2))
        return
    from edgekit.cli.report import show

    show(opened, results)
    click.echo(f"page: {write_page(opened, opened.folder)}")
