"""How a bundle's folder comes about, whatever kind it is: models, what the kind adds, papers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.bundles.bom import BILL, bill_of_materials
from edgekit.bundles.contents import (
    LABELS,
    About,
    Contents,
    add_artifacts,
    check_target,
    manifest_of,
    usual_folder,
)
from edgekit.bundles.manifest import Kind, Manifest
from edgekit.bundles.readme import readme
from edgekit.bundles.signing import Signer, check_signer
from edgekit.core.build import Build
from edgekit.core.files import replaced_folder
from edgekit.core.result import Result

README = "README.md"


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


def make_bundle(
    build: Build,
    target: Path,
    *,
    kind: Kind,
    add: Callable[[Contents, Manifest], None],
    usage: Callable[[Manifest], Sequence[str]] | None = None,
    models: Callable[[str], str] = usual_folder,
    labels_path: str = LABELS,
    variants: Sequence[str] = (),
    every: bool = False,
    results: Sequence[Result] = (),
    about: About | None = None,
    signer: Signer | None = None,
) -> Bundle:
    """Write the folder `target`; an older bundle there is replaced as a whole.

    Args:
        add: adds what the kind has beside the models, which are there already; the manifest tells
            of them.
        usage: the README's part on how it is run, in paragraphs; by ``example.py`` if not given.
        models: the folder that a variant's artifacts go to, by its name.
        labels_path: where the labels go.
        variants, every, results, about, signer: as of `edgekit.bundles.bundle_linux`, which also
            says what is raised.
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
        artifacts = add_artifacts(
            contents,
            build,
            chosen,
            results,
            about=about,
            models=models,
            labels_path=labels_path,
        )

        def manifest(**more: Any) -> Manifest:
            return manifest_of(
                contents, build, artifacts, about=about, kind=kind, results=results, **more
            )

        draft = manifest(signed=signer is not None)
        add(contents, draft)
        text = readme(
            draft,
            board=build.profile.title,
            labels=len(build.labels),
            usage=usage(draft) if usage is not None else None,
        )
        contents.add(README, text.encode())
        contents.add(BILL, bill_of_materials(draft))
        made = manifest(bill=BILL, signed=signer is not None)
        digest = contents.finish(made, signer)
    return Bundle(target, made, digest)
