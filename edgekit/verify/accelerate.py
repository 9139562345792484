"""Where a ``.tflite`` really runs, as LiteRT on this computer says when it loads the file.

    xnnpack     which operators LiteRT's CPU delegate takes, in its own execution plan
    gpu         whether LiteRT's GPU accelerator takes all of them, and computes the same

The GPU is the one that this computer's Vulkan loader finds; its variables (VK_DRIVER_FILES,
VK_ICD_FILENAMES, LD_LIBRARY_PATH) are honoured. A driver in software will do: parity is proved
there, speed is not, and neither is float16, in which phones compute and such drivers do not.

Every function here gives a step and does nothing itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgekit.core.recipe import Recipe
from edgekit.work.steps import Step

__all__ = ["gpu_step", "vulkan_drivers", "xnnpack_step"]

LITERT = ("ai-edge-litert", "numpy")
# Where the Vulkan loader looks on Linux, and what steers it:
# https://github.com/KhronosGroup/Vulkan-Loader/blob/main/docs/LoaderDriverInterface.md
_VARIABLES = ("VK_DRIVER_FILES", "VK_ADD_DRIVER_FILES", "VK_ICD_FILENAMES", "LD_LIBRARY_PATH")
_FOLDERS = (
    "/usr/local/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d",
    "/usr/share/vulkan/icd.d", "~/.local/share/vulkan/icd.d",
)  # fmt: skip


def xnnpack_step(artifact: Step, recipe: Recipe) -> Step:
    """Which operators XNNPACK takes; the result holds ``coverage``, a `Coverage` as JSON.

    Nodes are in the file's order, "xnnpack" or "cpu"; a loop's body comes after the main graph,
    with the multiply-adds of one round.

    The step raises ConversionError if LiteRT does not load the file.
    """
    return Step(
        title=f"{recipe.name}: ask LiteRT what XNNPACK takes",
        function="edgekit.verify.accelerate_xnnpack:run",
        worker="litert",
        needs={"artifact": artifact},
        tools=LITERT,
    )


def gpu_step(artifact: Step, check: Step, recipe: Recipe) -> Step:
    """Whether LiteRT's GPU accelerator takes the artifact, and answers `check` as the CPU does.

    Done in a process of its own, since a driver may crash. The result holds

    ``coverage``            a `Coverage` as JSON; None where it was not run
    ``fully_accelerated``   whether every operator runs on the GPU
    ``refused``             what the GPU does not take: ``{"operator", "why"}`` each, in its words
    ``device``              the GPU's name, ``software`` whether it is a driver in software
    ``parity``              ``max_abs_error`` and ``snr_db`` of the output that is worst, against
                            the CPU's in ``check.npz``, as real numbers; ``snr_db`` is None where
                            nothing differs. None if nothing was computed
    ``mismatch``            "" or how the outputs differ by more than `recipe` allows
    ``error``               "" or why it could not be loaded or run
    ``problems``            both of these, where there is one: why the artifact is not accepted
    ``notes``               sentences for the report

    Args:
        artifact: the step that makes it (see `Exporter.step`).
        check: from `edgekit.verify.check_set_step`.
    """
    return Step(
        title=f"{recipe.name}: load in LiteRT's GPU accelerator",
        function="edgekit.verify.accelerate_gpu:run",
        worker="litert",
        arguments={"quantization": recipe.quantization},
        # With another driver the answer may be another.
        identity={"quantization": recipe.quantization, "vulkan": vulkan_drivers()},
        needs={"artifact": artifact, "check": check},
        tools=LITERT,
    )


def vulkan_drivers() -> dict[str, list[str]]:
    """The variables that steer Vulkan's loader and the driver files with their size and time."""
    found = {name: [os.environ[name]] for name in _VARIABLES if os.environ.get(name)}
    named = [
        part
        for name in _VARIABLES[:3]
        for part in os.environ.get(name, "").split(os.pathsep)
        if part
    ]
    paths = [Path(part).expanduser() for part in (*named, *_FOLDERS)]
    files = [file for path in paths for file in (path, *sorted(path.glob("*.json")))]
    found["files"] = [
        f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}"
        for file in dict.fromkeys(files)
        if file.is_file()
    ]
    return found
