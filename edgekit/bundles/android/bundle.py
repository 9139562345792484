"""A folder for an Android app: a Gradle module with the model and its accessor, and an .aar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.bundles.android.aar import make_aar
from edgekit.bundles.android.accessor import check_artifact
from edgekit.bundles.android.names import package_name
from edgekit.bundles.android.sources import (
    aar_metadata,
    android_manifest,
    build_file,
    consumer_rules,
    java_sources,
)
from edgekit.bundles.android.usage import usage
from edgekit.bundles.bom import BILL, bill_of_materials
from edgekit.bundles.contents import (
    LABELS,
    About,
    Contents,
    add_artifacts,
    check_target,
    manifest_of,
)
from edgekit.bundles.linux import README, Bundle
from edgekit.bundles.manifest import BundledArtifact, Manifest
from edgekit.bundles.readme import readme
from edgekit.bundles.signing import Signer, check_signer
from edgekit.core.build import Build
from edgekit.core.files import replaced_folder
from edgekit.core.result import Result

MODULE = "module"
ASSETS = f"{MODULE}/src/main/assets"
JAVA = f"{MODULE}/src/main/java"


def bundle_android(
    build: Build,
    target: Path,
    *,
    variants: Sequence[str] = (),
    every: bool = False,
    results: Sequence[Result] = (),
    about: About | None = None,
    signer: Signer | None = None,
    package: str = "",
    classpath: Sequence[Path] = (),
) -> Bundle:
    """Write the folder `target`; an older bundle there is replaced as a whole.

    The same build, results, edgekit and (with `classpath`) javac give the same bytes.

    Args:
        build, variants, every, results, about, signer: as of `edgekit.bundles.bundle_linux`.
        package: of the Java classes; ``edgekit.<model>`` if not given.
        classpath: android.jar and the runtime's .aar files. With them an .aar is made too.

    Raises:
        InputError: also where no app runs a variant, or the runtime's Java classes have no such
            inputs or outputs; a library of `classpath` cannot be read.
        UsageError: also where `package` is none, or an .aar is wanted and there is no javac.
        ConversionError: the accessor does not compile against `classpath`.
        EdgekitError: else as `bundle_linux`.
    """
    about = about or About()
    about.check()
    name = about.name or build.name
    package = package_name(package, name)
    chosen = build.choose(variants, every=every, results=results)
    target = Path.cwd() / target
    check_target(target)
    if signer is not None:
        check_signer(signer)
    with replaced_folder(target) as scratch:
        contents = Contents(scratch)
        assets = f"{ASSETS}/{package.replace('.', '/')}"
        artifacts = add_artifacts(
            contents,
            build,
            chosen,
            results,
            about=about,
            models=assets,
            labels_path=f"{assets}/{LABELS}",
        )
        for artifact in artifacts:
            check_artifact(artifact)
        _add_library(contents, artifacts, package, name, about.version, classpath)

        def manifest(**more: Any) -> Manifest:
            return manifest_of(
                contents, build, artifacts, about=about, kind="android", results=results, **more
            )

        draft = manifest(signed=signer is not None)
        text = readme(
            draft,
            board=build.profile.title,
            labels=len(build.labels),
            usage=usage(
                artifacts,
                default=draft.default,
                package=package,
                model=name,
                aar=bool(classpath),
            ),
        )
        contents.add(README, text.encode())
        contents.add(BILL, bill_of_materials(draft))
        made = manifest(bill=BILL, signed=signer is not None)
        digest = contents.finish(made, signer)
    return Bundle(target, made, digest)


def _add_library(
    contents: Contents,
    artifacts: tuple[BundledArtifact, ...],
    package: str,
    model: str,
    version: str,
    classpath: Sequence[Path],
) -> None:
    """The module, and with a `classpath` the same library as an .aar."""
    bundled = list(contents.files)
    sources = java_sources(
        artifacts,
        {file.path: file for file in bundled},
        package=package,
        model=model,
        version=version,
        assets=ASSETS,
    )
    rules = consumer_rules(artifacts).encode()
    for path, text in sources.items():
        contents.add(f"{JAVA}/{path}", text.encode())
    contents.add(f"{MODULE}/build.gradle.kts", build_file(artifacts, package).encode())
    contents.add(f"{MODULE}/consumer-rules.pro", rules)
    manifest = android_manifest(package, for_aar=False)
    contents.add(f"{MODULE}/src/main/AndroidManifest.xml", manifest.encode())
    if classpath:
        entries = {
            "AndroidManifest.xml": android_manifest(package, for_aar=True).encode(),
            "META-INF/com/android/build/gradle/aar-metadata.properties": aar_metadata().encode(),
            "R.txt": b"",  # there are no resources
            "proguard.txt": rules,
            **{
                f"assets/{file.path.removeprefix(ASSETS + '/')}": (
                    contents.folder / file.path
                ).read_bytes()
                for file in bundled
            },
        }
        contents.add(f"{package.rpartition('.')[2]}.aar", make_aar(entries, sources, classpath))
