"""An artifact in the board's own runtime, on this computer. Runs in a worker.

Files understate what they need, so only loading proves that a version of a runtime takes them.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from edgekit.core.agreement import compare, load_outputs
from edgekit.core.bench import bench_program
from edgekit.core.errors import ConversionError, DeviceError, MismatchError, WorkerError
from edgekit.core.measurement import PROTOCOL
from edgekit.core.recipe import QuantizationKind
from edgekit.core.verdict import LoadCheck
from edgekit.verify.check_set import save_columns
from edgekit.verify.folders import artifact_file, signature
from edgekit.verify.sessions import open_artifact
from edgekit.work.environments import clean_environment, runtime_python

CHECK_FILE = "check.npz"
TIMEOUT_SECONDS = 300.0
REFUSALS = ("model_refused", "run_failed")
# Signals by which a process ends itself. The others come from outside (no memory, a time limit):
# they say nothing of the artifact, and a refusal would be remembered.
OWN_FAULTS = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)


def prepare(out: Path, *, runtime: str, version: str) -> dict[str, Any]:
    """See `edgekit.verify.environment_step`; ``python`` is the environment's."""
    return {"python": str(runtime_python(runtime, version))}


def run(
    out: Path,
    *,
    runtime: str,
    version: str,
    quantization: QuantizationKind,
    artifact: str,
    check: str,
) -> dict[str, Any]:
    """See `edgekit.verify.load_step`."""
    python = runtime_python(runtime, version)
    path, samples = artifact_file(artifact), Path(check) / CHECK_FILE
    answers = out / "answers.npz"
    said = signature(artifact)
    names = {
        "inputs": [spec.name for spec in said.inputs],
        "outputs": [spec.name for spec in said.outputs],
    }
    found = load(
        path,
        runtime,
        version,
        python,
        bench_program(),
        inputs=samples,
        outputs=answers,
        names=names if runtime == "executorch" else None,
    )
    if found.ok:
        found = _agrees(found, samples, answers, quantization)
    return {"load": found.to_json()}


def run_here(
    out: Path,
    *,
    runtime: str,
    version: str,
    quantization: QuantizationKind,
    file_format: str,
    artifact: str,
    check: str,
) -> dict[str, Any]:
    """The same in this process, whose runtime is that one: the artifact is opened anew."""
    import numpy as np

    found = LoadCheck(runtime=runtime, version=version, loads=True, ok=True)
    samples, answers = Path(check) / CHECK_FILE, out / "answers.npz"
    try:
        session = open_artifact(artifact, file_format)
        with np.load(samples, allow_pickle=False) as file:
            rows = {name: file[name] for name in file.files}
        given: dict[str, list[Any]] = {f"out:{port.name}": [] for port in session.outputs}
        for row in range(len(next(iter(rows.values())))):
            session.invoke(
                {port.index: rows[f"in:{port.name}"][row][None] for port in session.inputs}
            )
            for port in session.outputs:
                answer = session.read(port.index)
                if answer is None:
                    raise ConversionError(f"it gives no value for {port.name!r}")
                given[f"out:{port.name}"].append(answer[0])
    except ConversionError as exc:
        return {"load": _refused(runtime, version, exc.message).to_json()}
    save_columns(answers, given)
    return {"load": _agrees(found, samples, answers, quantization).to_json()}


def _agrees(
    found: LoadCheck, samples: Path, answers: Path, quantization: QuantizationKind
) -> LoadCheck:
    try:
        compare(
            load_outputs(samples),
            load_outputs(answers),
            quantization,
            where=f"{found.runtime} {found.version}",
        )
    except (MismatchError, DeviceError) as exc:
        return found.model_copy(update={"ok": False, "error": exc.message})
    return found


def load(
    path: Path,
    runtime: str,
    version: str,
    python: Path,
    runner: Path,
    *,
    inputs: Path | None = None,
    outputs: Path | None = None,
    names: dict[str, list[str]] | None = None,
) -> LoadCheck:
    """Open, allocate and run `path` with the runner under `python`.

    Args:
        inputs: an .npz with ``in:<name>``; else floats are drawn from [0, 1).
        outputs: where to write what it gives for them, as ``out:<name>``.
        names: of inputs and outputs, for a file that keeps none.

    Raises:
        WorkerError: the runner itself fails, so nothing is known of the artifact.
    """
    job = {
        "protocol": PROTOCOL,
        "model": str(path),
        "runtime": runtime,
        "inputs": str(inputs) if inputs else None,
        "outputs": str(outputs) if outputs else None,
        "names": names,
        "runs": 0,
        "time_budget_seconds": TIMEOUT_SECONDS,
    }
    try:
        done = subprocess.run(
            [str(python), str(runner), "-"],
            env=clean_environment(),
            input=json.dumps(job),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS + 60,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise _inconclusive(runtime, version, f"took longer than {exc.timeout:.0f} s") from exc
    except OSError as exc:
        raise WorkerError(f"cannot start {str(python)!r}: {exc.strerror}") from exc
    events = _events(done.stdout)
    if done.returncode < 0:
        ended = signal.Signals(-done.returncode)
        if ended in OWN_FAULTS:
            return _refused(runtime, version, f"its process was killed by {ended.name}")
        raise _inconclusive(runtime, version, f"was killed by {ended.name}")
    error = events.get("error")
    if error is not None and error["code"] in REFUSALS:
        return _refused(runtime, version, error["message"])
    if error is not None or done.returncode != 0 or "first" not in events:
        said = error["message"] if error else _last_line(done.stderr)
        raise _inconclusive(runtime, version, f"did not run: {said}")
    hello = events["hello"]
    if (hello["runtime"], hello["runtime_version"]) != (runtime, version):
        raise WorkerError(
            f"the environment of {runtime} {version} has {hello['runtime']} "
            f"{hello['runtime_version']}",
            hint="edgekit clean --environments removes it; it is made anew then",
        )
    if not events["first"]["finite"]:
        bad = ", ".join(each["name"] for each in events["first"]["not_finite"])
        return _refused(runtime, version, f"gives NaN or infinity in {bad}")
    return LoadCheck(runtime=runtime, version=version, loads=True, ok=True)


def _inconclusive(runtime: str, version: str, what: str) -> WorkerError:
    return WorkerError(
        f"the load check with {runtime} {version} {what}",
        hint="nothing is known of the artifact; run the command again",
    )


def _refused(runtime: str, version: str, error: str) -> LoadCheck:
    return LoadCheck(runtime=runtime, version=version, loads=False, ok=False, error=error)


def _events(text: str) -> dict[str, dict[str, Any]]:
    """The last event of each kind; lines that a library printed between them are passed over."""
    found = {}
    for line in text.splitlines():
        if line.startswith('{"event"'):
            event = json.loads(line)
            found[event["event"]] = event
    return found


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
