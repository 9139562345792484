"""The part of the bundle's README that tells an app's developer how the model is used."""

from __future__ import annotations

from edgekit.bundles.apps import all_given, class_scores
from edgekit.bundles.ios.accessor import USUAL, class_names, swift_type
from edgekit.bundles.ios.names import MEMBERS, member_names
from edgekit.bundles.ios.package import PACKAGES, systems
from edgekit.bundles.manifest import BundledArtifact
from edgekit.bundles.readme import code

WORDS = {"cpu": "CPU", "gpu": "GPU", "coreML": "Core ML"}


def usage(
    artifacts: tuple[BundledArtifact, ...], *, default: str, module: str, model: str
) -> list[str]:
    """Paragraphs of Markdown.

    Args:
        default: the variant that is shown.
    """
    names = class_names(model, [artifact.variant for artifact in artifacts])
    shown = next(at for at, artifact in enumerate(artifacts) if artifact.variant == default)
    ios, macos = systems(artifacts)
    runtimes = " and ".join(
        f"`{PACKAGES[form][0]}`, branch `{PACKAGES[form][1]}`"
        for form in dict.fromkeys(artifact.format for artifact in artifacts)
    )
    # ExecuTorch's Swift package sets no threads.
    threads = "threads: 4, " if artifacts[shown].format == "tflite" else ""
    return [
        "## Use it in an app",
        f"`{module}/` is a Swift package: the model among its resources and the class "
        f"{' or '.join(code(name) for name in names)}. Copy the folder into the app's project, "
        "then in Xcode: File, Add Package Dependencies…, Add Local…, that folder, and the library "
        f"`{module}` for the app's target. It needs Xcode 15, iOS {ios} or macOS {macos}; Xcode "
        f"fetches the runtime by itself, from {runtimes}. It has to be a local package: Xcode lets "
        "one that it fetches by version depend on no branch.",
        f"```swift\n{_swift(artifacts[shown], module, names[shown])}\n```",
        "Opening compares the file's SHA-256 with that of the file that was verified, and computes "
        "zeros once so that the first answer does not take longer. Options: "
        f"`ModelOptions({threads}warmUp: 0, checkHash: false)`. `model.report` says what was "
        "applied, and who refused the model before. `run` makes the model's input by exactly the "
        "steps stated below, bit for bit as edgekit did when it verified the model; an app that "
        "scales pictures in another way runs another model.",
        "Accelerators, in the order in which they are tried:",
        "\n".join(_accelerator(artifact) for artifact in artifacts),
        "The package's tests hold inputs and what edgekit made of them: `swift test` on a Mac, or "
        "Product, Test in Xcode, shows that the same bits come of them there.",
        "Not tried: no Mac, no iPhone, no Xcode. The sources were compiled and the tests run on "
        "Linux by Swift 6.0, over declarations of what the runtimes' packages have. Measure on the "
        "phones that you mean before you ship.",
    ]


def _swift(artifact: BundledArtifact, module: str, name: str) -> str:
    inputs, outputs = artifact.signature.inputs, artifact.signature.outputs
    parameters = member_names(spec.name for spec in inputs)
    members = member_names((spec.name for spec in outputs), reserved=MEMBERS)
    told = []
    for take, parameter in zip(all_given(artifact), parameters, strict=True):
        kind = "CGImage, CVPixelBuffer or Picture" if take.picture else swift_type(take)
        told.append(f"// {parameter}: {kind}, {take.words}")
    call = ", ".join(f"{parameter}: {parameter}" for parameter in parameters)
    return "\n".join(
        [
            f"import {module}",
            "",
            f"let model = try {name}()    // not on the main thread",
            *told,
            f"let answer = try model.run({call})",
            *(["print(answer.best)    // name and score"] if class_scores(artifact) else []),
            f"print(answer.{members[0]}[0])",
            "print(model.report)",
            "model.close()    // or let the last reference to it go",
        ]
    )


def _accelerator(artifact: BundledArtifact) -> str:
    usual = USUAL[artifact.format, artifact.recipe.delegate]
    text = f"- {code(artifact.variant)}: {', else '.join(WORDS[each] for each in usual)}"
    if artifact.format == "executorch":
        return f"{text}; the delegate was chosen when the file was made."
    text += "; another order with `ModelOptions(prefer: […])`"
    if "gpu" not in usual:
        text += ", where the GPU needs the product `LiteRtMetalAccelerator` in the app, too"
    return f"{text}."
