"""Worker processes, one kind a framework; each stays warm for the next step of its kind.

A worker that crashes, hangs or takes too much memory ends as a `WorkerError` of the step it was
doing; the next step of its kind gets a fresh one. TensorFlow and torch never share a process.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import edgekit
from edgekit.core.errors import EdgekitError, UsageError, WorkerError
from edgekit.core.files import readable_bytes, unwritable
from edgekit.core.locate import cache_dir
from edgekit.work.cache import HINT
from edgekit.work.environments import clean_environment
from edgekit.work.toolchains import is_installed, toolchain_python

T = TypeVar("T")
Call = Callable[[str, Path, dict[str, Any]], dict[str, Any]]
Says = Callable[[str], None]

POLL_SECONDS = 0.2
LOGS_KEPT = 50
FULL_BYTES = 1_000_000  # with less left on a disk, a worker that died could not write
# Computers that share a cache do not see each other's processes.
LEFT_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Kind:
    """A kind of worker.

    Attributes:
        preload: modules imported as the process starts, while other work goes on.
        extra: the extra of edgekit that holds them.
        at_most: how many processes of this kind at a time.
        env: variables set for the process.
        toolchain: a name in `edgekit.work.toolchains.TOOLCHAINS` whose Python runs the process.
    """

    preload: tuple[str, ...] = ()
    extra: str = ""
    at_most: int = 1
    env: dict[str, str] = field(default_factory=dict)
    toolchain: str = ""


CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

# Two processes whose threads wait for each other on the same cores crawl: each gets its share.
TORCH_AT_MOST = max(1, min(2, CORES))
TORCH_ENV = {
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(CORES // TORCH_AT_MOST)),
}

KINDS = {
    "tensorflow": Kind(
        preload=("tensorflow",),
        extra="keras",
        env={"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"},
    ),
    "litert": Kind(
        preload=("ai_edge_litert.interpreter",), extra="keras", at_most=max(1, min(4, CORES))
    ),
    "torch": Kind(
        preload=("torch",),
        extra="torch",
        at_most=TORCH_AT_MOST,
        env=TORCH_ENV,
    ),
    "onnx": Kind(preload=("onnxruntime",), extra="onnx", at_most=max(1, min(2, CORES))),
    "executorch-openvino": Kind(
        preload=("torch",),
        toolchain="executorch-openvino",
        # OpenVINO's oneDNN then computes float32 in float32 and not in bfloat16, against which a
        # .pte can hold no setting. AVX-512 is kept where it is.
        env={"TORCH_CPP_LOG_LEVEL": "ERROR", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"},
    ),
    "executorch-ethos-u": Kind(
        preload=("torch",),
        toolchain="executorch-ethos-u",
        env={"TORCH_CPP_LOG_LEVEL": "ERROR"},
    ),
    "plain": Kind(at_most=max(1, min(4, CORES))),
}


class Pool:
    """Starts workers on demand and keeps them warm. A context manager: leaving stops them all.

    Args:
        timeout_seconds: for one step, or between two words of one that tells how far it is;
            EDGEKIT_WORKER_TIMEOUT, or 1800, if not given.
        memory_bytes: resident memory of one worker; EDGEKIT_WORKER_MEMORY_MB, or four fifths of
            this computer's, if not given.
    """

    def __init__(
        self, *, timeout_seconds: float | None = None, memory_bytes: int | None = None
    ) -> None:
        self.timeout_seconds = timeout_seconds or _setting("EDGEKIT_WORKER_TIMEOUT", 1800)
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self.memory_bytes = memory_bytes or (
            _setting("EDGEKIT_WORKER_MEMORY_MB", total * 0.8 / 2**20) * 2**20
        )
        self._executors: dict[str, ThreadPoolExecutor] = {}
        self._workers: set[_Worker] = set()
        self._idle: dict[str, list[_Worker]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def warm(self, kinds: Iterable[str]) -> None:
        """Start one worker of each kind now, so that its imports run beside other work.

        One whose toolchain is not installed is left: the step that needs it will say so.
        """
        for kind in kinds:
            if KINDS[kind].toolchain and not is_installed(KINDS[kind].toolchain):
                continue
            with self._lock:
                if not any(worker.kind == kind for worker in self._workers):
                    self._idle.setdefault(kind, []).append(self._start(kind))

    def submit(
        self, kind: str, work: Callable[..., T], *args: Any, says: Says = lambda _: None
    ) -> Future[T]:
        """Run ``work(*args, call)`` in a thread; `call` has a worker process do a function.

        What that function tells of itself meanwhile goes to `says`.
        """
        with self._lock:
            if kind not in self._executors:
                self._executors[kind] = ThreadPoolExecutor(KINDS[kind].at_most, f"edgekit-{kind}")
        return self._executors[kind].submit(lambda: work(*args, self._caller(kind, says)))

    def stop(self) -> None:
        """Kill every worker and wait until all are gone."""
        self._stopped.set()
        with self._lock:
            workers = list(self._workers)
        for worker in workers:
            worker.kill()
        for executor in self._executors.values():
            executor.shutdown(wait=True, cancel_futures=True)
        for worker in workers:
            worker.close()

    def _caller(self, kind: str, says: Says) -> Call:
        def call(function: str, out: Path, arguments: dict[str, Any]) -> dict[str, Any]:
            with self._lock:
                if self._stopped.is_set():
                    raise WorkerError("interrupted")
                idle = self._idle.setdefault(kind, [])
                worker = idle.pop() if idle else self._start(kind)
            try:
                result = worker.call(function, out, arguments, says)
            except BaseException:
                if not worker.alive():
                    with self._lock:
                        self._workers.discard(worker)
                    worker.close()
                    raise
                with self._lock:
                    self._idle[kind].append(worker)
                raise
            with self._lock:
                self._idle[kind].append(worker)
            return result

        return call

    def _start(self, kind: str) -> _Worker:
        worker = _Worker(kind, self.timeout_seconds, self.memory_bytes)
        self._workers.add(worker)
        return worker


class _Worker:
    """One process: requests as JSON lines on its stdin, answers on its stdout, the rest logged.

    Raises:
        PlanError: its toolchain is not installed.
    """

    def __init__(self, kind: str, timeout_seconds: float, memory_bytes: float) -> None:
        self.kind, self.timeout_seconds, self.memory_bytes = kind, timeout_seconds, memory_bytes
        definition = KINDS[kind]
        toolchain = definition.toolchain
        python = str(toolchain_python(toolchain)) if toolchain else sys.executable
        self.log = _log_file(kind)
        # A folder of its own, since what it leaves there (TensorFlow's generated code, a
        # half-written model) is removed by nobody where a worker is killed.
        self.temporary = _temporary_folder()
        inherited = _only_edgekit(self.temporary) if toolchain else dict(os.environ)
        with open(self.log, "wb") as log:
            # -P: a json.py in the current folder must not shadow the library's. A session of its
            # own: Ctrl-C reaches only us, and we end the worker.
            self.process = subprocess.Popen(
                [python, "-P", "-m", "edgekit.work.worker", *definition.preload],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={
                    **inherited,
                    **definition.env,
                    "PYTHONUNBUFFERED": "1",
                    "TMPDIR": str(self.temporary),
                },
                start_new_session=True,
            )
        self._buffer = b""

    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Wait for the end, release the pipes and the temporary folder; keep a log with words."""
        self.process.wait()
        shutil.rmtree(self.temporary, ignore_errors=True)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        if self.log.exists() and self.log.stat().st_size == 0:
            self.log.unlink()

    def call(
        self, function: str, out: Path, arguments: dict[str, Any], says: Says
    ) -> dict[str, Any]:
        request = {"function": function, "out": str(out), "arguments": arguments}
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended(function) from None
        while "says" in (answer := json.loads(self._read_line(function))):
            says(answer["says"])
        if "error" in answer:
            error = EdgekitError.from_json(answer["error"])
            if "unexpected" in answer:
                error.log = str(self.log)
            if "install" in answer:
                error.hint = _how_to_install(KINDS[self.kind])
            raise error
        result: dict[str, Any] = answer["result"]
        return result

    def _read_line(self, function: str) -> bytes:
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + self.timeout_seconds
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([descriptor], [], [], POLL_SECONDS)
            if ready:
                data = os.read(descriptor, 1 << 20)
                if not data:
                    raise self._ended(function)
                self._buffer += data
                continue
            if time.monotonic() > deadline:
                raise self._end(
                    function,
                    f"took longer than {self.timeout_seconds:.0f} s",
                    "raise EDGEKIT_WORKER_TIMEOUT (seconds) if it needs that long",
                )
            used = _resident_bytes(self.process.pid)
            if used > self.memory_bytes:
                raise self._end(
                    function,
                    f"took {readable_bytes(used)} of memory, "
                    f"more than the {readable_bytes(self.memory_bytes)} allowed",
                    "raise EDGEKIT_WORKER_MEMORY_MB if this computer has more to give",
                )
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _end(self, function: str, what: str, hint: str) -> WorkerError:
        self.kill()
        self.process.wait()
        return WorkerError(
            f"{_short(function)} {what} and was stopped", hint=hint, log=str(self.log)
        )

    def _ended(self, function: str) -> WorkerError:
        code = self.process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        folder = self.log.parent  # where it wrote: libraries abort when they cannot
        full = f"the disk of {folder} is full: EDGEKIT_CACHE names another folder"
        return WorkerError(
            f"{_short(function)}: the {self.kind} worker process {how}",
            hint=full if shutil.disk_usage(folder).free < FULL_BYTES else "",
            log=str(self.log),
        )


