"""A folder for a Linux board: models, manifest, README and a Python program that runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.bundles.classes import accessor, example, module_name
from edgekit.bundles.contents import About, Contents
from edgekit.bundles.making import Bundle, make_bundle
from edgekit.bundles.manifest import Manifest
from edgekit.bundles.packages import (
    Package,
    check_abis,
    check_about,
    package_name,
    write_deb,
    write_tarball,
)
from edgekit.bundles.signing import Signer
from edgekit.core.build import Build
from edgekit.core.result import Result

EXAMPLE = "example.py"


def bundle_linux(
    build: Build,
    target: Path,
    *,
    variants: Sequence[str] = (),
    every: bool = False,
    results: Sequence[Result] = (),
    about: About | None = None,
    signer: Signer | None = None,
) -> Bundle:
    """Write the folder `target`; an older bundle there is replaced as a whole.

    The same build, results and edgekit give the same bytes, but for ``model.sig``: a signature has
    a random number in it.

    Args:
        build: with `folder` set, as `load_build` does.
        variants: names of those to take, also ones that were not accepted; the preferred one if
            not given.
        every: all that were accepted instead.
        results: those whose artifact is in the bundle go into the manifest, in this order.
        about: what is said of the bundle: name, version, licence.
        signer: what signs it; it is not signed otherwise.

    Raises:
        UnknownNameError: no variant has that name.
        RejectedError: the variant was never made, or none was accepted.
        UsageError: something in `about` is not of the form it must have, or the key cannot be used.
        InputError: a file of the build was changed since.
        OutputError: something else is at `target`, or it cannot be written.
    """
    return make_bundle(
        build,
        target,
        kind="linux",
        add=_add_programs,
        variants=variants,
        every=every,
        results=results,
        about=about,
        signer=signer,
    )


def _add_programs(contents: Contents, manifest: Manifest) -> None:
    module = module_name(manifest.name)
    contents.add(f"{module}.py", accessor(manifest))
    contents.add(EXAMPLE, example(module))


def package_linux(
    build: Build,
    target: Path,
    *,
    variants: Sequence[str] = (),
    every: bool = False,
    results: Sequence[Result] = (),
    about: About,
    signer: Signer | None = None,
    abis: Sequence[str] = (),
) -> Bundle:
    """Write into the folder `target` a bundle, a tarball of it and a .deb for each ABI.

    What has their names there is replaced; anything else is left as it is.

    Args:
        abis: as Debian names them (arm64); the board's own if not given.

    Raises:
        UsageError: no maintainer or licence is given, or Debian does not know the architecture;
            and what `bundle_linux` raises.
    """
    check_about(about.maintainer, about.licence)
    chosen = check_abis(abis, build.profile.arch)
    target = Path.cwd() / target
    name = package_name(about.name or build.name)
    made = bundle_linux(
        build,
        target / name,
        variants=variants,
        every=every,
        results=results,
        about=about,
        signer=signer,
    )
    package = Package(made.folder, made.manifest, name)
    written = [target / f"{name}-{made.manifest.version}.tar.gz"]
    write_tarball(package, written[0])
    for abi in chosen:
        written.append(target / f"{name}_{package.version}_{abi}.deb")
        write_deb(package, abi, written[-1])
    return replace(made, packages=tuple(written))
