"""The job in several processes at the same time, and one run's events out of theirs."""

import json
import os
import signal
import sys

from .events import Failure, emit, emit_again
from .one_stream import one_stream, set_alarm


def many_streams(job, deadline_ns, before_done):
    """Processes that each load the model, wait for each other, and are timed at the same time.

    Processes, not threads: that is the same for every runtime, and Python's lock is none of it.
    They are forked before any runtime is imported, since runtimes start threads.
    """
    go, start = os.pipe()
    streams = [Stream(job, deadline_ns, number, go, start) for number in range(job["streams"])]
    os.close(go)
    try:
        while any(not stream.waits and not stream.ended for stream in streams):
            _read_some(streams)
            _raise_first_error(streams)
        os.close(start)  # every stream reads an end of file there, all at once
        while not all(stream.ended for stream in streams):
            _read_some(streams)
        _raise_first_error(streams)
    finally:
        for stream in streams:
            stream.kill()
    _emit_together([stream.events for stream in streams], before_done)


class Stream:
    """One forked process and the events that it has printed."""

    def __init__(self, job, deadline_ns, number, go, start):
        reader, writer = os.pipe()
        self.number, self.reader, self.text, self.events = number, reader, b"", []
        self.waits = self.ended = False
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            os.close(writer)
            return
        os.close(start)
        os.dup2(writer, 1)
        set_alarm(job)  # a fork does not inherit it

        def wait():
            emit("waits")
            os.read(go, 1)

        status = 0
        try:
            one_stream(job, deadline_ns, number, wait)
        except Failure as failure:
            status = failure.status
            emit("error", status=status, **failure.told())
        except BaseException:
            import traceback

            traceback.print_exc()
            status = 1
        finally:  # never back into the parent's code
            os._exit(status)

    def read(self):
        data = os.read(self.reader, 1 << 16)
        *lines, self.text = (self.text + data).split(b"\n")
        for line in lines:
            event = json.loads(line.decode("utf-8"))
            self.waits = self.waits or event["event"] == "waits"
            self.events.append(event)
        if not data:
            os.close(self.reader)
            _, self.status = os.waitpid(self.pid, 0)
            self.ended = True

    def kill(self):
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.reader)


def _read_some(streams):
    import select

    open_ones = {stream.reader: stream for stream in streams if not stream.ended}
    for reader in select.select(list(open_ones), [], [])[0]:
        open_ones[reader].read()


def _raise_first_error(streams):
    for stream in streams:
        last = stream.events[-1] if stream.events else {}
        if last.get("event") == "error":
            raise Failure(last["status"], last["code"], last["message"], last["hint"])
        if stream.ended and last.get("event") != "done":
            raise Failure(
                5,
                "run_failed",
                "stream %d of %d ended before it was done (status %d)"
                % (stream.number + 1, len(streams), stream.status),
            )


def _emit_together(events, before_done):
    """One run's events out of those of several streams (a list each)."""
    first = {event["event"]: event for event in reversed(events[0])}
    for name in ("hello", "environment", "load", "first"):
        emit_again(first[name])
    for name in ("window", "warmup", "samples"):
        for stream in events:
            for event in stream:
                if event["event"] == name:
                    emit_again(event)
    last = [{event["event"]: event for event in stream} for stream in events]
    shares = [each["interference"] for each in last]
    own = [share["own_cores"] for share in shares]
    other = [share["other_cores"] for share in shares]
    # To each stream the others are other work.
    used = None if None in own else sum(own)
    more = None if None in own + other else other[0] + own[0] - used
    emit("interference", own_cores=used, other_cores=None if more is None else max(0.0, more))
    held = [each["memory"] for each in last]
    keys = sorted(set.intersection(*map(set, held)) - {"event", "unavailable"})
    sums = {key: sum(each[key] for each in held) for key in keys}
    emit("memory", unavailable=held[0]["unavailable"], **sums)
    emit_again(last[0]["environment"])
    before_done()
    stopped = [each["done"]["stopped"] for each in last]
    emit("done", stopped=next((why for why in stopped if why != "enough"), "enough"))
