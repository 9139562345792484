"""`edgekit doctor`: what is here, what is missing, how to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgekit.jobs.doctor import Finding

STATE = 10  # columns for a version
WIDEST = 120


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--require",
    "required",
    multiple=True,
    metavar="NAME",
    help="End with 4 if that cannot be used (a name of the first column). Repeatable.",
)
def command(as_json: bool, required: tuple[str, ...]) -> None:
    """Say which converters, runtimes and compilers are here, and how to get the others."""
    from edgekit.jobs.doctor import TITLES, examine, require

    findings = examine()
    if as_json:
        import json

        click.echo(json.dumps([each.to_json() for each in findings], indent=2, ensure_ascii=False))
    elif not required:
        width = max(len(each.name) for each in findings)
        told = {each.how for each in findings if each.group != "delegates"}
        for number, (group, title) in enumerate(TITLES.items()):
            click.echo(("\n" if number else "") + click.style(title, bold=True))
            for finding in findings:
                if finding.group == group:
                    further_down = group == "delegates" and finding.how in told
                    _show(finding, width, "" if further_down else finding.how)
    require(findings, required)


def _show(finding: Finding, width: int, how: str) -> None:
    """A line; where something is missing, more lines that say what, and what to do."""
    state = (finding.version or "yes") if finding.here else "missing"
    colour = "green" if finding.here else "yellow"
    lead = f"  {finding.name:<{width}}  {click.style(f'{state:<{STATE}}', fg=colour)}  "
    indent = " " * (width + STATE + 6)
    room = _columns() - len(indent)
    said = _wrapped(finding.title, room)
    if finding.missing != "it is not installed":  # the line above says that already
        said += _wrapped(finding.missing, room)
    said += _wrapped(how, room, "→ ")
    click.echo(lead + (said[0] if said else ""))
    for line in said[1:]:
        click.echo(indent + line)


def _columns() -> int:
    """Where nobody looks (a pipe, a file), lines are not broken: they are for grep."""
    import shutil
    import sys

    return min(shutil.get_terminal_size().columns, WIDEST) if sys.stdout.isatty() else 1000


def _wrapped(text: str, room: int, first: str = "") -> list[str]:
    import textwrap

    return textwrap.wrap(
        text,
        max(room, 20),
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
