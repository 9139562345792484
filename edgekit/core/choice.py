"""Which variant of a build is taken where none is named, and by which rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.core.result import Result, latest

if TYPE_CHECKING:
    from edgekit.core.build import Variant
    from edgekit.core.profile import DeviceProfile

# A rule of thumb, for a build of whose times nothing is known. On MobileNetV2, the convolution
# network of tools/compare_quantizers.py, INT8 takes under half of float32's time and is nearly the
# smallest; float16 is as fast as float32 at half its size; 16x8 is far slower than all others. It
# does not hold for every network: MobileNetV3Small and a transformer are faster in dynamic range
# than in INT8 there.
PREFERENCE = ("int8", "int8-io", "float16", "dynamic", "float32", "int4", "int16x8", "original")
FORMATS = ("tflite", "executorch", "onnx")  # of equals: the first has the most runtimes
WHOLE = ("none", "original")  # recipes that leave the numbers as they are


@dataclass(frozen=True)
class Choice:
    """A variant, and in a few words the rule that chose it."""

    variant: Variant
    why: str


def preferred(
    accepted: Sequence[Variant], board: DeviceProfile, results: Sequence[Result] = ()
) -> Choice:
    """The fastest of `accepted` if two or more were measured on the board; else by `PREFERENCE`.

    A quantized file that is larger than the float32 one of its format is left out.

    Args:
        accepted: at least one.
        results: of any board and build; only what counts is looked at.
    """
    usable = [variant for variant in accepted if not _gains_nothing(variant, accepted)]
    timed = _timed(usable, board, results)
    if timed:
        first = timed[0].measurement
        best = min(timed, key=lambda result: result.summary.median_ns.value).measurement
        threads = first.settings.threads
        return Choice(
            next(v for v in usable if v.recipe.name == best.variant),
            f"the fastest of {len(timed)} measured on {first.device_name} "
            f"({threads} thread{'s' if threads != 1 else ''})",
        )
    first_choice, taken = (min(variants, key=_rank) for variants in (accepted, usable))
    why = "by a rule of thumb (edgekit profile --all on the board tells the fastest)"
    if first_choice is not taken:
        why += f"; {first_choice.recipe.name} is larger than float32"
    return Choice(taken, why)


def _rank(variant: Variant) -> tuple[int, int, int]:
    recipe = variant.recipe
    return PREFERENCE.index(recipe.kind), FORMATS.index(recipe.format), variant.size_bytes


def _gains_nothing(variant: Variant, accepted: Sequence[Variant]) -> bool:
    sizes = [
        other.size_bytes
        for other in accepted
        if other.recipe.quantization == "none" and other.recipe.format == variant.recipe.format
    ]
    quantized = variant.recipe.quantization not in WHOLE
    return quantized and bool(sizes) and variant.size_bytes > min(sizes)


def _timed(
    usable: Sequence[Variant], board: DeviceProfile, results: Sequence[Result]
) -> list[Result]:
    """Reliable results that may be compared: of one board, with as many threads and one batch.

    Of several such groups the one with the most variants, then the newest; none of a single one.
    """
    digests = {v.recipe.name: v.artifact.files[0].sha256 for v in usable if v.artifact}
    groups: dict[tuple[str, int, int], list[Result]] = {}
    for result in latest(results):
        taken = result.measurement
        own = taken.device != "local" or board.transport == "local"
        same = taken.hello.get("machine") in (None, board.arch)
        if digests.get(taken.variant) != taken.artifact_sha256 or taken.emulated:
            continue
        ordinary = taken.settings.streams == 1 and not taken.settings.sustained
        if own and same and ordinary and result.summary.stable:
            key = (taken.device, taken.settings.threads, taken.settings.batch)
            groups.setdefault(key, []).append(result)
    several = [group for group in groups.values() if len(group) > 1]
    return max(several, key=lambda group: (len(group), _newest(group)), default=[])


def _newest(group: Sequence[Result]) -> str:
    return max(result.measurement.created for result in group)
