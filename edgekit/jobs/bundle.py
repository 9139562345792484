"""The bundle job: a build, with what was measured of it, becomes the folder for the product."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.bundles import About, Bundle, Signer, bundle_linux
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
) -> Bundle:
    """Write the bundle folder `output`; see `edgekit.bundles.bundle_linux` for what it raises."""
    return bundle_linux(
        build,
        output,
        variants=variants,
        every=every,
        results=latest(results_of(build)),
        about=about,
        signer=signer,
    )
