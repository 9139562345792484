"""The bundle job: a build, with what was measured of it, becomes the folder for the product."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edgekit.bundles import Bundle, bundle_android, bundle_linux
from edgekit.core.build import Build
from edgekit.core.errors import UsageError
from edgekit.core.result import latest
from edgekit.jobs.results import results_of

Target = Literal["linux", "android"]


def bundle(
    build: Build,
    output: Path,
    *,
    variants: Sequence[str] = (),
    every: bool = False,
    version: str = "0.1.0",
    target: Target = "linux",
    package: str = "",
    classpath: Sequence[Path] = (),
) -> Bundle:
    """Write the bundle folder `output`; see `edgekit.bundles.bundle_linux` for what it raises.

    `package` and `classpath` are for Android: see `edgekit.bundles.bundle_android`.

    Raises:
        UsageError: they are given for another target.
    """
    results = latest(results_of(build))
    if target == "android":
        return bundle_android(
            build,
            output,
            variants=variants,
            every=every,
            results=results,
            version=version,
            package=package,
            classpath=classpath,
        )
    if package or classpath:
        raise UsageError(f"--{'package' if package else 'classpath'} is for --for android only")
    return bundle_linux(
        build, output, variants=variants, every=every, results=results, version=version
    )
