"""`edgekit demo`: the whole way once."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click


@click.command(name="demo")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    default="demo",
    show_default=True,
    type=click.Path(path_type=Path),
)
def command(output: Path) -> None:
    """Walk the whole way once, on real handwritten digits.

    Trains a small CNN, converts it for a Raspberry Pi 5 in all variants, verifies each on held-out
    digits, measures them on this computer, writes the report and signed bundles for Linux and
    Android.
    """
    from edgekit.cli.output import DeviceProgress, StepProgress
    from edgekit.cli.report import show
    from edgekit.jobs.demo import BOARD, bundle_best, convert_digits, measure_here, train
    from edgekit.jobs.results import PAGE

    _title("1  Train a small CNN on handwritten digits")
    with StepProgress() as progress:
        trained = train(output, progress=progress)
    click.echo(
        f"{trained.accuracy:.2%} of {trained.held_out} held-out digits right, "
        f"trained on {trained.trained_on}"
    )
    _title(f"2  Convert it for {BOARD}, and verify every variant")
    with StepProgress() as progress:
        build = convert_digits(trained, progress=progress)
    _title("3  Measure every variant on this computer")
    with DeviceProgress() as measuring:
        results = measure_here(build, progress=measuring)
    show(build, results)
    _title("4  Bundle the best one for Linux and for Android, sign the bundles, and check them")
    bundled = bundle_best(build, click.echo)
    _title("Where everything is")
    places = {
        "model and data": output,
        "build": build.folder,
        "report": build.folder / PAGE,
        **bundled,
    }
    for name, place in places.items():
        click.echo(f"{name:<16}{place}")
    # make demo runs it from an environment that is not on PATH.
    program = "edgekit" if shutil.which("edgekit") else Path(sys.argv[0])
    click.echo(
        f"\nThe times above are this computer's, not a Raspberry Pi's. For a Pi's own:\n"
        f"  {program} profile {build.folder} --all --on ssh://pi@raspberrypi.local"
    )


def _title(text: str) -> None:
    click.secho(f"\n{text}", bold=True)
