"""A folder for an Android app: a Gradle module with the model and its accessor, and an .aar."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

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
from edgekit.bundles.contents import LABELS, Contents, add_artifacts, check_target, manifest_of
from edgekit.bundles.linux import README, Bundle
from edgekit.bundles.manifest import MAX_VERSION, VERSION, BundledArtifact, Manifest
from edgekit.bundles.readme import readme
from edgekit.core.build import Build
from edgekit.core.errors import UsageError
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
    version: str = "0.1.0",
    package: str = "",
    classpath: Sequence[Path] = (),
) -> Bundle:
    """Write the folder `target`; an older bundle there is replaced as a whole.

    The same build, results, edgekit and (with `classpath`) javac give the same bytes.

    Args:
        build, variants, every, results, version: as of `edgekit.bundles.bundle_linux`.
        package: of the Java classes; ``edgekit.<model>`` if not given.
        classpath: android.jar and the runtime's .aar files. With them an .aar is made too.

    Raises:
        InputError: also where no app runs a variant, or the runtime's Java classes have no such
            inputs or outputs; a library of `classpath` cannot be read.
        UsageError: also where `package` is none, or an .aar is wanted and there is no javac.
        ConversionError: the accessor does not compile against `classpath`.
        EdgekitError: else as `bundle_linux`.
    """
    if len(version) > MAX_VERSION or not re.fullmatch(VERSION, version):
        raise UsageError(f"--version {version!r} is not of the form 1.2.3")
    package = package_name(package, build.name)
    chosen = build.choose(variants, every=every, results=results)
    target = Path.cwd() / target
    check_target(target)
    with replaced_folder(target) as scratch:
        contents = Contents(scratch)
        assets = f"{ASSETS}/{package.replace('.', '/')}"
        artifacts = add_artifacts(
            contents, build, chosen, results, models=assets, labels_path=f"{assets}/{LABELS}"
        )
        for artifact in artifacts:
            check_artifact(artifact)
        _add_library(contents, artifacts, package, build.name, version, classpath)

        def manifest() -> Manifest:
            return manifest_of(
                contents,
                build,
                artifacts,
                name=build.name,
                version=version,
                kind="android",
                results=results,
            )

        draft = manifest()
        text = readme(
            draft,
            board=build.profile.title,
            labels=len(build.labels),
            usage=usage(
                artifacts,
                default=draft.default,
                package=package,
                model=build.name,
                aar=bool(classpath),
            ),
        )
        contents.add(README, text.encode())
        made = manifest()
        digest = contents.finish(made)
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
