"""The doctor job: what this computer can convert with and run, what is missing, how to get it.

Nothing is imported that could be slow: versions come from the packages' metadata.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from edgekit.core.errors import EdgekitError, PlanError, UnknownNameError
from edgekit.core.files import readable_bytes
from edgekit.core.noun import Noun
from edgekit.core.recipe import KINDS, Format
from edgekit.core.requirement import Requirement
from edgekit.export.delegates import DELEGATES
from edgekit.jobs.toolchain import states
from edgekit.work.protocols import Delegate
from edgekit.work.requirements import find_file, missing, package_version
from edgekit.work.toolchains import TOOLCHAINS

Group = Literal["packages", "delegates", "toolchains", "makers", "system"]

TITLES: dict[Group, str] = {
    "packages": "Python packages",
    "delegates": "What computes an artifact (FORMAT/DELEGATE)",
    "toolchains": "Toolchains in environments of their own",
    "makers": "Makers' SDKs and programs",
    "system": "This computer",
}

# Name of the distribution: what it is for, the extra of edgekit that brings it.
PACKAGES = {
    "tensorflow": ("Keras models and SavedModels in, TFLite out", "keras"),
    "tf-keras": ("models of Keras 2", "keras"),
    "ai-edge-quantizer": ("quantizes TFLite", "keras"),
    "ai-edge-litert": ("runs TFLite", "keras"),
    "torch": ("PyTorch models in", "torch"),
    "litert-torch": ("PyTorch to TFLite", "torch"),
    "executorch": ("PyTorch to ExecuTorch; runs it", "executorch"),
    "onnx": ("ONNX in and out", "onnx"),
    "onnxruntime": ("quantizes and runs ONNX", "onnx"),
    "onnx2tf": ("ONNX to TFLite", "onnx"),
    "onnxslim": ("simplifies ONNX", "onnx"),
    "onnxsim": ("simplifies ONNX", "onnx"),
    "paramiko": ("boards over SSH", "ssh"),
    "adbutils": ("phones over adb", "adb"),
    "pillow": ("folders of images as data", "images"),
    "ziglang": ("builds the native runner, for boards without Python", "native"),
}

# What every delegate of a format needs, if it has no environment of its own.
OF_FORMAT: dict[Format, tuple[str, ...]] = {
    "tflite": (),
    "executorch": ("torch", "executorch"),
    "onnx": ("onnx",),
}

EXTRA = "pip install 'edgekit["
VULKAN = "libvulkan.so.1"
ICD_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
ICD_FOLDERS = ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d")


class Finding(Noun):
    """One thing that was looked for.

    Attributes:
        title: what it is for.
        here: whether it can be used.
        version: where it has one.
        missing: what is wrong, if it cannot be used.
        how: what brings it.
    """

    group: Group
    name: str
    title: str
    here: bool
    version: str = ""
    missing: str = ""
    how: str = ""


def examine() -> list[Finding]:
    """All that was looked for, in the order of the groups."""
    return [*_packages(), *_delegates(), *_toolchains(), *_makers(), *_system()]


def require(findings: Sequence[Finding], names: Sequence[str]) -> None:
    """Pass if all of `names` can be used.

    Raises:
        UnknownNameError: nothing of that name was looked for.
        PlanError: one cannot be used; says which and how to get them.
    """
    by_name = {finding.name: finding for finding in findings}
    for name in names:
        if name not in by_name:
            raise UnknownNameError("thing to require", name, by_name, hint="edgekit doctor")
    lacking = [by_name[name] for name in names if not by_name[name].here]
    if lacking:
        raise PlanError(
            "; ".join(f"{each.name} cannot be used: {each.missing}" for each in lacking),
            hint="; ".join(dict.fromkeys(each.how for each in lacking if each.how)),
        )


def _packages() -> Iterator[Finding]:
    for name, (title, extra) in PACKAGES.items():
        version = package_version(name)
        yield Finding(
            group="packages",
            name=name,
            title=title,
            here=bool(version),
            version=version,
            missing="" if version else "it is not installed",
            how="" if version else f"{EXTRA}{extra}]'",
        )


def _delegates() -> Iterator[Finding]:
    for key in DELEGATES:
        try:
            delegate: Delegate = DELEGATES[key]()
        except EdgekitError as exc:  # another package's, which is broken
            yield Finding(
                group="delegates", name=key, title="", here=False, missing=exc.message, how=exc.hint
            )
            continue
        numbers = ", ".join(_number(kind) for kind in delegate.quantizations)
        title = f"{delegate.title}: {numbers}{'; runs here' if delegate.runs_here else ''}"
        # One that has a compiler of each maker's needs only that of the chip it is for.
        vendors: dict[str, Sequence[Requirement]] = getattr(delegate, "vendors", {})
        for vendor, needs in vendors.items():
            yield _delegate(f"{key}/{vendor}", title, needs)
        if not vendors:
            yield _delegate(key, title, _needs(key, delegate))


def _delegate(name: str, title: str, needs: Sequence[Requirement]) -> Finding:
    lacking = [needed for needed in needs if missing(needed)]
    return Finding(
        group="delegates",
        name=name,
        title=title,
        here=not lacking,
        missing="needs " + " and ".join(map(_reason, lacking)) if lacking else "",
        how="; ".join(dict.fromkeys(_how(needed) for needed in lacking)),
    )


def _reason(needed: Requirement) -> str:
    reason = missing(needed)
    return str(needed) if reason.startswith("it is not") else f"{needed}: {reason}"


def _needs(key: str, delegate: Delegate) -> list[Requirement]:
    needs = list(delegate.requirements)
    if any(needed.kind == "toolchain" for needed in needs):
        return needs
    told = {needed.name for needed in needs}
    file_format = key.partition("/")[0]
    for name, packages in OF_FORMAT.items():
        if name == file_format:
            needs += [_package(package) for package in packages if package not in told]
    return needs


def _package(name: str) -> Requirement:
    return Requirement(kind="package", name=name, how=f"{EXTRA}{PACKAGES[name][1]}]'")


def _number(quantization: str) -> str:
    """As variants call it."""
    return next(name for name, (kind, _, _) in KINDS.items() if kind == quantization)


def _toolchains() -> Iterator[Finding]:
    for state in states():
        toolchain = state.toolchain
        size = readable_bytes(state.size_bytes)
        yield Finding(
            group="toolchains",
            name=toolchain.name,
            title=f"{toolchain.title}, {size}" if state.installed else toolchain.title,
            here=state.installed,
            missing="" if state.installed else "it is not installed",
            how="" if state.installed else toolchain.how,
        )


def _makers() -> Iterator[Finding]:
    """What delegates need beside edgekit's extras and toolchains, each once."""
    users: dict[str, list[str]] = {}
    needed: dict[str, Requirement] = {}
    for key in DELEGATES:
        try:
            requirements = DELEGATES[key]().requirements
        except EdgekitError:  # told above
            continue
        for requirement in requirements:
            extra = requirement.kind == "package" and requirement.how.startswith(EXTRA)
            if requirement.kind != "toolchain" and not extra:
                users.setdefault(requirement.name, []).append(key)
                needed[requirement.name] = requirement
    for name, requirement in sorted(needed.items()):
        problem = missing(requirement)
        yield Finding(
            group="makers",
            name=name,
            title=f"for {', '.join(users[name])}",
            here=not problem,
            missing=problem,
            how=requirement.how if problem else "",
        )


