"""`edgekit devices prepare`: a runtime onto a board."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="prepare")
@click.argument("target")
@click.option(
    "--runtime",
    metavar="NAME[==VERSION]",
    default="",
    help="Which runtime; the best that fits if not given.",
)
@click.option(
    "--wheels",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Take the packages from there, without network.",
)
@click.option("--undo", is_flag=True, help="Remove what prepare has put there, nothing else.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")
def command(target: str, runtime: str, wheels: Path | None, undo: bool, dry_run: bool) -> None:
    """Install a runtime on the board at TARGET.

    The runtime that fits its C library, Python and processor is fetched here with pip, sent there,
    and unpacked into ~/.edgekit/venv, where edgekit profile looks first. The board needs Python
    3.8 or newer; no network, no pip, no root. The second time there is nothing to do.
    """
    from edgekit.core.boards import target as board
    from edgekit.core.errors import UsageError
    from edgekit.jobs import prepare as job
    from edgekit.reports.words import plain

    def say(line: str) -> None:
        click.echo(plain(line))

    if undo and (runtime or wheels):
        raise UsageError("--undo removes whatever prepare has made: it takes no other option")
    address = board(target).address
    if undo:
        job.undo(address, dry_run=dry_run, say=say)
    else:
        job.prepare(address, runtime=runtime, folder=wheels, dry_run=dry_run, say=say)
