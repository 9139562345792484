"""The texts of a Swift package: manifest and sources."""

from __future__ import annotations

from pathlib import Path

from edgekit.bundles.ios.accessor import ENGINES, accessor, class_names
from edgekit.bundles.manifest import BundledArtifact, BundledFile

SWIFT = Path(__file__).parent / "swift"
TESTS = Path(__file__).parent / "swift_tests"
TOOLS = "5.9"  # of Xcode 15
# The Swift packages of the runtimes, by format: where, which branch, the least systems.
PACKAGES = {
    "tflite": (
        "https://github.com/google-ai-edge/LiteRT.git",
        "release/2.3.0",
        "LiteRT",
    ),
    "executorch": (
        "https://github.com/pytorch/executorch.git",
        "swiftpm-1.5.0",
        "executorch",
    ),
}
SYSTEMS = {"tflite": (15, 12), "executorch": (17, 14)}  # iOS, macOS
# Products of those packages, by format and delegate.
PRODUCTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("tflite", "xnnpack"): ("LiteRT",),
    ("tflite", "gpu"): ("LiteRT", "LiteRtMetalAccelerator"),
    ("executorch", "xnnpack"): (
        "executorch",
        "backend_xnnpack",
        "kernels_optimized",
        "kernels_quantized",
    ),
    ("executorch", "portable"): ("executorch", "kernels_optimized", "kernels_quantized"),
    ("executorch", "coreml"): (
        "executorch",
        "backend_coreml",
        "kernels_optimized",
        "kernels_quantized",
    ),
}


def swift_sources(
    artifacts: tuple[BundledArtifact, ...],
    files: dict[str, BundledFile],
    *,
    model: str,
    version: str,
    models: str,
) -> dict[str, str]:
    """Every Swift source of the module by its name.

    Args:
        files: the bundle's, by path.
        models: the bundle's folder with the models and labels.
    """
    formats = {artifact.format for artifact in artifacts}
    left_out = {f"{name}.swift" for form, name in ENGINES.items() if form not in formats}
    made = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(SWIFT.glob("*.swift"))
        if path.name not in left_out
    }
    names = class_names(model, [artifact.variant for artifact in artifacts])
    for name, artifact in zip(names, artifacts, strict=True):
        labels = artifact.labels
        made[f"{name}.swift"] = accessor(
            artifact,
            name=name,
            model=model,
            version=version,
            resource=artifact.files[0].removeprefix(f"{models}/"),
            labels=None if labels is None else labels.removeprefix(f"{models}/"),
            file=files[artifact.files[0]],
        )
    return made


def products(artifacts: tuple[BundledArtifact, ...]) -> list[tuple[str, str]]:
    """What runs `artifacts`: products and the packages that they are of, without repetition."""
    found: dict[tuple[str, str], None] = {}
    for artifact in artifacts:
        package = PACKAGES[artifact.format][2]
        names = PRODUCTS[artifact.format, artifact.recipe.delegate]
        found |= dict.fromkeys((name, package) for name in names)
    return list(found)


def systems(artifacts: tuple[BundledArtifact, ...]) -> tuple[int, int]:
    """The least versions of iOS and macOS that every runtime of `artifacts` is made for."""
    every = [SYSTEMS[artifact.format] for artifact in artifacts]
    return max(ios for ios, _ in every), max(macos for _, macos in every)


def package_file(artifacts: tuple[BundledArtifact, ...], module: str) -> str:
    """``Package.swift``."""
    ios, macos = systems(artifacts)
    formats = dict.fromkeys(artifact.format for artifact in artifacts)
    packages = "".join(
        f'    .package(url: "{PACKAGES[form][0]}", branch: "{PACKAGES[form][1]}"),\n'
        for form in formats
    )
    needed = "".join(
        f'        .product(name: "{name}", package: "{package}"),\n'
        for name, package in products(artifacts)
    )
    # ExecuTorch's backends and kernels register themselves, so nothing of theirs is called by name
    # and the linker would leave it out.
    linker = (
        '      linkerSettings: [.unsafeFlags(["-Xlinker", "-all_load"], '
        ".when(platforms: [.iOS, .macOS]))]\n"
        if "executorch" in formats
        else ""
    )
    comma = "," if linker else ""
    return f"""\
// swift-tools-version:{TOOLS}
import PackageDescription

let package = Package(
  name: "{module}",
  platforms: [.iOS(.v{ios}), .macOS(.v{macos})],
  products: [
    .library(name: "{module}", targets: ["{module}"])
  ],
  dependencies: [
{packages}  ],
  targets: [
    .target(
      name: "{module}",
      dependencies: [
{needed}      ],
      resources: [.copy("Models")]{comma}
{linker}    ),
    .testTarget(
      name: "{module}Tests",
      dependencies: ["{module}"],
      resources: [.copy("Vectors")]
    ),
  ]
)
"""
