"""`edgekit verify`: is a bundle what its manifest says?"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--digest", default="", metavar="SHA256", help="The manifest's, as edgekit bundle printed it."
)
def command(bundle: Path, digest: str) -> None:
    """Check that a bundle is what its manifest says.

    A changed, missing or extra file is refused with exit code 8. Without --digest, a bundle that
    somebody rewrote as a whole, manifest included, cannot be told from the real one.
    """
    from edgekit.bundles import verify_bundle

    found = verify_bundle(bundle, digest=digest)
    manifest = found.manifest
    assert manifest is not None
    click.echo(
        f"{bundle}: {manifest.name} {manifest.version}, {len(manifest.files)} files, all as listed"
    )
    if not digest:
        click.echo(f"manifest {found.digest}: compare it with what edgekit bundle printed")
