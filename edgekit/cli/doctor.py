"""`edgekit doctor`: what is here, what is missing, how to get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgekit.jobs.doctor import Finding

STATE = 10  # columns for a version
BELOW = 6  # columns before the lines below
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
        told = {each.how for each in findings if each.group != "delegates"}
        for number, (group, title) in enumerate(TITLES.items()):
            click.echo(("\n" if number else "") + click.style(title, bold=True))
            members = [finding for finding in findings if finding.group == group]
            width = max((len(finding.name) for finding in members), default=0)
            for finding in members:
                further_down = group == "delegates" and told >= set(finding.how.split("; "))
                _show(finding, width, "" if further_down else finding.how)
    require(findings, required)


def _show(finding: Finding, width: int, how: str) -> None:
    """What it is; where it is missing, lines below that say why and what to do."""
    state = (finding.version or "yes") if finding.here else "missing"
    colour = "green" if finding.here else "yellow"
    lead = f"  {finding.name:<{width}}  {click.style(f'{state:<{STATE}}', fg=colour)}  "
    indent = width + STATE + 6
    title = _wrapped(finding.title, _columns() - indent) or [""]
    click.echo((lead + title[0]).rstrip())
    for line in title[1:]:
        click.echo(" " * indent + line)
    # "missing" has said already that it is not installed, not set, not on PATH.
    reason = "" if finding.missing.startswith("it is not") else finding.missing
    for line in _wrapped(reason, _columns() - BELOW) + _wrapped(how, _columns() - BELOW, "→ "):
        click.echo(" " * BELOW + line)


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
