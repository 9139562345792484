"""The judge of compressed files: the same figures for every file, whoever made it.

    python tools/compress/measure.py FILE.tflite TEST.npz

The last line that is printed is a JSON object:

    right, samples       of the test samples, in LiteRT's interpreter, one at a time
    bytes, zipped        of the file, and of it in a zip archive (deflate, level 9)
    weights, nonzeros    elements of the kernels: constants of two and more dimensions
    distinct             the most distinct values that one kernel has, and `kernels` for each
"""

from __future__ import annotations

import io
import json
import math
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def zipped(path: Path) -> int:
    """Bytes of the file in a zip archive, names and sums of the archive included."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.writestr("model", path.read_bytes())
    return len(archive.getvalue())


def kernels(path: Path) -> dict[str, NDArray[Any]]:
    """Constants of two and more dimensions, as stored.

    Raises:
        ValueError: one is stored in a way that cannot be counted here.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    types = {
        schema.TensorType.FLOAT32: np.float32,
        schema.TensorType.FLOAT16: np.float16,
        schema.TensorType.INT8: np.int8,
    }
    others = (schema.TensorType.INT32, schema.TensorType.INT64)  # shapes, paddings, biases
    found: dict[str, NDArray[Any]] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            data = model.buffers[tensor.buffer].data
            if data is None or tensor.type in others or len(tensor.shape) < 2:
                continue
            if math.prod(tensor.shape) == max(tensor.shape):
                continue  # a bias with dimensions of one about it
            name = tensor.name.decode()
            raw = np.asarray(data, np.uint8)
            if tensor.sparsity is not None:
                raise ValueError(f"{path.name}: {name!r} is stored as sparse")
            if tensor.type == schema.TensorType.INT4:
                values = np.stack([raw << 4, raw], 1).ravel().view(np.int8) >> 4
                values = values[: math.prod(tensor.shape)]
            elif tensor.type in types:
                values = raw.view(types[tensor.type])
            else:
                raise ValueError(f"{path.name}: {name!r} has the type {tensor.type}")
            found[name] = values.reshape(tensor.shape)
    return found


def right(path: Path, x: NDArray[Any], labels: NDArray[Any]) -> int:
    """Samples whose largest output is their label's. Inputs and outputs must be float."""
    from ai_edge_litert.interpreter import Interpreter

    net = Interpreter(model_path=str(path), num_threads=1)
    net.allocate_tensors()
    (given,), (answer,) = net.get_input_details(), net.get_output_details()
    if given["dtype"] is not np.float32 or answer["dtype"] is not np.float32:
        raise ValueError(f"{path.name} takes or gives integers")
    count = 0
    for sample, label in zip(x, labels, strict=True):
        net.set_tensor(given["index"], sample[None])
        net.invoke()
        count += int(net.get_tensor(answer["index"]).argmax() == label)
    return count


def measure(path: Path, test: Path) -> dict[str, Any]:
    with np.load(test) as file:
        x, labels = file["x"], file["labels"]
    found = kernels(path)
    values = {name: len(np.unique(kernel)) for name, kernel in found.items()}
    return {
        "right": right(path, x, labels),
        "samples": len(x),
        "bytes": path.stat().st_size,
        "zipped": zipped(path),
        "weights": sum(kernel.size for kernel in found.values()),
        "nonzeros": sum(int(np.count_nonzero(kernel)) for kernel in found.values()),
        "distinct": max(values.values(), default=0),
        "kernels": {
            name: [kernel.size, int(np.count_nonzero(kernel)), values[name]]
            for name, kernel in found.items()
        },
    }


def main() -> None:
    path, test = map(Path, sys.argv[1:])
    print("\n" + json.dumps(measure(path, test)))


if __name__ == "__main__":
    main()
