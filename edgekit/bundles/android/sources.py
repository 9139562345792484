"""The texts of an Android library module: sources, manifest, rules, Gradle's build file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgekit.bundles.android.accessor import accessor, class_names
from edgekit.bundles.android.choice import Condition, chooser
from edgekit.bundles.manifest import BundledArtifact, BundledFile

JAVA = Path(__file__).parent / "java"
HERE = "package edgekit.model;"
MIN_SDK = 24  # LiteRT 2.3.0's; Gradle tells where another library asks for more
COMPILE_SDK = 34
LITERT = "2.3.0"
EXECUTORCH = "1.5.1"
ENGINES = {"tflite": "LiteRtEngine.java", "executorch": "ExecuTorchEngine.java"}
# Of Maven, by the format and the delegate: what runs it.
LIBRARIES: dict[tuple[str, str], tuple[str, ...]] = {
    ("tflite", "xnnpack"): (f"com.google.ai.edge.litert:litert:{LITERT}",),
    ("tflite", "gpu"): (
        f"com.google.ai.edge.litert:litert:{LITERT}",
        f"com.google.ai.edge.litert:litert-gpu:{LITERT}",
    ),
    ("tflite", "npu"): (f"com.google.ai.edge.litert:litert:{LITERT}",),
    ("executorch", "xnnpack"): (f"org.pytorch:executorch-android:{EXECUTORCH}",),
    ("executorch", "portable"): (f"org.pytorch:executorch-android:{EXECUTORCH}",),
    ("executorch", "vulkan"): (f"org.pytorch:executorch-android-vulkan:{EXECUTORCH}",),
    ("executorch", "qnn"): (f"org.pytorch:executorch-android-qnn:{EXECUTORCH}",),
}
# Behind a folder's name: what is in it goes to one group of phones, by the name without that.
GROUP = "#group_"
GROUPED = re.compile(rf"{GROUP}[a-z0-9_]+")
GROUPS_FILE = "device_targeting_config.xml"
KEPT = {
    "tflite": ("com.google.ai.edge.litert.**",),
    "executorch": ("org.pytorch.executorch.**", "com.facebook.jni.**"),
}


def java_sources(
    artifacts: tuple[BundledArtifact, ...],
    files: dict[str, BundledFile],
    *,
    package: str,
    model: str,
    version: str,
    assets: str,
    conditions: Sequence[Condition] = (),
) -> dict[str, str]:
    """Every Java source by its path below the source folder.

    Args:
        conditions: of variants among which a class chooses; see `choice.ordered`.
        files: the bundle's, by path.
        assets: the bundle's folder whose content the app has as its assets.
    """
    formats = {artifact.format for artifact in artifacts}
    left_out = {name for form, name in ENGINES.items() if form not in formats}
    delivered = any(GROUP in artifact.files[0] for artifact in artifacts)
    left_out |= set() if conditions and not delivered else {"Phone.java"}
    folder = package.replace(".", "/")
    made = {
        f"{folder}/{path.name}": path.read_text(encoding="utf-8").replace(
            HERE, f"package {package};", 1
        )
        for path in sorted(JAVA.glob("*.java"))
        if path.name not in left_out
    }
    names = class_names(model, [artifact.variant for artifact in artifacts])
    for name, artifact in zip(names, artifacts, strict=True):
        labels = artifact.labels
        made[f"{folder}/{name}.java"] = accessor(
            artifact,
            package=package,
            name=name,
            model=model,
            version=version,
            asset=GROUPED.sub("", artifact.files[0].removeprefix(f"{assets}/")),
            labels=None if labels is None else labels.removeprefix(f"{assets}/"),
            file=files[artifact.files[0]],
        )
    if conditions:
        name, text = chooser(
            conditions,
            artifacts,
            package=package,
            model=model,
            version=version,
            delivered=delivered,
        )
        made[f"{folder}/{name}.java"] = text
    return made


def libraries(artifacts: tuple[BundledArtifact, ...]) -> list[str]:
    """What runs `artifacts`, as Maven coordinates, without repetition."""
    found: dict[str, None] = {}
    for artifact in artifacts:
        found |= dict.fromkeys(LIBRARIES[artifact.format, artifact.recipe.delegate])
    # The Vulkan and QNN builds of ExecuTorch have all that the plain one has, under the same names.
    special = any(name.split(":")[1].startswith("executorch-android-") for name in found)
    plain = f"org.pytorch:executorch-android:{EXECUTORCH}"
    return [name for name in found if not (special and name == plain)]


def suffixes(artifacts: tuple[BundledArtifact, ...]) -> list[str]:
    """Of the models' files, without the dot: what an app must not compress."""
    return sorted({artifact.files[0].rpartition(".")[2] for artifact in artifacts})


def android_manifest(package: str, *, for_aar: bool) -> str:
    """Gradle has namespace and minSdk from the build file; an AAR says them itself."""
    if not for_aar:
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n'
            '<manifest xmlns:android="http://schemas.android.com/apk/res/android" />\n'
        )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<manifest xmlns:android="http://schemas.android.com/apk/res/android"\n'
        f'    package="{package}">\n\n'
        f'    <uses-sdk android:minSdkVersion="{MIN_SDK}" />\n\n'
        "</manifest>\n"
    )


def consumer_rules(artifacts: tuple[BundledArtifact, ...]) -> str:
    """For the app's R8: the runtimes' native code finds Java classes by their names."""
    kept = [name for form, names in KEPT.items() for name in names if _has(artifacts, form)]
    lines = ["# The runtime's native code calls these classes by their names."]
    lines += [f"-keep class {name} {{ *; }}" for name in kept]
    return "\n".join(lines) + "\n"


def build_file(artifacts: tuple[BundledArtifact, ...], package: str) -> str:
    """``build.gradle.kts`` of the module."""
    compressed = ", ".join(f'"{suffix}"' for suffix in suffixes(artifacts))
    needed = "\n".join(f'    implementation("{name}")' for name in libraries(artifacts))
    return f"""\
plugins {{
    id("com.android.library")
}}

android {{
    namespace = "{package}"
    compileSdk = {COMPILE_SDK}

    defaultConfig {{
        minSdk = {MIN_SDK}
        consumerProguardFiles("consumer-rules.pro")
    }}

    androidResources {{
        noCompress += listOf({compressed})
    }}

    compileOptions {{
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }}
}}

dependencies {{
{needed}
}}
"""


def pack_name(package: str) -> str:
    """Of the asset pack, which is a module of the app's project by that name."""
    return f"{package.rpartition('.')[2]}_pack"


def pack_file(package: str, delivery: str, *, ai: bool) -> str:
    """``build.gradle.kts`` of the asset pack, or of the AI pack, whose files go by groups."""
    plugin, block = ("ai-pack", "aiPack") if ai else ("asset-pack", "assetPack")
    return f"""\
plugins {{
    id("com.android.{plugin}")
}}

{block} {{
    packName.set("{pack_name(package)}")
    dynamicDelivery {{
        deliveryType.set("{delivery}")
    }}
}}
"""


def aar_metadata() -> str:
    """``aar-metadata.properties``: Gradle refuses a file of that name that lacks the versions."""
    return (
        "aarFormatVersion=1.0\naarMetadataVersion=1.0\nminCompileSdk=1\n"
        "minCompileSdkExtension=0\nminAndroidGradlePluginVersion=1.0.0\n"
    )


def _has(artifacts: tuple[BundledArtifact, ...], form: str) -> bool:
    return any(artifact.format == form for artifact in artifacts)
