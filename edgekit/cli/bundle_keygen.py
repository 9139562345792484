"""`edgekit bundle keygen`: a key to sign bundles with."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="keygen")
@click.argument("key", type=click.Path(path_type=Path))
def command(key: Path) -> None:
    """Make a key to sign bundles with.

    KEY is the private one; the public one, for --public-key, is written beside it.

    It is one on the curve P-256, without a password. Any of P-256, P-384 or P-521 will do:

    openssl ecparam -name secp384r1 -genkey -noout | openssl pkcs8 -topk8 -out key.pem
    """
    from edgekit.bundles import make_key

    public = make_key(key)
    click.echo(f"{key}: the private key; keep it to yourself")
    click.echo(f"{public}: the public key; give it to whoever verifies, not with the bundle")
