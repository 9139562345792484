"""A folder for a Linux board: models, manifest, README and a Python program that runs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.bundles.bom import BILL, bill_of_materials
from edgekit.bundles.classes import accessor, example, module_name
from edgekit.bundles.contents import (
    About,
    Contents,
    add_artifacts,
    check_target,
    manifest_of,
)
from edgekit.bundles.manifest import Manifest
from edgekit.bundles.packages import (
    Package,
    check_abis,
    check_about,
    package_name,
    write_deb,
    write_tarball,
)
from edgekit.bundles.readme import readme
from edgekit.bundles.signing import Signer, check_signer
from edgekit.core.build import Build
from edgekit.core.files import replaced_folder
from edgekit.core.result import Result

README = "README.md"
EXAMPLE = "example.py"


@dataclass(frozen=True)
class Bundle:
    """A bundle that was just written.

    Attributes:
        digest: SHA-256 of its manifest, to be printed and kept apart from it.
        packages: the same as files to install or unpack, if any were asked for.
    """

    folder: Path
    manifest: Manifest
    digest: str
    packages: tuple[Path, ...] = ()


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
    about = about or About()
    about.check()
    chosen = build.choose(variants, every=every, results=results)
    target = Path.cwd() / target
    check_target(target)
    if signer is not None:
        check_signer(signer)
    with replaced_folder(target) as scratch:
        contents = Contents(scratch)
        artifacts = add_artifacts(contents, build, chosen, results, about=about)

        def manifest(**more: Any) -> Manifest:
            return manifest_of(
                contents, build, artifacts, about=about, kind="linux", results=results, **more
            )

        draft = manifest(signed=signer is not None)
        module = module_name(draft.name)
        contents.add(f"{module}.py", accessor(draft))
        contents.add(EXAMPLE, example(module))
        text = readme(draft, board=build.profile.title, labels=len(build.labels))
        contents.add(README, text.encode())
        contents.add(BILL, bill_of_materials(draft))
        final = manifest(bill=BILL, signed=signer is not None)
        digest = contents.finish(final, signer)
    return Bundle(target, final, digest)


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
