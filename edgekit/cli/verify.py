"""`edgekit verify`: is a bundle what its manifest says, and by whom it should be?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edgekit.bundles.manifest import Manifest


@click.command(name="verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--public-key",
    metavar="PEM",
    type=click.Path(path_type=Path),
    help="The key that the bundle has to be signed with.",
)
@click.option(
    "--certificate-chain",
    "authorities",
    multiple=True,
    metavar="PEM",
    type=click.Path(path_type=Path),
    help="The authority whose certificate the bundle has to be signed with.",
)
@click.option(
    "--digest", default="", metavar="SHA256", help="The manifest's, as edgekit bundle printed it."
)
@click.option(
    "--apk",
    "apps",
    multiple=True,
    metavar="APK",
    type=click.Path(path_type=Path),
    help="An app that was built with the bundle: the models in it are looked at, too.",
)
def command(
    bundle: Path,
    public_key: Path | None,
    authorities: tuple[Path, ...],
    digest: str,
    apps: tuple[Path, ...],
) -> None:
    """Check that a bundle is what its manifest says.

    A changed, missing or extra file is refused with exit code 8, and so is a signature that is not
    by the key or authority given. Without one of them, and without --digest, a bundle that somebody
    rewrote as a whole cannot be told from the real one.

    With --apk also that an app has its models as they were verified, so that they can be mapped,
    and native libraries for phones with pages of 16 KB.
    """
    from edgekit.bundles import Trust, verify_bundle
    from edgekit.core.errors import UsageError

    if public_key is not None and authorities:
        raise UsageError("--public-key and --certificate-chain exclude each other")
    found = verify_bundle(bundle, digest=digest, trust=Trust(public_key, authorities))
    manifest = found.manifest
    assert manifest is not None
    click.echo(
        f"{bundle}: {manifest.name} {manifest.version}, {len(manifest.files)} files, all as listed"
    )
    if found.signed is None:
        click.echo("it is not signed")
    elif found.signed.checked:
        click.echo(f"signed by {found.signed.by}, which is trusted")
    else:
        click.echo(f"it says that it is signed by {found.signed.by}; that was not checked:")
        click.echo("  give --public-key, or --certificate-chain, from elsewhere than the bundle")
    if not digest and found.signed is None:  # of a signed one bundle prints no digest
        click.echo(f"manifest {found.digest}: compare it with what edgekit bundle printed")
    for app in apps:
        _say_app(app, manifest)


def _say_app(app: Path, manifest: Manifest) -> None:
    from edgekit.bundles.apk import check_apk

    checked = check_apk(app, manifest)
    count = len(checked.models)
    models = "the model is" if count == 1 else f"{count} models are"
    click.echo(f"{app}: {models} in it as verified, not compressed and aligned")
    if checked.libraries:
        click.echo(f"  {len(checked.libraries)} native libraries of 64 bits suit pages of 16 KB")
    if checked.delivered:
        click.echo(f"  not in it, for Play to bring: {', '.join(checked.delivered)}")
