"""A folder for a Linux board: models, manifest, README and a Python program that runs them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.bundles.contents import (
    Contents,
    add_artifacts,
    check_target,
    manifest_of,
)
from edgekit.bundles.manifest import MAX_VERSION, VERSION, Manifest
from edgekit.bundles.readme import readme
from edgekit.core.build import Build
from edgekit.core.errors import UsageError
from edgekit.core.files import replaced_folder
from edgekit.core.result import Result

README = "README.md"
EXAMPLE = "example.py"


@dataclass(frozen=True)
class Bundle:
    """A bundle that was just written.

    Attributes:
        digest: SHA-256 of its manifest, to be printed and kept apart from it.
    """

    folder: Path
    manifest: Manifest
    digest: str


def bundle_linux(
    build: Build,
    target: Path,
    *,
    variants: Sequence[str] = (),
    every: bool = False,
    results: Sequence[Result] = (),
    version: str = "0.1.0",
) -> Bundle:
    """Write the folder `target`; an older bundle there is replaced as a whole.

    The same build, results and edgekit give the same bytes.

    Args:
        build: with `folder` set, as `load_build` does.
        variants: names of those to take, also ones that were not accepted; the preferred one if
            not given.
        every: all that were accepted instead.
        results: those whose artifact is in the bundle go into the manifest, in this order.
        version: of the bundle, like 1.2.3.

    Raises:
        UnknownNameError: no variant has that name.
        RejectedError: the variant was never made, or none was accepted.
        UsageError: `version` is not of that form.
        InputError: a file of the build was changed since.
        OutputError: something else is at `target`, or it cannot be written.
    """
    if len(version) > MAX_VERSION or not re.fullmatch(VERSION, version):
        raise UsageError(f"--version {version!r} is not of the form 1.2.3")
    chosen = build.choose(variants, every=every, results=results)
    target = Path.cwd() / target
    check_target(target)
    with replaced_folder(target) as scratch:
        contents = Contents(scratch)
        artifacts = add_artifacts(contents, build, chosen, results)
        example = (Path(__file__).parent / "example.py").read_bytes()
        contents.add(EXAMPLE, example)
        draft = manifest_of(
            contents,
            build,
            artifacts,
            name=build.name,
            version=version,
            kind="linux",
            results=results,
        )
        text = readme(draft, board=build.profile.title, labels=len(build.labels))
        contents.add(README, text.encode())
        manifest = manifest_of(
            contents,
            build,
            artifacts,
            name=build.name,
            version=version,
            kind="linux",
            results=results,
        )
        digest = contents.finish(manifest)
    return Bundle(target, manifest, digest)