def _system() -> Iterator[Finding]:
    yield Finding(
        group="system",
        name="python",
        title=f"{platform.system()} on {platform.machine()}",
        here=True,
        version=platform.python_version(),
    )
    drivers = _vulkan_drivers()
    problem = ""
    if find_file(VULKAN) is None:
        problem = f"there is no {VULKAN}"
    elif not drivers:
        problem = "no driver is registered"
    yield Finding(
        group="system",
        name="vulkan",
        title=" with ".join(["runs TFLite on the GPU", *drivers]),
        here=not problem,
        missing=problem,
        how="the GPU maker's driver, or SwiftShader (in Debian's chromium-common; VK_DRIVER_FILES "
        "leads to its JSON file), with the loader of libvulkan1"
        if problem
        else "",
    )


def _vulkan_drivers() -> list[str]:
    """Names of the registered drivers whose description can be read."""
    named = [os.environ.get(name, "") for name in ICD_VARIABLES]
    paths = [Path(path) for value in named for path in value.split(":") if path]
    if not paths:
        paths = [path for folder in ICD_FOLDERS for path in sorted(Path(folder).glob("*.json"))]
    found = []
    for path in dict.fromkeys(paths):
        try:
            json.loads(path.read_text(encoding="utf-8"))["ICD"]["library_path"]
        except (OSError, ValueError, KeyError, TypeError):  # not one that the loader takes
            continue
        found.append(path.stem)
    return found


def _how(requirement: Requirement) -> str:
    if requirement.kind == "toolchain" and requirement.name in TOOLCHAINS:
        return TOOLCHAINS[requirement.name].how
    return requirement.how
