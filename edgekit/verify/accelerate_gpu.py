"""A ``.tflite`` in LiteRT's GPU accelerator on this computer. Runs in a worker.

https://ai.google.dev/edge/litert/next/gpu. What the accelerator says of a model goes to its log;
what is read from there was seen in LiteRT 2.3.0:

    Selected adapter: SwiftShader Device (Subzero), …, adapterType=CPU / Software
    Following operations are not supported by GPU delegate:
    TRANSPOSE: Tensor "Reshape" has bad input dims size: 6.
    1 operations will run on the GPU, and the remaining 4 operations will run on the CPU.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekit.core.agreement import compare, load_outputs
from edgekit.core.description import CPU, Coverage
from edgekit.core.errors import DeviceError, MismatchError, WorkerError
from edgekit.core.recipe import QuantizationKind
from edgekit.verify.folders import artifact_file
from edgekit.verify.operators import Operator, graphs, interpreter, partitions

GPU = "gpu"
CHECK_FILE = "check.npz"
ANSWERS_FILE = "answers.npz"
LOG_FILE = "gpu.log"
TIMEOUT_SECONDS = 600.0
MODULE = "edgekit.verify.gpu_process"
# Weights in float16: the GPU reads them itself, so their conversions leave the graph. The log
# lists these as refused, for no reason.
WEIGHTS = ("DEQUANTIZE", "")

_ADAPTER = re.compile(r"Selected adapter: (.+?), arch=.*?adapterType=(.+)")
_REFUSED = re.compile(
    r"^ERROR: Following operations are not supported by GPU delegate:\n"
    r"(?P<refused>(?:[A-Z][A-Z0-9_]*: .*\n)+)"
    r"(?P<gpu>\d+|No) operations will run on the GPU, and (?:the remaining|all) (?P<cpu>\d+)",
    re.MULTILINE,
)
# Seen with an unrolled LSTM in INT8: "cannot assign 'vec4<f32>' to 'vec4<i32>'".
_INVALID = re.compile(r"\] Validation error: (.+)")
_DRIVER = (
    ("Couldn't load Vulkan", "there is no Vulkan loader (libvulkan.so.1)"),
    ("Found no drivers", "Vulkan's loader finds no driver"),
    ("No adapters found", "Vulkan finds no GPU"),
)


def run(out: Path, *, quantization: QuantizationKind, artifact: str, check: str) -> dict[str, Any]:
    """See `edgekit.verify.accelerate.gpu_step`."""
    path, samples = artifact_file(artifact), Path(check) / CHECK_FILE
    found, log = _asked(out, path, samples)
    (out / LOG_FILE).write_text(log, encoding="utf-8")
    said = read_log(log)
    result: dict[str, Any] = {
        "coverage": None,
        "fully_accelerated": found["fully_accelerated"],
        "refused": [
            {"operator": name, "why": why}
            for name, why in dict.fromkeys(pair for part in said.partial for pair in part.refused)
            if (name, why) != WEIGHTS
        ],
        "device": said.device,
        "software": said.software,
        "parity": None,
        "mismatch": "",
        "error": _error(found, said),
        "problems": [],
        "notes": [],
    }
    if said.no_gpu:  # that says nothing of the artifact
        note = f"whether the GPU takes it is not known: {said.no_gpu}"
        return {**result, "fully_accelerated": False, "notes": [note]}
    if result["error"]:
        return {**result, "fully_accelerated": False, "problems": [result["error"]]}
    if said.software:
        result["notes"] = [
            f"the GPU was {said.device}, a driver in software: it proves that the results are the "
            "same, not how fast a GPU is, nor what arithmetic in float16 does to them"
        ]
    result["coverage"] = coverage(graphs(path), said, fully=found["fully_accelerated"]).to_json()
    answers = out / ANSWERS_FILE
    expected, actual = load_outputs(samples), load_outputs(answers)
    result["parity"] = _parity(path, expected, actual)
    try:
        compare(expected, actual, _arithmetic(path, quantization), where="LiteRT's GPU")
    except (MismatchError, DeviceError) as exc:
        result["mismatch"] = exc.message
        result["problems"] = [exc.message]
    return result


def _error(found: dict[str, Any], said: Log) -> str:
    if said.no_gpu:
        return said.no_gpu
    if said.invalid:  # what it computes then is nothing, and often enough it crashes
        ending = f"; {found['error']}" if found["error"] else ""
        return f"LiteRT makes a GPU program that is not valid: {said.invalid}{ending}"
    if found["error"]:
        return f"LiteRT's GPU accelerator does not run it: {found['error']}"
    return "" if said.device else "LiteRT does not say which GPU it has taken"


def _asked(out: Path, path: Path, samples: Path) -> tuple[dict[str, Any], str]:
    """What the other process found, and the log.

    Raises:
        WorkerError: nothing is known, since it did not come to an end by itself.
    """
    answer = out / "gpu.json"
    job = {
        "model": str(path),
        "inputs": str(samples),
        "outputs": str(out / ANSWERS_FILE),
        "answer": str(answer),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", MODULE],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise WorkerError(
            f"LiteRT's GPU accelerator took longer than {exc.timeout:.0f} s and was stopped",
            hint="nothing is known of the artifact on the GPU",
        ) from exc
    log = done.stderr + done.stdout
    found: dict[str, Any] = {"fully_accelerated": False, "error": ""}
    if answer.is_file():
        found = json.loads(answer.read_text(encoding="utf-8"))
    if done.returncode < 0:
        found["error"] = f"its process was killed by {signal.Signals(-done.returncode).name}"
    elif done.returncode != 0:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        raise WorkerError(f"the GPU check ended with {done.returncode}: {''.join(last)[:300]}")
    return found, log


# ------------------------------------------------------------------------------------- log


@dataclass(frozen=True)
class Partial:
    """What the log says of a graph that the GPU does not take as a whole.

    Attributes:
        refused: names of operators that the GPU does not take and why, in its words.
        on_gpu, on_cpu: how many operators run where.
    """

    refused: tuple[tuple[str, str], ...]
    on_gpu: int
    on_cpu: int


@dataclass(frozen=True)
class Log:
    """What the accelerator's log says.

    Attributes:
        device: the adapter's name; empty where none was found.
        software: whether it is a driver in software.
        partial: the graphs that it does not take as a whole, the main one first, the bodies of
            loops after it; empty where it takes everything.
        no_gpu: "" or why there is no GPU to ask.
        invalid: "" or what is wrong with a program that LiteRT has made for the GPU.
    """

    device: str = ""
    software: bool = False
    partial: tuple[Partial, ...] = ()
    no_gpu: str = ""
    invalid: str = ""


def read_log(text: str) -> Log:
    """Read what LiteRT's GPU accelerator wrote while it opened a model."""
    adapter = _ADAPTER.search(text)
    why = next((said for mark, said in _DRIVER if mark in text), "") if adapter is None else ""
    if why:
        why = (
            f"no GPU to ask on this computer: {why}; install libvulkan1 and a driver, or lead "
            "VK_DRIVER_FILES to one"
        )
    partial = tuple(_partial(match) for match in _REFUSED.finditer(text))
    return Log(
        device=adapter.group(1) if adapter else "",
        software="software" in adapter.group(2).lower() if adapter else False,
        partial=tuple(dict.fromkeys(partial)),  # said once more as the model is opened again
        no_gpu=why,
        invalid=invalid[1][:200] if (invalid := _INVALID.search(text)) else "",
    )


