"""Arm Ethos-U: NPUs beside Cortex-M and Cortex-A cores (U55, U65, U85), through Vela.

    # variants
    ethos-u-int8-io  ethos-u-int8

    # in a recipe file; in a device profile under [[accelerators]]
    [options]
    accelerator = "ethos-u55-128"     # …-32 to 256, ethos-u65-256|512, ethos-u85-128 to 2048
    system_config = "Ethos_U55_High_End_Embedded"
    memory_mode = "Shared_Sram"
    config = "vela.ini"               # a file of your own; Vela's Arm/vela.ini otherwise

Prefer int8-io: with float at the border, one QUANTIZE and one DEQUANTIZE stay on the CPU. Clock and
memories are always told to Vela, which else guesses and says that the result may be invalid.
https://gitlab.arm.com/artificial-intelligence/ethos-u/ethos-u-vela
"""

from __future__ import annotations

import configparser
import importlib.util
from pathlib import Path
from typing import ClassVar

from edgekit.core.errors import PlanError
from edgekit.core.files import sha256_file
from edgekit.core.recipe import Recipe
from edgekit.core.requirement import Requirement
from edgekit.export.delegates.tflite_base import TFLiteDelegate
from edgekit.work.steps import Step

VELA = "ethos-u-vela"
ACCELERATORS = {
    "ethos-u55": (32, 64, 128, 256),
    "ethos-u65": (256, 512),
    "ethos-u85": (128, 256, 512, 1024, 2048),
}
# What Arm's reference platforms are (Corstone-300, -310, -320), as its own evaluation kit sets
# them: https://gitlab.arm.com/artificial-intelligence/ethos-u/ml-embedded-evaluation-kit
USUAL = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65": ("Ethos_U65_High_End", "Dedicated_Sram_384KB"),
    "ethos-u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
}


class EthosUDelegate(TFLiteDelegate):
    """Arm's microNPU."""

    name = "ethos-u"
    title = "Arm Ethos-U through Vela"
    quantizations = ("int8", "original")
    requirements = (
        Requirement(kind="package", name=VELA, how="run: pip install 'ethos-u-vela==5.2.0'"),
    )
    known_options: ClassVar[dict[str, str]] = {
        "accelerator": "ethos-u55-128 and its like",
        "system_config": "clock and memories, a name in Vela's configuration file",
        "memory_mode": "what lies in which memory, a name in Vela's configuration file",
        "config": "a configuration file of your own (.ini)",
    }

    def step(self, made: Step, recipe: Recipe) -> Step:
        """See `TFLiteDelegate.step`."""
        self.check(recipe)
        accelerator = recipe.options.get("accelerator", "")
        names = [f"{kind}-{macs}" for kind, sizes in ACCELERATORS.items() for macs in sizes]
        if accelerator not in names:
            what = f"accelerator = {accelerator!r}" if accelerator else "which Ethos-U is it for?"
            raise PlanError(
                f"{recipe.name}: {what}; possible: {', '.join(names)}",
                hint="take a device profile with one, or give accelerator in [options]",
            )
        generation = accelerator.rpartition("-")[0]
        system, memory = USUAL[generation]
        asked = {
            "accelerator": accelerator,
            "system_config": recipe.options.get("system_config", system),
            "memory_mode": recipe.options.get("memory_mode", memory),
        }
        config = _config(recipe)
        for key, kind in (("system_config", "System_Config"), ("memory_mode", "Memory_Mode")):
            _known(recipe, config, kind, key, asked[key])
        return Step(
            title=f"{recipe.name}: compile with Vela",
            function="edgekit.export.delegates.tflite_ethos_u_worker:compile_model",
            worker="plain",
            arguments={**asked, "config": str(config), "border": recipe.io},
            identity={**asked, "config": sha256_file(config), "border": recipe.io},
            needs={"made": made},
            tools=(VELA, "ai-edge-litert"),
        )


def _config(recipe: Recipe) -> Path:
    """The user's configuration file, or Vela's own, which comes with its wheel."""
    if own := recipe.options.get("config"):
        path = Path(own)
        if path.suffix != ".ini" or not path.is_file():
            raise PlanError(f"{recipe.name}: config = {own!r} is not an .ini file that is there")
        return path.absolute()
    spec = importlib.util.find_spec("ethosu")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "config_files" / "Arm" / "vela.ini"
        if path.is_file():
            return path
    raise PlanError(
        f"{recipe.name}: {VELA} has no config_files/Arm/vela.ini",
        hint="install it again, or give a file of your own as config in [options]",
    )


def _known(recipe: Recipe, config: Path, kind: str, key: str, wanted: str) -> None:
    """Raise PlanError unless the configuration file has a section ``kind.wanted``."""
    parser = configparser.ConfigParser()
    try:
        parser.read(config, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as exc:
        first = str(exc).splitlines()[0]
        raise PlanError(f"{recipe.name}: {str(config)!r} is no configuration: {first}") from exc
    names = [s.partition(".")[2] for s in parser.sections() if s.startswith(f"{kind}.")]
    if wanted not in names:
        raise PlanError(
            f"{recipe.name}: {config.name} has no {key} called {wanted!r}; it has "
            f"{', '.join(names) or 'none'}"
        )
