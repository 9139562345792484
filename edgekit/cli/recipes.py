"""`edgekit recipes`: recipes for common wishes, and spaces of them to search."""

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
    edgekit recipes untrained > space.toml    # what edgekit tune --space may try
    """
    from edgekit.cli.output import table
    from edgekit.core.errors import UnknownNameError
    from edgekit.core.recipe import shipped_recipe, shipped_recipes
    from edgekit.search.space import shipped_spaces, space_text

    if name is not None:
        if name not in (*shipped_recipes(), *shipped_spaces()):
            raise UnknownNameError("recipe", name, (*shipped_recipes(), *shipped_spaces()))
        if name in shipped_spaces():
            click.echo(space_text(name), nl=False)
        else:
            click.echo(shipped_recipe(name).read_text(encoding="utf-8"), nl=False)
        return
    table(["Recipe", "For"], ([each, what] for each, what in shipped_recipes().items()))
    click.echo("edgekit convert MODEL --for BOARD --variant NAME takes one as it is", err=True)
    table(["Space", "Of"], ([each, what] for each, what in shipped_spaces().items()))
    click.echo("edgekit tune MODEL --for BOARD --space NAME searches one", err=True)
