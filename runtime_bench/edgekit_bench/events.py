"""Events: what is printed, one JSON object a line, and what ends a run with one."""

import json
import sys
import time

# Of all times in events: the monotonic clock's, in ns.
clock = time.perf_counter_ns

SAMPLES_A_LINE = 10000


class Failure(Exception):
    """Ends the run with an error event and this exit status."""

    def __init__(self, status, code, message, hint=""):
        Exception.__init__(self, message)
        self.status, self.code, self.message, self.hint = status, code, message, hint

    def told(self):
        return {"code": self.code, "message": self.message, "hint": self.hint}


def emit(event, **values):
    """Print one event as a line of JSON, at once."""
    values = dict({"event": event}, **values)
    sys.stdout.write(json.dumps(values, allow_nan=False) + "\n")
    sys.stdout.flush()


def emit_again(event):
    emit(event["event"], **{key: value for key, value in event.items() if key != "event"})


def one_line(exc):
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return " ".join(lines)[:500]
