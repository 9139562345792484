"""NPUs of phones and laptops, through LiteRT's ahead-of-time compilers.

    # variants
    npu-int8  npu-int8-io  npu-int16x8  npu-float16  npu-float32

    # in a recipe file; in a device profile under [[accelerators]]
    [options]
    vendor = "qualcomm"               # mediatek, google_tensor, samsung, intel
    soc = "SM8650"                    # the maker's number of the chip, as LiteRT writes it

LiteRT's wheel for x86-64 Linux has a plugin for each maker; the compiler behind it is the maker's:

    qualcomm       ai-edge-litert-sdk-qualcomm, which downloads Qualcomm's SDK as it is installed
    mediatek       ai-edge-litert-sdk-mediatek, the same
    google_tensor  Google's Tensor SDK, GOOGLE_TENSOR_COMPILER_LIB set to the folder of its library
    samsung        Samsung's Exynos AI LiteCore, EXYNOS_AI_LITECORE_ROOT set to its folder
    intel          openvino of the version that the plugin was built with, and
                   ai-edge-litert-sdk-intel-nightly

None of them was here to be tried, and Samsung's plugin in LiteRT 2.3.0's wheel cannot be: it lacks
a symbol of flatbuffers' and does not load. https://ai.google.dev/edge/litert/next/npu
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import ClassVar

from edgekit.core.errors import PlanError
from edgekit.core.recipe import Recipe
from edgekit.core.requirement import Requirement
from edgekit.export.delegates.tflite_base import TFLiteDelegate
from edgekit.work.requirements import sdk_version
from edgekit.work.steps import Step

NPU_PAGE = "https://ai.google.dev/edge/litert/next/npu"
VENDORS = {
    "qualcomm": (
        Requirement(
            kind="package",
            name="ai-edge-litert-sdk-qualcomm",
            how="run: pip install 'ai-edge-litert-sdk-qualcomm~=0.2.0', which downloads "
            "Qualcomm's SDK (https://ai.google.dev/edge/litert/next/qualcomm)",
        ),
    ),
    "mediatek": (
        Requirement(
            kind="package",
            name="ai-edge-litert-sdk-mediatek",
            how="run: pip install 'ai-edge-litert-sdk-mediatek~=0.2.0', which downloads "
            "MediaTek's SDK (https://ai.google.dev/edge/litert/next/mediatek)",
        ),
    ),
    "google_tensor": (
        Requirement(
            kind="variable",
            name="GOOGLE_TENSOR_COMPILER_LIB",
            how="get Google's Tensor SDK (https://developers.google.com/edge/litert/next/"
            "tensor-sdk) and set GOOGLE_TENSOR_COMPILER_LIB to the folder of its compiler library",
        ),
    ),
    "samsung": (
        Requirement(
            kind="variable",
            name="EXYNOS_AI_LITECORE_ROOT",
            how="get Samsung's Exynos AI LiteCore (https://soc-developer.semiconductor.samsung.com)"
            " and set EXYNOS_AI_LITECORE_ROOT to its folder",
        ),
    ),
    "intel": (
        Requirement(
            kind="package",
            name="openvino",
            how="run: pip install 'openvino==2026.3.1', which LiteRT 2.3.0's plugin was built with",
        ),
        Requirement(
            kind="package",
            name="ai-edge-litert-sdk-intel-nightly",
            how=f"run: pip install ai-edge-litert-sdk-intel-nightly ({NPU_PAGE})",
        ),
    ),
}
# LiteRT's own names of the folders in ai_edge_litert.aot.vendors.
MODULES = {vendor: vendor for vendor in VENDORS} | {"intel": "intel_openvino"}


class NpuDelegate(TFLiteDelegate):
    """The NPU of a phone's or laptop's chip."""

    name = "npu"
    title = "LiteRT's NPU compiler"
    quantizations = ("none", "float16", "int8", "int16x8", "original")
    requirements = tuple(each for needed in VENDORS.values() for each in needed)
    vendors = VENDORS
    known_options: ClassVar[dict[str, str]] = {
        "vendor": ", ".join(VENDORS),
        "soc": "the maker's number of the chip (SM8650)",
    }

    def required(self, recipe: Recipe) -> tuple[Requirement, ...]:
        """Those of the recipe's vendor.

        Raises:
            PlanError: it names none.
        """
        vendor = recipe.options.get("vendor", "")
        if vendor not in VENDORS:
            what = f"vendor = {vendor!r}" if vendor else "whose NPU is it for?"
            raise PlanError(
                f"{recipe.name}: {what}; possible: {', '.join(VENDORS)}",
                hint="take a device profile with one, or give vendor and soc in [options]",
            )
        return VENDORS[vendor]

    def step(self, made: Step, recipe: Recipe) -> Step:
        """See `TFLiteDelegate.step`."""
        self.check(recipe)
        vendor, soc = recipe.options["vendor"], recipe.options.get("soc", "")
        known = chips(vendor)
        if soc not in known:
            what = f"soc = {soc!r}" if soc else "which chip is it for?"
            raise PlanError(
                f"{recipe.name}: {what}; LiteRT's compiler for {vendor} knows {', '.join(known)}",
                hint="take a device profile with one, or give soc in [options]",
            )
        arguments = {"vendor": MODULES[vendor], "soc": soc}
        # Of packages the version counts (`tools`); of a folder that a variable leads to, this.
        folders = [r.name for r in VENDORS[vendor] if r.kind == "variable"]
        sdk = {name: sdk_version(Path(os.environ[name])) for name in folders}
        return Step(
            title=f"{recipe.name}: compile for {vendor} {soc}",
            function="edgekit.export.delegates.tflite_npu_worker:compile_model",
            worker="plain",
            arguments=arguments,
            identity={**arguments, "sdk": sdk},
            needs={"made": made},
            tools=("ai-edge-litert", *(r.name for r in VENDORS[vendor] if r.kind == "package")),
        )


def chips(vendor: str) -> list[str]:
    """The chips that LiteRT's compiler for `vendor` knows, by their makers' numbers.

    Raises:
        PlanError: LiteRT is not here, or too old to have that compiler.
    """
    try:
        module = importlib.import_module(f"ai_edge_litert.aot.vendors.{MODULES[vendor]}.target")
    except ImportError as exc:
        raise PlanError(
            f"there is no LiteRT here that has a compiler for {vendor}: {exc}",
            hint="run: pip install 'ai-edge-litert>=2.3,<2.4'",
        ) from exc
    return [chip.value for chip in module.SocModel if chip.value != "ALL"]
