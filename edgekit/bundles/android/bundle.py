"""A folder for an Android app: a Gradle module with the model and its accessor, and an .aar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edgekit.bundles.android.aar import make_aar
from edgekit.bundles.android.accessor import check_artifact
from edgekit.bundles.android.choice import (
    Condition,
    check_groups,
    device_groups,
    ordered,
    parse_condition,
)
from edgekit.bundles.android.names import package_name
from edgekit.bundles.android.sources import (
    GROUP,
    GROUPS_FILE,
    aar_metadata,
    android_manifest,
    build_file,
    consumer_rules,
    java_sources,
    pack_file,
)
from edgekit.bundles.android.usage import usage
from edgekit.bundles.contents import LABELS, About, Contents
from edgekit.bundles.making import Bundle, make_bundle
from edgekit.bundles.manifest import Manifest
from edgekit.bundles.signing import Signer
from edgekit.core.build import Build
from edgekit.core.errors import UsageError
from edgekit.core.result import Result

MODULE = "module"
ASSETS = f"{MODULE}/src/main/assets"
PACK = "pack"
PACK_ASSETS = f"{PACK}/src/main/assets"
Delivery = Literal["", "install-time", "fast-follow", "on-demand"]
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
    asset_pack: Delivery = "",
    when: Sequence[str] = (),
    ai_pack: Delivery = "",
) -> Bundle:
    """Write the folder `target`; an older bundle there is replaced as a whole.

    The same build, results, edgekit and (with `classpath`) javac give the same bytes.

    Args:
        build, variants, every, results, about, signer: as of `edgekit.bundles.bundle_linux`.
        package: of the Java classes; ``edgekit.<model>`` if not given.
        classpath: android.jar and the runtime's .aar files. With them an .aar is made too.
        asset_pack: how Play delivers the model in a pack of its own; empty: it is among the
            assets of the library.
        when: for which phones variants are, see `edgekit.bundles.android.choice`: one more class
            chooses among them.
        ai_pack: how Play delivers them, to each phone the one that `when` means for it.

    Raises:
        InputError: also where no app runs a variant, or the runtime's Java classes have no such
            inputs or outputs; a library of `classpath` cannot be read.
        UsageError: also where `package` is none, `when` does not say which phones a variant is for
            or says what Play does not know, or an .aar is wanted and there is no javac.
        ConversionError: the accessor does not compile against `classpath`.
        EdgekitError: else as `bundle_linux`.
    """
    package = package_name(package, (about or About()).name or build.name)
    delivery = asset_pack or ai_pack
    root = PACK_ASSETS if delivery else ASSETS
    assets = f"{root}/{package.replace('.', '/')}"
    asked = [parse_condition(text) for text in when]
    if ai_pack and not asked:
        raise UsageError(
            "--ai-pack delivers by groups of phones, and none is said",
            hint="say which with --when, or take --asset-pack",
        )

    def chosen(manifest: Manifest) -> list[Condition]:
        found = ordered(asked, manifest.artifacts, manifest.default) if asked else []
        if ai_pack:
            check_groups(found, [artifact.variant for artifact in manifest.artifacts])
        return found

    def folder(variant: str) -> str:
        group = next((each.group for each in asked if each.variant == variant), "other")
        return f"{assets}/model{GROUP}{group}" if ai_pack else assets

    def add(contents: Contents, manifest: Manifest) -> None:
        for artifact in manifest.artifacts:
            check_artifact(artifact)
        conditions = chosen(manifest)
        _add_library(contents, manifest, package, classpath, root, conditions)
        if delivery:
            made = pack_file(package, delivery, ai=bool(ai_pack))
            contents.add(f"{PACK}/build.gradle.kts", made.encode())
        if ai_pack:
            contents.add(f"{PACK}/{GROUPS_FILE}", device_groups(conditions).encode())

    def told(manifest: Manifest) -> list[str]:
        return usage(
            manifest.artifacts,
            default=manifest.default,
            package=package,
            model=manifest.name,
            aar=bool(classpath),
            delivery=delivery,
            conditions=chosen(manifest),
            by_groups=bool(ai_pack),
        )

    return make_bundle(
        build,
        target,
        kind="android",
        add=add,
        usage=told,
        models=folder,
        labels_path=f"{assets}/{LABELS}",
        variants=variants,
        every=every,
        results=results,
        about=about,
        signer=signer,
    )


def _add_library(
    contents: Contents,
    of: Manifest,
    package: str,
    classpath: Sequence[Path],
    root: str,
    conditions: Sequence[Condition],
) -> None:
    """The module, and with a `classpath` the same library as an .aar; `root`: where assets are."""
    artifacts = of.artifacts
    bundled = list(contents.files)
    sources = java_sources(
        artifacts,
        {file.path: file for file in bundled},
        package=package,
        model=of.name,
        version=of.version,
        assets=root,
        conditions=conditions,
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
                if root == ASSETS
            },
        }
        contents.add(f"{package.rpartition('.')[2]}.aar", make_aar(entries, sources, classpath))
