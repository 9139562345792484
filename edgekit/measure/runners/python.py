"""``runtime_bench/edgekit_bench`` in a Python that the device has."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from edgekit.core.bench import bench_program
from edgekit.core.errors import RuntimeMissingError, UnknownNameError
from edgekit.core.files import sha256_file
from edgekit.core.measurement import PROTOCOL
from edgekit.core.protocols import Device
from edgekit.measure.events import Events, budget_seconds, collect
from edgekit.measure.runner import RunnerWish
from edgekit.measure.subject import Subject

OLDEST_PYTHON = (3, 8)

# Where people and edgekit's own hints put the environment with the runtime; first match wins.
PYTHONS = ("~/.edgekit/venv/bin/python", "~/venv/bin/python", "~/.venv/bin/python", "python3")

# Runtime by the name that pip knows, and the module that tells whether it is there.
_MODULES = {
    "ai-edge-litert": "ai_edge_litert",
    "tflite-runtime": "tflite_runtime",
    "tensorflow": "tensorflow",
    "executorch": "executorch",
    "onnxruntime": "onnxruntime",
}
# Runtimes that read a format, the first one preferred.
READERS = {
    "tflite": ("ai-edge-litert", "tflite-runtime", "tensorflow"),
    "executorch": ("executorch",),
    "onnx": ("onnxruntime",),
}

# Beyond the runner's own limits: it ends by itself at the time budget, and the kernel ends it
# 15 s later; starting Python and the runtime on a slow card takes some seconds more.
_TIMEOUT_GRACE_SECONDS = 60

# Prints one line for each Python that is there: its name, then what _ASK prints.
_FIND = """
for python in "$@"; do
  case $python in '~/'*) python=$HOME/${python#'~/'};; esac
  command -v "$python" >/dev/null 2>&1 || continue
  "$python" -c "$ASK" "$python" 2>/dev/null
done
exit 0
"""
_ASK = (
    "import sys, json, importlib.util as u; "
    "print(json.dumps({'edgekit_python': sys.argv[1], 'version': list(sys.version_info[:2]), "
    f"'modules': [m for m in {tuple(_MODULES.values())!r} if u.find_spec(m)]}}))"
)


class PythonRunner:
    """``edgekit_bench`` in a Python of the device; implements `Runner`."""

    name = "python"
    runs: ClassVar[dict[str, tuple[str, ...]]] = {
        "tflite": ("xnnpack",),
        "executorch": ("xnnpack", "portable"),
        "onnx": ("cpu",),
    }
    checks = None
    senses = True

    def __init__(self, device: Device, python: str, runner: str) -> None:
        self._device, self._python, self._runner = device, python, runner

    @classmethod
    def deploy(cls, device: Device, subject: Subject, wish: RunnerWish) -> Self:
        """Push the runner and find a Python for it.

        Raises:
            UnknownNameError: `wish.runtime` does not read such a file.
            RuntimeMissingError: there is no Python 3.8 or newer.
            OutputError: edgekit's cache folder, in which the runner is made, cannot be written.
        """
        readers = READERS[subject.file_format]
        if wish.runtime is not None and wish.runtime not in readers:
            raise UnknownNameError(f"runtime for {subject.variant}", wish.runtime, readers)
        program = bench_program()
        runner = device.push(program, sha256_file(program))
        python = find_python(
            device, named=wish.python, runtime=wish.runtime, file_format=subject.file_format
        )
        return cls(device, python, runner)

    def accept(self, job: Mapping[str, Any]) -> None:
        """The program refuses what it cannot do before it loads the model."""

    def run(self, job: Mapping[str, Any]) -> Events:
        result = self._device.run(
            [self._python, self._runner, "-"],
            stdin=json.dumps({"protocol": PROTOCOL, **job}).encode(),
            timeout_seconds=budget_seconds(job) + _TIMEOUT_GRACE_SECONDS,
        )
        return collect(self._device, result, job, by_hand=f"{self._python} {self._runner} JOB.json")


def find_python(
    device: Device,
    *,
    named: str | None = None,
    runtime: str | None = None,
    file_format: str = "tflite",
) -> str:
    """The Python on `device` that the runner shall use.

    Args:
        named: use this one; it may start with ``~/``.
        runtime: a name that pip knows; any that reads `file_format` if not given.

    The first of `PYTHONS` that has the runtime; on this computer the running one comes first.
    Without any, the first that is new enough: the runner then says what to install.

    Raises:
        RuntimeMissingError: there is no Python 3.8 or newer.
    """
    wanted, found, usable = _asked(device, named)
    if not usable:
        old = "; ".join(f"{a['edgekit_python']} is {_dotted(a['version'])}" for a in found)
        where = "install one there (Debian: sudo apt install python3-venv), or "
        if device.address.startswith("adb:"):  # Android has none
            where = "edgekit measures with Python, which a phone has not; on a board with adb, "
        raise RuntimeMissingError(
            f"{device.address} has no Python {_dotted(OLDEST_PYTHON)} or newer at "
            f"{', '.join(wanted)}" + (f" ({old})" if old else ""),
            hint=f"{where}name one with --python",
        )
    fitting = (runtime,) if runtime in _MODULES else READERS[file_format]
    return (_first_with(fitting, usable) or (str(usable[0]["edgekit_python"]), ""))[0]


def find_runtime(device: Device, file_format: str) -> tuple[str, str] | None:
    """The first Python on `device` with a runtime that reads `file_format`, and that runtime."""
    return _first_with(READERS[file_format], _asked(device, None)[2])


def _asked(
    device: Device, named: str | None
) -> tuple[list[str], list[dict[str, Any]], list[dict[str, Any]]]:
    """Where was looked, what answered, and which of these are new enough."""
    wanted = [named] if named else list(PYTHONS)
    if device.address == "local" and not named:
        wanted.insert(0, sys.executable)
    result = device.run(
        ["env", f"ASK={_ASK}", "sh", "-c", _FIND, "sh", *wanted], timeout_seconds=120
    )
    found = list(_answers(result.stdout))
    return wanted, found, [each for each in found if tuple(each["version"]) >= OLDEST_PYTHON]


def _first_with(
    runtimes: Sequence[str], pythons: Sequence[dict[str, Any]]
) -> tuple[str, str] | None:
    for answer in pythons:
        for runtime in runtimes:
            if _MODULES.get(runtime) in answer["modules"]:
                return str(answer["edgekit_python"]), runtime
    return None


def _answers(text: str) -> Iterator[dict[str, Any]]:
    """The probe's lines; whatever a login script prints among them is not one."""
    for line in text.splitlines():
        try:
            answer = json.loads(line)
        except ValueError:
            continue
        if isinstance(answer, dict) and "edgekit_python" in answer:
            yield answer


def _dotted(version: Any) -> str:
    return ".".join(str(part) for part in version)
