"""A small build that runs, made without a converter, for tests that need boards and no framework.

One fully connected layer of 4 inputs and 3 scores, called cat, dog and fox: ``float32``, and
``int8-io`` with int8 at both ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edgekit.core.artifact import Artifact, File
from edgekit.core.build import (
    Build,
    CheckSet,
    DataNote,
    Variant,
    load_build,
    rows_file,
    save_build,
)
from edgekit.core.files import sha256_file
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.profile import probe_host
from edgekit.core.recipe import BUILTIN
from edgekit.core.tensor import Quantization, Signature, TensorSpec
from edgekit.core.verdict import Verdict
from tests.samples import write_build
from tests.sshd import SSHServer, end
from tests.tiny_tflite import dense_model

SAMPLES = 150
WRONG = 2  # of them, labelled as something else than the model says
LABELS = ("cat", "dog", "fox")
FLOAT = Signature(
    inputs=(TensorSpec(name="x", shape=(1, 4), dtype="float32"),),
    outputs=(TensorSpec(name="y", shape=(1, 3), dtype="float32"),),
)
INTEGER = Signature(
    inputs=(
        TensorSpec(
            name="x",
            shape=(1, 4),
            dtype="int8",
            quantization=Quantization(scale=(1 / 32,), zero_point=(0,)),
        ),
    ),
    outputs=(
        TensorSpec(
            name="y",
            shape=(1, 3),
            dtype="int8",
            quantization=Quantization(scale=(1 / 8,), zero_point=(0,)),
        ),
    ),
)


def configure(
    servers: Mapping[str, SSHServer], monkeypatch: pytest.MonkeyPatch, *extra: str
) -> None:
    """Make ``ssh://NAME`` reach each of `servers`, trusted; `extra` are lines for all of them."""
    for server in servers.values():
        server.trust()
        server.configure(monkeypatch)
    config = next(iter(servers.values())).config
    config.write_text("".join(s.config_text(name, *extra) for name, s in servers.items()))
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(config))


def cut_off(server: SSHServer) -> None:
    """The board dies: its server, every session, and what they run."""
    assert server._process is not None
    running = psutil.Process(server._process.pid).children(recursive=True)
    server.stop()
    end(running)


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Inputs of `count` samples, (count, 4)."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, 4)).astype(np.float32)


def answers(model: Path, given: np.ndarray) -> np.ndarray:
    """What the model says to `given`, (samples, 4) in its own type, on this computer."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model), num_threads=1)
    interpreter.allocate_tensors()
    found = []
    for row in given:
        interpreter.set_tensor(0, row[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(3)[0].copy())
    return np.stack(found)


def running_build(
    folder: Path,
    *,
    preprocessing: Preprocessing | None = None,
    evaluation: Path | None = None,
    **model: Any,
) -> Build:
    """The build in `folder`, for this computer, with its check set.

    Args:
        evaluation: from `evaluation_set`, as what it was judged on: all right but two samples.
        model: for `dense_model`, where the board shall compute something else than that.
    """
    template = write_build(folder, variants=(), failures=False)
    (folder / "artifacts").mkdir()
    (folder / "check").mkdir()
    made = [
        _variant(folder, "float32", FLOAT, rows(6), **model),
        _variant(folder, "int8-io", INTEGER, np.round(rows(6) * 32).astype(np.int8), **model),
    ]
    data = DataNote()
    if evaluation is not None:
        data = DataNote(
            evaluation=f"{evaluation}: all {SAMPLES}",
            evaluation_digest=digest_of(evaluation, folder),
            evaluation_samples=SAMPLES,
        )
        right = np.ones((SAMPLES, 1))
        right[:WRONG] = 0
        for name in ("float32", "int8-io"):
            np.savez(rows_file(folder, name), source=right, artifact=right, threshold=0.0)
    build = template.model_copy(
        update={
            "name": "tiny",
            "signature": FLOAT,
            "profile": probe_host(),
            "preprocessing": preprocessing or Preprocessing(),
            "labels": LABELS,
            "data": data,
            "check": CheckSet(samples=6),
            "variants": tuple(made),
        }
    )
    save_build(build, folder)
    return load_build(folder)


def evaluation_set(folder: Path) -> Path:
    """Samples labelled with what the float model says, but for the first two."""
    model = dense_model(folder / "labeller.tflite")
    given = rows(SAMPLES, seed=2)
    labels = answers(model, given).argmax(axis=1)
    labels[:WRONG] = (labels[:WRONG] + 1) % 3
    np.savez(folder / "evaluation.npz", x=given, labels=labels)
    return folder / "evaluation.npz"


def digest_of(data: Path, folder: Path) -> str:
    """Of the data set that edgekit makes of a file."""
    from edgekit.data.arrays import read

    with tempfile.TemporaryDirectory(dir=folder) as out:
        found = read(Path(out), str(data), str(data), {"operations": []}, None, sha256_file(data))
    return str(found["dataset"]["digest"])


def _variant(
    folder: Path, name: str, signature: Signature, given: np.ndarray, **model: Any
) -> Variant:
    path = folder / "artifacts" / f"tiny-{name}.tflite"
    dense_model(path, quantized=name != "float32", **model)
    check = {"in:x": given, "out:y": answers(path, given)}
    np.savez(folder / "check" / f"{name}.npz", **check)
    return Variant(
        recipe=BUILTIN[name],
        named=False,
        artifact=Artifact(
            variant=name,
            format="tflite",
            files=(
                File(
                    path=f"artifacts/{path.name}",
                    size_bytes=path.stat().st_size,
                    sha256=sha256_file(path),
                ),
            ),
            signature=signature,
            preprocessing=Preprocessing(),
            recipe_digest=BUILTIN[name].fingerprint(),
            parent="ab" * 32,
            way="by hand",
            tools={},
        ),
        verdict=Verdict(status="accepted"),
    )
