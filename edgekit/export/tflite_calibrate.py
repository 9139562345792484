"""The ranges that activations have over calibration samples, for ai-edge-quantizer.

They are the least and greatest value over all samples, as TFLiteConverter takes them, collected by
LiteRT's own profiler while it runs (2 to 4 ms a sample for MobileNetV2, where keeping all tensors
and looking at them from Python takes 20). Where a recipe asks for narrower ones, a second pass
keeps all tensors and counts their values (`edgekit.export.ranges`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.dataset import DataSet, Rows
from edgekit.core.errors import ConversionError, DataError, EdgekitError
from edgekit.core.quantize import RangeMethod
from edgekit.core.recipe import Recipe
from edgekit.core.tensor import Signature
from edgekit.export import flatbuffer, tflite_pads, tflite_products
from edgekit.export.ranges import Histogram, averaged, span
from edgekit.export.tflite_checks import first_line, refuse_quantized

FILE = "model.tflite"
RANGES = "ranges.json"
THREADS = 2

# A range narrower than this is widened around zero. A dead layer would otherwise get a scale so
# small that 6/scale, the bound of a ReLU6, leaves int32, and the kernel refuses the file
# ("no_integer_overflow_from_quantization"). For 8 bits it is what TFLiteConverter does, too
# (kNearZeroTolerance in mlir/lite/quantization). For 16 bits: 6 · 2¹⁶ / 2³¹ = 1.8e-4.
LEAST_RANGE = {8: 1e-6, 16: 2e-4}


def calibrate(
    out: Path,
    *,
    samples: dict[str, Any],
    float: str,  # noqa: A002 - the name of the need
    method: RangeMethod = "min-max",
    percentile: Any = 100,
    levels: int = 256,
) -> dict[str, Any]:
    """Run the samples and write ``ranges.json``: tensor name to [least, greatest].

    Args:
        method, percentile: how wide a range is, see `edgekit.export.ranges`.
        levels: how many values the integers will have; 2¹⁶ are without a zero point.

    Raises:
        DataError: an activation is not finite for these samples.
        ConversionError: LiteRT cannot run the float model.
    """
    path = Path(float) / FILE
    tree = flatbuffer.read(path)
    refuse_quantized(tree)
    signature = flatbuffer.signature(tree)
    data = DataSet.from_json(samples)
    rows = Rows(data, signature)
    try:
        found = _ranges(path, signature.name, rows, moving=method == "moving-average")
        ranges = tflite_pads.bounded(tree, found)
    except EdgekitError:
        raise
    except (RuntimeError, ValueError) as exc:
        raise ConversionError(f"LiteRT cannot run the float model: {first_line(exc)}") from exc
    for name, (least, greatest) in ranges.items():
        if not (math.isfinite(least) and math.isfinite(greatest)):
            raise DataError(
                f"the calibration samples drive {name!r} to {least} … {greatest}",
                hint="look for NaN, infinity or missing normalisation in --calibration",
            )
    if method not in ("min-max", "moving-average"):
        padded = {pad.padded for pad in tflite_pads.pads(tree)}
        within = {name: range_ for name, range_ in ranges.items() if name not in padded}
        seen = _histograms(path, signature, rows, within)
        ranges |= {
            name: span(each, method, percentile=percentile, levels=levels, symmetric=levels > 2**8)
            for name, each in seen.items()
        }
        ranges = tflite_pads.bounded(tree, ranges)
    (out / RANGES).write_text(json.dumps(ranges), encoding="utf-8")
    return {"samples": len(rows), "tensors": len(ranges)}


def _ranges(
    path: Path, signature_name: str, rows: Sequence[Any], *, moving: bool
) -> dict[str, tuple[float, float]]:
    from ai_edge_quantizer import calibrator, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    run = calibrator.Calibrator(
        path.read_bytes(),
        num_threads=THREADS,
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=_averaged if moving else qsv_utils.min_max_update,
    )
    run.calibrate({signature_name: rows}, recipe_manager.RecipeManager())
    return {
        name: (float(values["min"].min()), float(values["max"].max()))
        for name, values in run.get_model_qsvs().items()
        if values
    }


def _averaged(before: Any, new: Any) -> Any:
    if not before:
        return new
    return {end: averaged(before[end], new[end]) for end in ("min", "max")}


def _histograms(
    path: Path, signature: Signature, rows: Sequence[Any], ranges: dict[str, tuple[float, float]]
) -> dict[str, Histogram]:
    """The values of every tensor that has a range, over all samples."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(
        model_path=str(path), num_threads=THREADS, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner(signature.name)
    places = {
        each["name"]: each["index"]
        for each in interpreter.get_tensor_details()
        if each["name"] in ranges and each["dtype"].__name__ == "float32"
    }
    found = {name: Histogram(*ranges[name]) for name in places}
    for row in rows:
        interpreter.reset_all_variables()
        run(**row)
        for name, index in places.items():
            found[name].add(interpreter.get_tensor(index))
    return found


def as_statistics(tree: Any, ranges: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """`ranges` in the quantizer's own form, with what it cannot have wrong put right."""
    import numpy as np

    if recipe.quantization == "int8":  # 16 bits are symmetric in any case
        ranges = tflite_products.symmetric(tree, ranges)
    wide = "int16x8" in (recipe.quantization, *recipe.quantize.numbers.values())
    least = LEAST_RANGE[16 if wide else 8]
    ranks = _joined_ranks(tree)
    found = {}
    for name, (low, high) in ranges.items():
        if high - low < least:
            low, high = min(low, -least / 2), max(high, least / 2)
        shape = (1,) * ranks.get(name, 1)
        found[name] = {
            "min": np.full(shape, low, dtype=np.float32),
            "max": np.full(shape, high, dtype=np.float32),
        }
    return found


def _joined_ranks(tree: Any) -> dict[str, int]:
    """The number of axes of what CONCATENATION makes, by tensor.

    ai-edge-quantizer gives its scale to constants that are joined, and wants that many axes then.
    """
    found = {}
    for graph in tree.subgraphs:
        kinds = (each.name for each in flatbuffer.operators_of(tree, graph))
        for kind, operator in zip(kinds, graph.operators, strict=True):
            if kind == "CONCATENATION":
                made = graph.tensors[int(operator.outputs[0])]
                found[flatbuffer.text(made.name)] = 1 if made.shape is None else len(made.shape)
    return found
