"""What each operator took, by the runtime's profiler."""

from .events import clock, one_line

PROFILED_RUNS = 50
PROFILED_SECONDS = 2.0


class NoProfiler(Exception):
    """The runtime has no profiler that can be used from here."""


def operator_times(loaded, values, deadline_ns):
    """What each operator took, in a session of its own, since profiling slows all of them down.

    "runs" and "total_ns" are of the whole model then; "operators" have a name, a kind, where they
    run, how often they were called and their ns over all runs, in the order of execution.
    """
    try:
        invoke, finish = loaded.profiler(values)
        invoke()
        enough_ns = min(clock() + int(PROFILED_SECONDS * 1e9), deadline_ns)
        began = clock()
        runs = 0
        while runs < PROFILED_RUNS and (runs == 0 or clock() < enough_ns):
            invoke()
            runs += 1
        total_ns = clock() - began
        operators = finish(runs)
    except NoProfiler as exc:
        return {"unavailable": str(exc)}
    except Exception as exc:
        return {"unavailable": "the profiler fails: " + one_line(exc)}
    return {"runs": runs, "total_ns": total_ns, "operators": operators}


def gathered(calls):
    """One entry an operator, of calls (name, kind, where, ns) in the order of their first call."""
    found = {}
    for name, kind, where, ns in calls:
        entry = found.setdefault(
            (name, where), {"name": name, "kind": kind, "where": where, "calls": 0, "ns": 0}
        )
        entry["calls"] += 1
        entry["ns"] += int(round(ns))
    return list(found.values())
