"""`edgekit clean`: free the space that cached work takes."""

from __future__ import annotations

import click


@click.command(name="clean")
@click.option(
    "--on", "on", metavar="DEVICE", help="What was pushed to that board, instead of the cache here."
)
@click.option(
    "--keep",
    "keep_mb",
    type=click.IntRange(min=0),
    default=0,
    metavar="MB",
    help="Keep what was used last, up to this much. [0]",
)
@click.option(
    "--environments",
    is_flag=True,
    help="Also the environments with boards' runtimes, and native runners.",
)
@click.option("--dry-run", is_flag=True, help="Say what is there; remove nothing.")
def command(on: str | None, keep_mb: int, environments: bool, dry_run: bool) -> None:
    """Free the space that cached work takes.

    Builds, bundles and measured results are not touched. Work that was removed is done again when
    it is needed; trainings that were interrupted start anew. Toolchains stay; edgekit toolchain
    remove takes them away.
    """
    from edgekit.core.files import readable_bytes
    from edgekit.jobs.clean import clean_device, clean_here, usage_here, usage_of_device

    if dry_run:
        held = usage_of_device(on) if on else usage_here()
        click.echo(f"{on or 'here'}: {held.entries} entries, {readable_bytes(held.size_bytes)}")
        return
    keep = keep_mb * 10**6
    freed = clean_device(on, keep) if on else clean_here(keep, environments=environments)
    click.echo(
        f"{on or 'here'}: {freed.entries} entries removed, {readable_bytes(freed.size_bytes)} freed"
    )
