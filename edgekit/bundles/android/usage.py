"""The part of the bundle's README that tells an app's developer how the model is used."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.bundles.android.accessor import KOTLIN, USUAL, class_names, java
from edgekit.bundles.android.choice import Condition
from edgekit.bundles.android.names import GETTERS, class_name, member_names
from edgekit.bundles.android.sources import GROUPS_FILE, libraries, pack_name, suffixes
from edgekit.bundles.apps import all_given, class_scores
from edgekit.bundles.manifest import BundledArtifact
from edgekit.bundles.readme import code


def usage(
    artifacts: tuple[BundledArtifact, ...],
    *,
    default: str,
    package: str,
    model: str,
    aar: bool,
    delivery: str,
    conditions: Sequence[Condition] = (),
    by_groups: bool = False,
) -> list[str]:
    """Paragraphs of Markdown.

    Args:
        default: the variant that is shown.
        aar: there is one in the bundle.
        delivery: of the asset pack; empty without.
        conditions: of variants among which a class chooses.
        by_groups: the pack's models go to groups of phones.
    """
    module = package.rpartition(".")[2]
    names = class_names(model, [artifact.variant for artifact in artifacts])
    shown = next(at for at, artifact in enumerate(artifacts) if artifact.variant == default)
    parts = [
        "## Use it in an app",
        f"`module/` is an Android library: {'' if delivery else 'the model among its assets and '}"
        f"the class {' or '.join(code(name) for name in names)}. Copy the folder into the "
        f"app's project as `{module}/`, then:",
        f"```kotlin\n{_gradle(artifacts, module)}\n```",
        f"```kotlin\n{_kotlin(artifacts[shown], package, names[shown])}\n```",
        "`open` compares the file's SHA-256 with that of the file that was verified, and computes "
        "zeros once so that the first answer does not take longer. Options: "
        "`ModelOptions().threads(4).warmUp(0).checkHash(false)`. `model.report` says what was "
        "applied, and who refused the model before. `run` makes the model's input by exactly the "
        "steps stated below, bit for bit as edgekit did when it verified the model; an app that "
        "scales pictures in another way runs another model.",
        *(_choice(conditions, class_name(model), by_groups=by_groups) if conditions else []),
        *(_ai_pack(package, class_name(model), delivery) if by_groups else []),
        *(_pack(package, names[shown], delivery) if delivery and not by_groups else []),
        *_accelerators(artifacts),
    ]
    if aar:
        needed = "\n".join(f'    implementation("{name}")' for name in libraries(artifacts))
        parts.append(
            f"Without Gradle's module: `{module}.aar` is the same library, compiled. A file has no "
            "dependencies that Gradle would fetch and sets nothing of the app, so the app says "
            f"both:\n\n```kotlin\nandroid {{\n    {_no_compress(artifacts)}\n}}\ndependencies {{\n"
            f'    implementation(files("libs/{module}.aar"))\n{needed}\n}}\n```'
        )
    parts.append(
        "Not tried: no phone, no emulator, no Gradle build. The sources were compiled against "
        "declarations of Android's, LiteRT's and ExecuTorch's classes, and the preprocessing was "
        "run on a desktop's Java, where it gave edgekit's own bits. Measure on the phones that you "
        "mean before you ship."
    )
    return parts


def _choice(conditions: Sequence[Condition], name: str, *, by_groups: bool) -> list[str]:
    lines = [
        f"{at}. {code(each.variant)}: {each.words()}" for at, each in enumerate(conditions, start=1)
    ]
    which = "that Play has brought" if by_groups else "that is for the phone"
    return [
        f"{code(name)} is all of these in one: it opens the first variant {which} "
        "and that its runtime takes. `model.variant` says which, `model.refusals` which did not "
        "open and why; else it is used as the others are.",
        "\n".join(lines),
    ]


def _pack(package: str, name: str, delivery: str) -> list[str]:
    pack = pack_name(package)
    lines = [
        "// settings.gradle.kts",
        f'include(":{pack}")',
        "// app/build.gradle.kts",
        f'android {{ assetPacks += listOf(":{pack}") }}',
    ]
    said = (
        f"`pack/` is an asset pack of Google Play ({delivery}) with the model and its labels; the "
        f"library has none. Copy it into the app's project as `{pack}/`, too:"
    )
    return _brought(said, lines, pack, name, delivery, kind="asset")


def _ai_pack(package: str, name: str, delivery: str) -> list[str]:
    pack = pack_name(package)
    lines = [
        "// settings.gradle.kts",
        f'include(":{pack}")',
        "// gradle.properties, with Android's Gradle plugin 8.10 or newer",
        "android.experimental.enableDeviceTargetingConfigApi=true",
        "// app/build.gradle.kts",
        "android {",
        f'    assetPacks += listOf(":{pack}")',
        "    bundle {",
        f'        deviceTargetingConfig = file("../{pack}/{GROUPS_FILE}")',
        "        deviceGroup {",
        "            enableSplit = true",
        '            defaultGroup = "other"',
        "        }",
        "    }",
        "}",
    ]
    said = (
        f"`pack/` is an AI pack of Google Play ({delivery}): a phone gets the model of the first "
        f"group that it is in, by `{GROUPS_FILE}`, and the last one if it is in none. Copy it into "
        f"the app's project as `{pack}/`, too:"
    )
    return _brought(said, lines, pack, name, delivery, kind="ai")


def _brought(
    said: str, gradle: Sequence[str], pack: str, name: str, delivery: str, *, kind: str
) -> list[str]:
    """What is done with a pack, and how the model in it is opened once Play has brought it."""
    parts = [said, "```kotlin\n" + "\n".join(gradle) + "\n```"]
    if delivery == "install-time":
        return [*parts, "What is in it is among the app's assets; nothing else changes."]
    manager = f"{kind.title()}PackManager"
    return [
        *parts,
        f"Play brings it after the app (`com.google.android.play:{kind}-delivery`, whose "
        f"`{manager}` asks for it and tells how far it is). Then:",
        "```kotlin\n"
        f'val pack = {manager}Factory.getInstance(context).getPackLocation("{pack}")\n'
        f"{name}.open(context, ModelOptions().folder(File(pack!!.assetsPath()!!)))\n```",
    ]


def _gradle(artifacts: tuple[BundledArtifact, ...], module: str) -> str:
    lines = [
        "// settings.gradle.kts",
        f'include(":{module}")',
        "// app/build.gradle.kts",
        "android {",
        "    // stored as it is: a .tflite is mapped, a .pte copied once",
        f"    {_no_compress(artifacts)}",
        "}",
        "dependencies {",
        f'    implementation(project(":{module}"))',
        "}",
    ]
    return "\n".join(lines)


def _no_compress(artifacts: tuple[BundledArtifact, ...]) -> str:
    listed = ", ".join(f'"{suffix}"' for suffix in suffixes(artifacts))
    return f"androidResources {{ noCompress += listOf({listed}) }}"


def _kotlin(artifact: BundledArtifact, package: str, name: str) -> str:
    inputs, outputs = artifact.signature.inputs, artifact.signature.outputs
    parameters = member_names(spec.name for spec in inputs)
    getters = member_names((spec.name for spec in outputs), reserved=GETTERS)
    told = []
    for take, parameter in zip(all_given(artifact), parameters, strict=True):
        kind = "Bitmap or Picture" if take.picture else KOTLIN.get(java(take), java(take))
        told.append(f"    // {parameter}: {kind}, {take.words}")
    lines = [
        f"import {package}.{name}",
        "",
        f"{name}.open(context).use {{ model ->    // not on the main thread",
        *told,
        f"    val answer = model.run({', '.join(parameters)})",
        *(["    println(answer.best)    // name, score, index"] if class_scores(artifact) else []),
        f"    println(answer.{getters[0]}[0])",
        "    println(model.report)",
        "}",
    ]
    return "\n".join(lines)


def _accelerators(artifacts: tuple[BundledArtifact, ...]) -> list[str]:
    lines = []
    for artifact in artifacts:
        usual = USUAL[artifact.format, artifact.recipe.delegate]
        text = f"- {code(artifact.variant)}: {', else '.join(usual)}"
        if artifact.format == "executorch":
            text += "; the delegate was chosen when the file was made"
        else:
            text += "; another order with `ModelOptions().prefer(…)`"
            if "GPU" not in usual:
                text += ", where the GPU needs `litert-gpu` beside `litert` as a dependency"
        if "NPU" in usual:
            text += ". The app has to bring the chip vendor's libraries"
        lines.append(text + ".")
    return ["Accelerators, in the order in which they are tried:", "\n".join(lines)]
