"""The process in which a GPU driver may crash: ``python -m edgekit.verify.gpu_process``.

Reads one JSON object from stdin: ``model``, ``inputs`` (an .npz with ``in:<name>``, one row a
sample), ``outputs`` (where to write ``out:<name>``), ``answer`` (where to write what was found, a
JSON object, again after every stage). What LiteRT logs goes to stderr.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# What LiteRT says where the GPU alone cannot run the model.
PARTIAL = "Some ops are not accelerated"


def main() -> None:
    job = json.load(sys.stdin)
    answer = Path(job["answer"])
    found: dict[str, Any] = {"fully_accelerated": False, "error": ""}
    try:
        model = _opened(job["model"], found)
        answer.write_text(json.dumps(found), encoding="utf-8")
        _run(model, Path(job["inputs"]), Path(job["outputs"]))
    except (RuntimeError, ValueError) as exc:
        found["error"] = " ".join(str(exc).split())[:500] or type(exc).__name__
    answer.write_text(json.dumps(found), encoding="utf-8")


def _opened(path: str, found: dict[str, Any]) -> Any:
    """The compiled model, on the GPU alone if it takes everything.

    That it opens there is the proof. LiteRT's `is_fully_accelerated` counts XNNPACK as an
    accelerator, too: with the CPU allowed it is True for a model of which the GPU takes one
    operator out of five.
    """
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator

    try:
        model = CompiledModel.from_file(path, hardware_accel=HardwareAccelerator.GPU)
    except RuntimeError as exc:
        if PARTIAL not in str(exc):
            raise
        both = HardwareAccelerator.GPU | HardwareAccelerator.CPU
        return CompiledModel.from_file(path, hardware_accel=both)
    found["fully_accelerated"] = model.is_fully_accelerated()
    return model


def _run(model: Any, inputs: Path, outputs: Path) -> None:
    import numpy as np

    key = next(iter(model.get_signature_list()))
    ins, outs = model.get_input_tensor_details(key), model.get_output_tensor_details(key)
    given = {name: model.create_input_buffer_by_name(key, name) for name in ins}
    asked = {name: model.create_output_buffer_by_name(key, name) for name in outs}
    answers: dict[str, list[Any]] = {f"out:{name}": [] for name in outs}
    with np.load(inputs, allow_pickle=False) as file:
        rows = {name: file[f"in:{name}"] for name in ins}
    for row in range(len(next(iter(rows.values())))):
        for name, buffer in given.items():
            buffer.write(rows[name][row])
        model.run_by_name(key, given, asked)
        for name, buffer in asked.items():
            shape = [int(side) for side in outs[name]["shape"]]
            value = buffer.read(int(np.prod(shape)), np.dtype(outs[name]["dtype"]).type)
            answers[f"out:{name}"].append(np.array(value).reshape(shape)[0] if shape else value)
    stacked: dict[str, Any] = {name: np.stack(values) for name, values in answers.items()}
    np.savez(outputs, **stacked)


if __name__ == "__main__":
    main()
