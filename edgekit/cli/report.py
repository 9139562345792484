"""`edgekit report`: what a build is worth and what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgekit.core.build import Build
    from edgekit.core.result import Result


@click.command(name="report")
@click.argument("build", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")
@click.option("--raw", is_flag=True, help="With --json: every sample of every launch.")
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write one page that opens offline.",
)
def command(build: Path, as_json: bool, raw: bool, html: Path | None) -> None:
    """Show a build and its measurements."""
    from edgekit.core.build import load_build
    from edgekit.core.errors import UsageError
    from edgekit.core.files import check_file
    from edgekit.jobs.results import results_of
    from edgekit.reports import print_report, report_json, write_html

    if raw and not as_json:
        raise UsageError("--raw goes with --json")
    if html is not None:  # before anything is printed
        check_file(html, hint="give --html the name of a file that can be written")
    opened = load_build(build)
    results = results_of(opened)
    if as_json:
        click.echo(report_json(opened, results, raw=raw), nl=False)
    else:
        print_report(opened, results)
    if html is not None:
        write_html(opened, html, results)
        click.echo(f"page: {html}", err=as_json)


def show(build: Build, results: Sequence[Result] = ()) -> None:
    """The terminal's report, for the other commands."""
    from edgekit.reports import print_report

    print_report(build, results)
