"""The bundle job: a build, with what was measured of it, becomes the folder for the product."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from edgekit.bundles import (
    About,
    Bundle,
    Delivery,
    Signer,
    bundle_android,
    bundle_ios,
    bundle_linux,
    package_linux,
)
from edgekit.core.build import Build
from edgekit.core.errors import UsageError
from edgekit.core.result import latest
from edgekit.jobs.results import results_of

Target = Literal["folder", "linux", "android", "ios"]


def bundle(
    build: Build,
    output: Path,
    *,
    variants: Sequence[str] = (),
    every: bool = False,
    about: About | None = None,
    signer: Signer | None = None,
    target: Target = "folder",
    abis: Sequence[str] = (),
    package: str = "",
    classpath: Sequence[Path] = (),
    asset_pack: Delivery = "",
    when: Sequence[str] = (),
    ai_pack: Delivery = "",
) -> Bundle:
    """Write the bundle folder `output`; see `edgekit.bundles.bundle_linux` for what it raises.

    Args:
        target: "linux": `output` is a folder for the bundle, a tarball and a package for each of
            `abis`, see `edgekit.bundles.package_linux`; "android": see
            `edgekit.bundles.bundle_android`, which takes `package`, `classpath`, `asset_pack`,
            `when` and `ai_pack`; "ios": see `edgekit.bundles.bundle_ios`.

    Raises:
        UsageError: something is given that is for another target.
    """
    if asset_pack and ai_pack:
        raise UsageError(
            "the model is in one pack: --asset-pack or --ai-pack", hint="leave one out"
        )
    if abis and target != "linux":
        raise UsageError("--abi is of a package", hint="add --for linux")
    androids = {
        "package": package,
        "classpath": classpath,
        "asset-pack": asset_pack,
        "when": when,
        "ai-pack": ai_pack,
    }
    if target != "android" and (given_ := [name for name, value in androids.items() if value]):
        raise UsageError(f"--{given_[0]} is of an Android app's classes", hint="add --for android")
    given: dict[str, Any] = {
        "variants": variants,
        "every": every,
        "results": latest(results_of(build)),
        "about": about or About(),
        "signer": signer,
    }
    if target == "android":
        return bundle_android(
            build,
            output,
            **given,
            package=package,
            classpath=classpath,
            asset_pack=asset_pack,
            when=when,
            ai_pack=ai_pack,
        )
    if target == "ios":
        return bundle_ios(build, output, **given)
    if target == "linux":
        return package_linux(build, output, **given, abis=abis)
    return bundle_linux(build, output, **given)
