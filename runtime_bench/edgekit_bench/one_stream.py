"""The whole job in this process, from "hello" to "done"."""

import math
import signal

from . import PROTOCOL, RUNNER_VERSION
from .check import check, not_finite
from .environment import environment
from .events import clock, emit
from .files import verify_digest
from .formats import kind_of, reader_of
from .inputs import batches, given_inputs, synthetic_inputs
from .machine import describe_machine
from .measure import measure
from .memory import memory_use, resident_bytes
from .operators import operator_times
from .runtimes import find_runtime
from .wheels import RUNTIMES

# Seconds after the budget at which the kernel ends this process, whatever it hangs in: the link to
# who started it may be gone by then.
ALARM_GRACE_SECONDS = 15


def set_alarm(job):
    """The kernel ends this process some time after the budget, even if the runtime's code hangs."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(math.ceil(job["time_budget_seconds"])) + ALARM_GRACE_SECONDS)


def one_stream(job, deadline_ns, stream=0, wait=lambda: None, before_done=lambda: None):
    """The whole job in this process; `wait` is called before samples are taken."""
    kind = kind_of(job["model"])
    name, version, module = find_runtime(job["runtime"], kind)
    emit(
        "hello",
        protocol=PROTOCOL,
        runner=RUNNER_VERSION,
        runtime=name,
        runtime_version=version,
        **describe_machine(),
    )
    if job["sha256"]:
        verify_digest(job["model"], job["sha256"])
    emit("environment", when="before", **environment())

    reader = reader_of(next(reads for known, _, reads in RUNTIMES if known == name))
    before_load, _ = resident_bytes()
    loaded = reader(module, job)
    after_load, _ = resident_bytes()
    emit(
        "load",
        ns=loaded.load_ns,
        inputs=loaded.inputs,
        outputs=loaded.outputs,
    )

    rows = given_inputs(loaded, job["inputs"]) if job["inputs"] else None
    values = next(batches(loaded, rows))[0] if rows else synthetic_inputs(loaded)
    loaded.set_inputs(values)
    began = clock()
    loaded.invoke()
    first_ns = clock() - began
    bad = not_finite(loaded, loaded.read_outputs())
    emit("first", ns=first_ns, finite=not bad, not_finite=bad)

    if job["outputs"]:
        check(loaded, rows, job["outputs"])
        loaded.set_inputs(values)

    stopped = measure(loaded, job, deadline_ns, stream, wait)
    _, peak = resident_bytes()
    held, unavailable = memory_use(job["model"], loaded.arena_bytes())
    if job["operators"]:
        emit("operators", **operator_times(loaded, values, deadline_ns))
    memory = {"before_load_bytes": before_load, "after_load_bytes": after_load, "peak_bytes": peak}
    memory = {key: value for key, value in memory.items() if value is not None}
    emit("memory", unavailable=unavailable, **dict(memory, **held))
    emit("environment", when="after", **environment())
    before_done()
    emit("done", stopped=stopped)
