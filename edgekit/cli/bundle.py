"""`edgekit bundle`: a build becomes the folder for the product."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgekit.jobs.bundle import Target


@click.command(name="bundle")
@click.argument("build", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="NAME",
    help="Which; the fastest measured one, or INT8, otherwise.",
)
@click.option("--all", "every", is_flag=True, help="All accepted ones.")
@click.option("--version", default="0.1.0", show_default=True, help="Of the bundle.")
@click.option(
    "--for",
    "target",
    type=click.Choice(["linux", "android"]),
    default="linux",
    show_default=True,
    help="What runs it; android: a Gradle module with a typed class.",
)
@click.option("--package", default="", metavar="NAME", help="Android: of the classes.")
@click.option(
    "--classpath",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Android: make an .aar too, compiled against these: android.jar, the runtime's .aar, "
    "or folders with them.",
)
def command(
    build: Path,
    output: Path,
    variants: tuple[str, ...],
    every: bool,
    version: str,
    target: Target,
    package: str,
    classpath: tuple[Path, ...],
) -> None:
    """Make the folder that goes into the product.

    It holds the artifacts, a manifest (digests, inputs and outputs, preprocessing, labels, where
    all of it is from), a README for the app's developer, and a Python program that runs the model.
    """
    from edgekit.cli.output import say_preferred
    from edgekit.core.build import load_build
    from edgekit.jobs.bundle import bundle

    opened = load_build(build)
    if not variants and not every:
        say_preferred(opened)
    made = bundle(
        opened,
        output,
        variants=variants,
        every=every,
        version=version,
        target=target,
        package=package,
        classpath=classpath,
    )
    width = max(len(artifact.variant) for artifact in made.manifest.artifacts)
    for artifact in made.manifest.artifacts:
        click.echo(f"{artifact.variant:<{width}}  {output / artifact.files[0]}")
    click.echo(f"bundle: {output}")
    click.echo(f"check it with: edgekit verify {output} --digest {made.digest}")