def _partial(match: re.Match[str]) -> Partial:
    lines = match["refused"].splitlines()
    pairs = [(name, said.strip()) for name, _, said in (line.partition(": ") for line in lines)]
    return Partial(tuple(pairs), int(match["gpu"].replace("No", "0")), int(match["cpu"]))


def coverage(graphs: Sequence[Sequence[Operator]], said: Log, *, fully: bool) -> Coverage:
    """Which operators run on the GPU.

    The log names the refused operators and counts what is taken, but not the places. TFLite cuts
    the graph between the two kinds and the delegate takes the largest pieces; where their sizes
    add up to what the log counts, these are the ones. Where they do not, nothing is claimed.
    """
    source = f"LiteRT {version('ai-edge-litert')} with its GPU accelerator on {said.device}"
    nodes, pieces = [], 0
    for graph in graphs:
        taken: set[int] = set()
        count = 0
        if fully:
            taken, count = set(range(len(graph))), 1
        elif (told := _told(graph, said)) is not None:
            found = _places(graph, told)
            if found is None:
                source += f" (which takes {told.on_gpu} of {len(graph)} and does not tell which)"
            else:
                taken, count = found
        nodes += [op.node(GPU if place in taken else CPU) for place, op in enumerate(graph)]
        pieces += count
    return Coverage(nodes=tuple(nodes), partitions=pieces, source=source, fully_accelerated=fully)


