"""`edgekit boards`: the boards that one has."""

from __future__ import annotations

import click


@click.command(name="boards")
@click.option(
    "--release", metavar="NAME", help="Measure there again, after it was left alone for failing."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(release: str | None, as_json: bool) -> None:
    """List the boards that you have.

    They are written down in boards.toml; --on then takes their names, and group:NAME. One that
    failed three times in a row among several is left alone until --release.
    """
    from edgekit.cli.output import table
    from edgekit.core.boards import boards_file, known_boards, target
    from edgekit.reports.words import plain
    from edgekit.store.queue import Queue

    if release is not None:
        address = target(release).address
        failed = address in Queue().troubles()
        Queue().board_worked(address)
        click.echo(f"{release} is measured again" if failed else f"{release} was not left alone")
        return
    boards, troubles = known_boards(), Queue().troubles()
    if as_json:
        import json
        from dataclasses import asdict

        told = [
            {
                "name": board.name,
                **board.to_json(),
                "trouble": asdict(troubles[board.address]) if board.address in troubles else None,
            }
            for board in boards.values()
        ]
        click.echo(json.dumps(told, indent=2))
        return
    if boards:
        table(
            ["Board", "Address", "Kind", "Groups"],
            (
                [board.name, board.address, board.kind, ", ".join(board.groups)]
                for board in boards.values()
            ),
        )
        click.echo(f"from {boards_file()}")
    else:
        click.echo(f"No board is written down in {boards_file()}. One is three lines there:\n")
        click.echo('schema = 1\n[boards.kitchen-pi]\naddress = "ssh://pi@raspberrypi.local"')
    names = {board.address: board.name for board in boards.values()}
    for trouble in troubles.values():
        name = names.get(trouble.address, trouble.address)
        times = "once" if trouble.failures == 1 else f"{trouble.failures} times in a row"
        left = f"; left alone until edgekit boards --release {name}" if trouble.quarantined else ""
        click.echo(plain(f"{name} failed {times}, the last time: {trouble.reason}{left}"))
