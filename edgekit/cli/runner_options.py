"""Options of what runs an artifact on a board."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def runner_options(runner_help: str) -> Callable[[Command], Command]:
    """--wait, --python, --runtime, --runner, --native-program and --native-library."""
    options = (
        click.option(
            "--wait",
            "wait_seconds",
            type=click.FloatRange(min=0),
            default=300.0,
            help="For whoever is using the board. [300]",
        ),
        click.option("--python", metavar="PATH", help="The Python to use there."),
        click.option(
            "--runtime",
            metavar="NAME",
            help="The runtime's package, as pip calls it; what is there otherwise.",
        ),
        click.option("--runner", metavar="NAME", help=runner_help),
        click.option(
            "--native-program",
            metavar="PATH",
            help="A native runner that you built, as for Android.",
        ),
        click.option("--native-library", metavar="PATH", help="A libLiteRt.so of your own for it."),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add
