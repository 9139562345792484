"""Warm-up and samples."""

import gc

from .events import SAMPLES_A_LINE, Failure, clock, emit, one_line
from .interference import OtherWork


def measure(loaded, job, deadline_ns, stream, wait):
    """Warm up, take samples, print both; why sampling stopped."""
    invoke = loaded.run
    gc.collect()
    gc.disable()
    try:
        warmup, _ = sample(
            invoke, job["warmup_runs"], job["warmup_seconds"], job["max_runs"], deadline_ns
        )
        wait()
        others = OtherWork()
        began = clock()
        samples, stopped = sample(
            invoke,
            job["runs"],
            job["min_seconds"],
            job["max_runs"],
            deadline_ns,
            job["sample_every"],
        )
        ended = clock()
        own_cores, other_cores = others.cores()
    except Exception as exc:
        raise Failure(5, "run_failed", "the model fails when it runs: " + one_line(exc))
    finally:
        gc.enable()
    emit("window", stream=stream, start_ns=began, end_ns=ended)
    for event, times in (("warmup", warmup), ("samples", samples)):
        for start in range(0, len(times), SAMPLES_A_LINE):
            emit(event, stream=stream, ns=times[start : start + SAMPLES_A_LINE])
    emit("interference", own_cores=own_cores, other_cores=other_cores)
    return stopped


def sample(invoke, runs, seconds, max_runs, deadline_ns, every=1):
    """Time `invoke` until both `runs` and `seconds` are reached; ns of each, and why it stopped.

    Nothing but the call stands between the two clock readings, and what the loop needs is local.
    With `every` above 1 the others of so many run untimed before each timed one.
    """
    untimed = range(every - 1)
    now = clock
    samples = []
    append = samples.append
    if runs <= 0 and seconds <= 0:
        return samples, "enough"
    count = 0
    enough_ns = now() + int(seconds * 1e9)
    while True:
        for _ in untimed:
            invoke()
        before = now()
        invoke()
        after = now()
        append(after - before)
        count += 1
        if count >= runs and after >= enough_ns:
            return samples, "enough"
        if count >= max_runs:
            return samples, "max_runs"
        if after >= deadline_ns:
            return samples, "time_budget"
