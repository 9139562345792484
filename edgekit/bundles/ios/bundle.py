"""A folder for an iOS app: a Swift package with the model, its class and test vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.bundles.contents import LABELS, About, Contents
from edgekit.bundles.ios.accessor import check_artifact, class_names
from edgekit.bundles.ios.names import module_name
from edgekit.bundles.ios.package import TESTS, package_file, swift_sources
from edgekit.bundles.ios.usage import usage
from edgekit.bundles.ios.vectors import checks, files, test_source
from edgekit.bundles.making import Bundle, make_bundle
from edgekit.bundles.manifest import Manifest
from edgekit.bundles.signing import Signer
from edgekit.core.build import Build
from edgekit.core.result import Result

TESTED = "@testable import EdgekitModels"


def bundle_ios(
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

    The same build, results and edgekit give the same bytes.

    Args:
        variants, every, results, about, signer: as of `edgekit.bundles.bundle_linux`.

    Raises:
        InputError: also where no app runs a variant, or the runtime's Swift types have no such
            inputs or outputs.
        EdgekitError: else as `bundle_linux`.
    """
    module = module_name((about or About()).name or build.name)
    # Not "Resources": a bundle on iOS with a folder of that name cannot be signed.
    models = f"{module}/Sources/{module}/Models"

    def add(contents: Contents, manifest: Manifest) -> None:
        for artifact in manifest.artifacts:
            check_artifact(artifact)
        _add_package(contents, manifest, module, models)

    def told(manifest: Manifest) -> list[str]:
        return usage(
            manifest.artifacts, default=manifest.default, module=module, model=manifest.name
        )

    return make_bundle(
        build,
        target,
        kind="ios",
        add=add,
        usage=told,
        models=lambda _: models,
        labels_path=f"{models}/{LABELS}",
        variants=variants,
        every=every,
        results=results,
        about=about,
        signer=signer,
    )


def _add_package(contents: Contents, of: Manifest, module: str, models: str) -> None:
    sources = swift_sources(
        of.artifacts,
        {file.path: file for file in contents.files},
        model=of.name,
        version=of.version,
        models=models,
    )
    contents.add(f"{module}/Package.swift", package_file(of.artifacts, module).encode())
    for name, text in sources.items():
        contents.add(f"{module}/Sources/{module}/{name}", text.encode())
    names = class_names(of.name, [artifact.variant for artifact in of.artifacts])
    every = [
        check
        for name, artifact in zip(names, of.artifacts, strict=True)
        for check in checks(artifact, name)
    ]
    tests = f"{module}/Tests/{module}Tests"
    for name, data in files(every).items():
        contents.add(f"{tests}/Vectors/{name}", data)
    contents.add(f"{tests}/VectorTests.swift", test_source(every, names, module).encode())
    text = (TESTS / "Vectors.swift").read_text(encoding="utf-8")
    text = text.replace(TESTED, f"@testable import {module}")
    contents.add(f"{tests}/Vectors.swift", text.encode())
