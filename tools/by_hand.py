"""What people do by hand: each tool as its own documentation shows it, one process a call.

    python tools/by_hand.py TOOL MODEL DATA OUT

    litert-torch      module:function → OUT/float32.tflite
    quantizer         OUT/float32.tflite → float16.tflite, dynamic.tflite, int8-io.tflite beside it
                      (what it makes by itself takes and gives integers)
    executorch        module:function → OUT/pte-float32.pte
    pt2e              module:function → OUT/pte-int8.pte
    onnx2tf           FILE.onnx → OUT/float32.tflite, by its command line
    tflite-converter  module:function → OUT/float32.tflite, OUT/int8.tflite

DATA is a .npy or .npz file of samples; every row of it calibrates. The last line that is printed is
a JSON object with the seconds of the work without starting Python and importing.

https://github.com/google-ai-edge/litert-torch, https://github.com/google-ai-edge/ai-edge-quantizer,
https://docs.pytorch.org/executorch/stable/backends-xnnpack.html,
https://github.com/PINTO0309/onnx2tf, https://ai.google.dev/edge/litert/conversion
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# onnx2tf looks for this file in the current folder, and downloads it if it is not there.
ONNX2TF_SAMPLES = "calibration_image_sample_data_20x128x128x3_float32.npy"


def made(reference: str) -> Any:
    module, name = reference.split(":")[-2:]
    return getattr(importlib.import_module(module), name)()


def rows(data: Path) -> Iterator[list[Any]]:
    """Sample by sample, the inputs in order, each with a batch of one."""
    import numpy as np

    file = np.load(data)
    arrays = [file[name] for name in file.files] if data.suffix == ".npz" else [file]
    for index in range(len(arrays[0])):
        yield [array[index][None] for array in arrays]


# ------------------------------------------------------------------------------------ TFLite


def litert_torch(model: str, data: Path, out: Path) -> float:
    import litert_torch

    module, example = made(model)
    started = time.perf_counter()
    litert_torch.convert(module, example).export(str(out / "float32.tflite"))
    return time.perf_counter() - started


def quantizer(model: str, data: Path, out: Path) -> float:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer, recipe

    path = str(out / "float32.tflite")
    started = time.perf_counter()
    half = quantizer.Quantizer(path)
    half.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
        ),
        algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    half.quantize().export_model(str(out / "float16.tflite"), overwrite=True)
    dynamic = quantizer.Quantizer(path, recipe.dynamic_wi8_afp32())
    dynamic.quantize().export_model(str(out / "dynamic.tflite"), overwrite=True)
    full = quantizer.Quantizer(path, recipe.static_wi8_ai8())
    run = Interpreter(model_path=path)
    (name,) = run.get_signature_list()
    inputs = run.get_signature_runner(name).get_input_details()
    samples = [
        {each: value.astype(inputs[each]["dtype"]) for each, value in zip(inputs, row, strict=True)}
        for row in rows(data)
    ]
    found = full.calibrate({name: samples})
    full.quantize(found).export_model(str(out / "int8-io.tflite"), overwrite=True)
    return time.perf_counter() - started


def onnx2tf(model: str, data: Path, out: Path) -> float:
    import numpy as np

    with tempfile.TemporaryDirectory() as scratch:
        images = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
        np.save(Path(scratch) / ONNX2TF_SAMPLES, images)
        tool = Path(sys.executable).with_name("onnx2tf")
        started = time.perf_counter()
        done = subprocess.run(
            [str(tool), "-i", str(Path(model).resolve()), "-o", "made"],
            cwd=scratch, capture_output=True, text=True,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        files = sorted(Path(scratch, "made").glob("*_float32.tflite"))
        if done.returncode or not files:
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise SystemExit(f"onnx2tf fails: {' '.join(said[-3:])[-300:]}")
        (out / "float32.tflite").write_bytes(files[0].read_bytes())
    return seconds


def tflite_converter(model: str, data: Path, out: Path) -> float:
    import tensorflow as tf

    net = made(model)
    started = time.perf_counter()
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    (out / "float32.tflite").write_bytes(converter.convert())
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: rows(data)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    (out / "int8.tflite").write_bytes(converter.convert())
    return time.perf_counter() - started


# -------------------------------------------------------------------------------- ExecuTorch


def executorch(model: str, data: Path, out: Path) -> float:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    module, example = made(model)
    started = time.perf_counter()
    program = torch.export.export(module, example)
    manager = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    manager.to_executorch().save(str(out / "pte-float32.pte"))
    return time.perf_counter() - started


def pt2e(model: str, data: Path, out: Path) -> float:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    module, example = made(model)
    started = time.perf_counter()
    traced = torch.export.export(module, example).module()
    wish = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(traced, wish)
    for row in rows(data):
        given = zip(row, example, strict=True)
        prepared(*[torch.from_numpy(each).to(like.dtype) for each, like in given])
    program = torch.export.export(convert_pt2e(prepared), example)
    manager = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    manager.to_executorch().save(str(out / "pte-int8.pte"))
    return time.perf_counter() - started


TOOLS = {
    "litert-torch": litert_torch,
    "quantizer": quantizer,
    "executorch": executorch,
    "pt2e": pt2e,
    "onnx2tf": onnx2tf,
    "tflite-converter": tflite_converter,
}


def main() -> None:
    tool, model, data, out = sys.argv[1:]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    Path(out).mkdir(parents=True, exist_ok=True)
    seconds = TOOLS[tool](model, Path(data), Path(out).resolve())
    print("\n" + json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
