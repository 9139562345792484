"""The bundle job: a build, with what was measured of it, becomes the folder for the product."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.bundles import About, Bundle, Signer, bundle_linux, package_linux
from edgekit.core.build import Build
from edgekit.core.result import latest
from edgekit.jobs.results import results_of


def bundle(
    build: Build,
    output: Path,
    *,
    variants: Sequence[str] = (),
    every: bool = False,
    about: About | None = None,
    signer: Signer | None = None,
    packages: bool = False,
    abis: Sequence[str] = (),
) -> Bundle:
    """Write the bundle folder `output`; see `edgekit.bundles.bundle_linux` for what it raises.

    Args:
        packages: `output` is a folder for the bundle, a tarball and a package for each of `abis`;
            see `edgekit.bundles.package_linux`.
    """
    results = latest(results_of(build))
    if packages:
        return package_linux(
            build,
            output,
            variants=variants,
            every=every,
            results=results,
            about=about or About(),
            signer=signer,
            abis=abis,
        )
    return bundle_linux(
        build,
        output,
        variants=variants,
        every=every,
        results=results,
        about=about,
        signer=signer,
    )