def _told(graph: Sequence[Operator], said: Log) -> Partial | None:
    """What the log says of this graph, which is known by its number of operators."""
    return next((p for p in said.partial if p.on_gpu + p.on_cpu == len(graph)), None)


def _places(graph: Sequence[Operator], told: Partial) -> tuple[set[int], int] | None:
    """The operators that are taken, and in how many pieces; None if that cannot be told."""
    names = {name for name, _ in told.refused}
    pieces = partitions(graph, [op.name not in names for op in graph])
    largest = sorted(pieces, key=len, reverse=True)
    for count in range(len(largest) + 1):
        if sum(len(piece) for piece in largest[:count]) == told.on_gpu:
            taken: set[int] = set().union(*largest[:count])
            folded = _weights(graph, taken) if WEIGHTS in told.refused else set()
            return taken | folded, count
    return None


def _weights(graph: Sequence[Operator], taken: set[int]) -> set[int]:
    """Conversions of weights for operators that are taken."""
    made = {tensor for operator in graph for tensor in operator.outputs}
    read = {tensor for place in taken for tensor in graph[place].inputs}
    return {
        place
        for place, operator in enumerate(graph)
        if operator.name == WEIGHTS[0]
        and made.isdisjoint(operator.inputs)
        and not read.isdisjoint(operator.outputs)
    }


# ---------------------------------------------------------------------------------- parity


def _parity(path: Path, expected: Any, actual: Any) -> dict[str, float | None]:
    """Of the output that is worst: greatest error and signal-to-noise ratio, as real numbers."""
    import numpy as np

    scales = _scales(path)
    worst: dict[str, float | None] = {"max_abs_error": 0.0, "snr_db": None}
    for name, reference in expected.items():
        scale = scales.get(name, 1.0)
        want = np.asarray(reference, dtype=np.float64).ravel() * scale
        have = np.asarray(actual[name], dtype=np.float64).ravel() * scale
        if want.shape != have.shape:  # `compare` says so
            continue
        noise = float(np.sum((want - have) ** 2))
        worst["max_abs_error"] = max(
            worst["max_abs_error"] or 0.0, float(np.max(np.abs(want - have), initial=0.0))
        )
        if noise > 0:
            ratio = float(10 * np.log10(max(float(np.sum(want**2)), 1e-300) / noise))
            worst["snr_db"] = ratio if worst["snr_db"] is None else min(ratio, worst["snr_db"])
    return worst


def _scales(path: Path) -> dict[str, float]:
    """By the signature's name, what one step of a quantized output is worth."""
    made = interpreter(path, delegates=True)
    signatures = made.get_signature_list()
    if not signatures:
        return {}
    details = made.get_signature_runner(next(iter(signatures))).get_output_details()
    return {
        name: float(detail["quantization_parameters"]["scales"][0])
        for name, detail in details.items()
        if len(detail["quantization_parameters"]["scales"]) == 1
    }


def _arithmetic(path: Path, quantization: QuantizationKind) -> QuantizationKind:
    """For a file that was taken as it is: by the types of its tensors."""
    if quantization != "original":
        return quantization
    made = interpreter(path, delegates=False)
    names = {getattr(tensor["dtype"], "__name__", "") for tensor in made.get_tensor_details()}
    return "int8" if names & {"int8", "uint8"} else "none"
