"""`edgekit bundle`: a build becomes the folder for the product."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgekit.bundles import Delivery
    from edgekit.jobs.bundle import Target

# name: (where, the line shown in `edgekit bundle --help`)
SUBCOMMANDS = {
    "diff": (
        "edgekit.cli.bundle_diff:command",
        "Say whether an app that runs OLD can take NEW in its place.",
    ),
    "keygen": (
        "edgekit.cli.bundle_keygen:command",
        "Make a key to sign bundles with.",
    ),
}


class BuildOrCommand(click.Group):
    """Sub-commands that are imported on use; any other word is the folder of a build."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in SUBCOMMANDS:
            return make
        from edgekit.core.registry import resolve

        command: click.Command = resolve(SUBCOMMANDS[name][0])
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # A build may come before or after its options, which a group does not know: the word
        # that is first decides, and everything else belongs to the command that is meant.
        if args and args[0] not in SUBCOMMANDS and args[0] not in ctx.help_option_names:
            ctx.meta["edgekit.bundle"] = args
            args = []
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        args = ctx.meta.get("edgekit.bundle")
        if args is None:
            return super().invoke(ctx)
        with make.make_context(ctx.info_name, list(args), parent=ctx.parent) as own:
            return make.invoke(own)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        make.format_help(click.Context(make, parent=ctx.parent, info_name=ctx.info_name), formatter)
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in SUBCOMMANDS.items()])


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
@click.option(
    "--for",
    "target",
    type=click.Choice(["folder", "linux", "android", "ios"]),
    default="folder",
    show_default=True,
    help="linux: DIR gets the folder, a .deb for each ABI, and a tarball. android: a Gradle module "
    "with a typed class. ios: a Swift package with one.",
)
@click.option(
    "--abi",
    "abis",
    multiple=True,
    metavar="ABI",
    help="Of a .deb: arm64, amd64, armhf, riscv64; the board's otherwise.",
)
@click.option("--name", default="", metavar="NAME", help="Of the bundle; the build's otherwise.")
@click.option("--version", default="0.1.0", show_default=True, help="Of the bundle.")
@click.option("--description", default="", metavar="TEXT", help="What the model is for, a line.")
@click.option("--licence", default="", metavar="SPDX", help="Of the model: Apache-2.0.")
@click.option("--maintainer", default="", metavar="NAME", help="'Ada Byron <ada@example.org>'.")
@click.option(
    "--sign-key",
    metavar="PEM",
    type=click.Path(path_type=Path),
    help="Sign it with this key; edgekit bundle keygen makes one.",
)
@click.option(
    "--sign-cert",
    metavar="PEM",
    type=click.Path(path_type=Path),
    help="The key's certificate, and those between it and the authority's.",
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
@click.option(
    "--asset-pack",
    type=click.Choice(["install-time", "fast-follow", "on-demand"]),
    help="Android: the model in an asset pack of Google Play.",
)
@click.option(
    "--when",
    multiple=True,
    metavar="RULE",
    help="Android: for which phones a variant is, as 'npu: soc=SM8650|SM8750, api>=31, ram>=8GB'; "
    "one class then opens the first that suits.",
)
@click.option(
    "--ai-pack",
    type=click.Choice(["install-time", "fast-follow", "on-demand"]),
    help="Android: each phone gets the variant that --when means for it, from Google Play.",
)
def make(
    build: Path,
    output: Path,
    variants: tuple[str, ...],
    every: bool,
    target: Target,
    abis: tuple[str, ...],
    name: str,
    version: str,
    description: str,
    licence: str,
    maintainer: str,
    sign_key: Path | None,
    sign_cert: Path | None,
    package: str,
    classpath: tuple[Path, ...],
    asset_pack: Delivery | None,
    when: tuple[str, ...],
    ai_pack: Delivery | None,
) -> None:
    """Make the folder that goes into the product.

    It holds the artifacts, a manifest (digests, inputs and outputs, preprocessing, labels, where
    all of it is from), a bill of materials, a README for the app's developer, and a Python program
    that runs the model.
    """
    from edgekit.bundles import About, Signer
    from edgekit.cli.output import say_preferred
    from edgekit.core.build import load_build
    from edgekit.core.errors import UsageError
    from edgekit.jobs.bundle import bundle

    if sign_cert is not None and sign_key is None:
        raise UsageError("--sign-cert signs nothing without its key", hint="add --sign-key PEM")
    opened = load_build(build)
    if not variants and not every:
        say_preferred(opened)
    made = bundle(
        opened,
        output,
        variants=variants,
        every=every,
        about=About(name, version, description, licence, maintainer),
        signer=Signer(sign_key, sign_cert) if sign_key is not None else None,
        target=target,
        abis=abis,
        package=package,
        classpath=classpath,
        asset_pack=asset_pack or "",
        when=when,
        ai_pack=ai_pack or "",
    )
    folder = output / made.folder.name if target == "linux" else output
    width = max(len(artifact.variant) for artifact in made.manifest.artifacts)
    for artifact in made.manifest.artifacts:
        click.echo(f"{artifact.variant:<{width}}  {folder / artifact.files[0]}")
    click.echo(f"bundle: {folder}")
    for made_package in made.packages:
        click.echo(f"package: {output / made_package.name}")
    if sign_key is None:
        how = f"--digest {made.digest}"
    elif sign_cert:
        how = "--certificate-chain CA.pem"
    else:
        public = sign_key.with_name(f"{sign_key.stem}.pub.pem")  # as keygen names it
        how = f"--public-key {public if public.is_file() else 'PUB.pem'}"
    click.echo(f"check it with: edgekit verify {folder} {how}")


@click.group(name="bundle", cls=BuildOrCommand, invoke_without_command=True)
def command() -> None:
    """Make the folder that goes into the product."""
