"""`edgekit boards`: the boards that one has."""

from __future__ import annotations

import click


@click.command(name="boards")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """List the boards that you have.

    They are written down in boards.toml; --on then takes their names, and group:NAME.
    """
    from edgekit.cli.output import table
    from edgekit.core.boards import boards_file, known_boards

    boards = known_boards()
    if as_json:
        import json

        told = [{"name": board.name, **board.to_json()} for board in boards.values()]
        click.echo(json.dumps(told, indent=2))
        return
    if not boards:
        click.echo(f"No board is written down in {boards_file()}. One is three lines there:\n")
        click.echo('schema = 1\n[boards.kitchen-pi]\naddress = "ssh://pi@raspberrypi.local"')
        return
    table(
        ["Board", "Address", "Kind", "Groups"],
        (
            [board.name, board.address, board.kind, ", ".join(board.groups)]
            for board in boards.values()
        ),
    )
    click.echo(f"from {boards_file()}")
