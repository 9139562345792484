"""From the arguments to the exit status."""

import os
import sys

from .events import Failure, clock, emit
from .job import read_job
from .one_stream import one_stream, set_alarm


def start(arguments):
    """Do the job; what goes wrong is told in an event, and by the exit status."""
    try:
        main(arguments)
    except Failure as failure:
        emit("error", **failure.told())
        sys.exit(failure.status)


def main(arguments):
    started = clock()
    if len(arguments) != 1:
        raise Failure(2, "bad_job", "give one argument: the path of the job, or -")
    job = read_job(arguments[0])
    deadline_ns = started + int(job["time_budget_seconds"] * 1e9)
    set_alarm(job)
    if not os.path.isfile(job["model"]):
        raise Failure(2, "bad_job", "there is no model file %r" % job["model"])
    if job["sensors"] is None:
        run(job, deadline_ns)
        return
    from .sensors import Sampler

    with Sampler(job["sensors"]) as sampler:
        sampler.idle()
        run(job, deadline_ns, sampler.tell)


def run(job, deadline_ns, before_done=lambda: None):
    """The job; `before_done` is called when all is measured, before the last event."""
    if job["streams"] == 1:
        one_stream(job, deadline_ns, before_done=before_done)
    else:
        from .many_streams import many_streams

        many_streams(job, deadline_ns, before_done)
