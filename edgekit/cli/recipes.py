"""`edgekit recipes`: recipes for common wishes, to use as they are or to start from."""

from __future__ import annotations

import click


@click.command(name="recipes")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the recipes that come with edgekit, or print one.

    \b
    edgekit recipes
    edgekit recipes smallest > mine.toml      # then change it, and its name
    edgekit convert model.keras --for raspberry-pi-5 --variant mine.toml …
    """
    from edgekit.cli.output import table
    from edgekit.core.recipe import shipped_recipe, shipped_recipes

    if name is not None:
        click.echo(shipped_recipe(name).read_text(encoding="utf-8"), nl=False)
        return
    table(["Recipe", "For"], ([each, what] for each, what in shipped_recipes().items()))
    click.echo("edgekit convert MODEL --for BOARD --variant NAME takes one as it is", err=True)