def _how_to_install(kind: Kind) -> str:
    if kind.toolchain:
        return f"edgekit toolchain remove {kind.toolchain}; edgekit toolchain add {kind.toolchain}"
    return f"pip install 'edgekit[{kind.extra}]'"


def _only_edgekit(folder: Path) -> dict[str, str]:
    """Variables by which a toolchain's Python finds edgekit, and nothing else that is here.

    The folder that edgekit lies in may hold every package of this environment; what leads there is
    a link to edgekit alone.
    """
    packages = folder / "packages"
    packages.mkdir()
    (packages / "edgekit").symlink_to(Path(edgekit.__file__).parent, target_is_directory=True)
    return {**clean_environment(), "PYTHONPATH": str(packages)}


def _short(function: str) -> str:
    return function.rpartition(":")[2]


def _resident_bytes(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    except (FileNotFoundError, ProcessLookupError, IndexError):  # it ended; select sees that next
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _log_file(kind: str) -> Path:
    folder = cache_dir() / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise unwritable(folder, exc, hint=HINT) from exc
    old = sorted(folder.glob("*.log"), key=lambda path: path.name)
    for path in old[:-LOGS_KEPT]:
        path.unlink(missing_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return folder / f"{stamp}-{kind}-{os.getpid()}-{time.monotonic_ns() % 10**9:09d}.log"


def _temporary_folder() -> Path:
    folder = (cache_dir() / "tmp").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():  # by one of us that was killed
            with contextlib.suppress(FileNotFoundError):  # its owner has just removed it
                if left.stat().st_mtime < time.time() - LEFT_SECONDS and not _runs(left.name):
                    shutil.rmtree(left, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=folder, prefix=f"{os.getpid()}-"))
    except OSError as exc:
        raise unwritable(folder, exc, hint=HINT) from exc


def _runs(name: str) -> bool:
    return Path("/proc", name.partition("-")[0]).exists()


def _setting(name: str, default: float) -> float:
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1
    if value <= 0:
        raise UsageError(f"{name}={text!r} is not a number above zero")
    return value
