#!/usr/bin/env python3
"""Reads sensors on the device at an even rate, beside what is measured. One file; Python 3.8+.

    python3 edgekit_sampler.py < SPEC

Knows nothing of sensors: it reads files and runs commands, and writes down what they said and
when. Standard input is one line of JSON with the keys of `DEFAULTS`, and then stays open: its end,
which comes when the program that started this one ends, is the sign to stop. A channel is one of

    {"files": [PATH, …]}      read one after the other at each turn
    {"run": [WORD, …]}        a command, run at each turn
    {"stream": [WORD, …]}     a command that goes on and prints a line now and then

and may have "every": N, for each N-th turn only. Printed is one line of JSON each for

    {"sampler": 1, "began_ns": …}             it is ready
    [channel, before_ns, took_ns, [text, …]]  one reading; of a stream, one line
    [channel, before_ns, took_ns, null, why]  one that failed; the first 20 of a channel
    {"ended": why, …}                         the last line: "asked", "seconds" or "bytes"; what
                                              it cost, its start apart, and how many turns it came
                                              too late for

Times are of the monotonic clock in ns. The turns are evenly spaced, but the reading comes at a
random moment of each: a load that swings in step with an even rate would always be caught at the
same point of its swing, and look steady.
"""

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time

VERSION = 1

DEFAULTS = {
    "channels": None,  # required
    "rate": 10.0,  # turns a second
    "seconds": 3600.0,  # it ends by itself after that
    "max_bytes": 16000000,  # or when it has printed so much
    "seed": 0,
}

MAX_RATE = 1000.0
FILE_BYTES = 4096
COMMAND_BYTES = 65536
COMMAND_SECONDS = 5.0
LINE_BYTES = 65536
MAX_ERRORS = 20

_clock = time.perf_counter_ns  # the runner's clock


class BadSpec(Exception):
    """The spec is not right; the text says what."""


def read_spec(line):
    try:
        data = json.loads(line.decode("utf-8"))
    except ValueError as exc:
        raise BadSpec("the spec is no JSON: %s" % exc)
    if not isinstance(data, dict):
        raise BadSpec("the spec is not a JSON object")
    unknown = sorted(set(data) - set(DEFAULTS))
    if unknown:
        raise BadSpec("unknown key %r; allowed: %s" % (unknown[0], ", ".join(sorted(DEFAULTS))))
    spec = dict(DEFAULTS, **data)
    if not isinstance(spec["rate"], (int, float)) or not 0 < spec["rate"] <= MAX_RATE:
        raise BadSpec("rate = %r is not above 0 and at most %g" % (spec["rate"], MAX_RATE))
    for key in ("seconds", "max_bytes", "seed"):
        if not isinstance(spec[key], (int, float)) or not spec[key] >= 0:
            raise BadSpec("%s = %r is not a number, zero or more" % (key, spec[key]))
    if not isinstance(spec["channels"], list) or not spec["channels"]:
        raise BadSpec("channels = %r is not a list with something in it" % (spec["channels"],))
    return spec


def die_with_parent():
    """Ask Linux to end this process when its parent ends, however that ends."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    except (ImportError, AttributeError, OSError):
        return  # the end of standard input is the other sign


def make_channel(number, data):
    kinds = [kind for kind in (Files, Run, Stream) if kind.KEY in data]
    if len(kinds) != 1 or set(data) - {kinds[0].KEY, "every"}:
        raise BadSpec("channel %d = %r is not one of files, run, stream" % (number, data))
    words, every = data[kinds[0].KEY], data.get("every", 1)
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise BadSpec("channel %d: %r is not a list of texts" % (number, words))
    if not isinstance(every, int) or every < 1:
        raise BadSpec("channel %d: every = %r is not a whole number >= 1" % (number, every))
    return kinds[0](number, words, every)


class Channel:
    """One thing to read. `take` is called at its turns and calls `out` with a line's values."""

    def __init__(self, number, words, every):
        self.number, self.words, self.every = number, words, every
        self.next_turn = self.reads = self.errors = self.read_ns = 0

    def take(self, out):
        before = _clock()
        try:
            texts, why = self.read(), None
        except (OSError, ValueError) as exc:
            texts, why = None, getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        self.tell(out, before, _clock() - before, texts, why)

    def tell(self, out, before, took, texts, why=None):
        self.read_ns += took
        if why is None:
            self.reads += 1
            out([self.number, before, took, texts])
        else:
            self.errors += 1
            if self.errors <= MAX_ERRORS:
                out([self.number, before, took, None, why[:300]])

    def close(self):
        return None


class Files(Channel):
    """Files that stay open: reading one of sysfs again from its start asks the driver again."""

    KEY = "files"

    def __init__(self, number, words, every):
        Channel.__init__(self, number, words, every)
        self.open = {}

    def read(self):
        return [self._read(path) for path in self.words]

    def _read(self, path):
        try:
            if path not in self.open:
                self.open[path] = os.open(path, os.O_RDONLY)
            data = os.pread(self.open[path], FILE_BYTES, 0)
        except OSError as exc:
            if path in self.open:  # the driver may have gone and come again
                os.close(self.open.pop(path))
            raise OSError(exc.errno, "%s: %s" % (path, exc.strerror))
        return data.decode("utf-8", "replace").strip("\0\n ")

    def close(self):
        for descriptor in self.open.values():
            os.close(descriptor)
        self.open = {}


class Run(Channel):
    """A command that is run each time."""

    KEY = "run"

    def read(self):
        try:
            done = subprocess.run(
                [shutil.which(self.words[0]) or self.words[0]] + self.words[1:],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=COMMAND_SECONDS,
            )
        except OSError as exc:
            raise ValueError("%s: %s" % (self.words[0], exc.strerror))
        except subprocess.TimeoutExpired:
            raise ValueError("%s did not end within %g s" % (self.words[0], COMMAND_SECONDS))
        text = done.stdout[:COMMAND_BYTES].decode("utf-8", "replace").strip()
        if done.returncode != 0:
            raise ValueError("%s ended with %d: %s" % (self.words[0], done.returncode, text))
        return [text]


class Stream(Channel):
    """A command that prints a line now and then; a line's time is that of its arrival."""

    KEY = "stream"

    def __init__(self, number, words, every):
        Channel.__init__(self, number, words, every)
        self.rest, self.process, self.problem = b"", None, ""
        try:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                preexec_fn=die_with_parent,
            )
        except OSError as exc:
            self.problem = "%s: %s" % (words[0], exc.strerror)

    def take(self, out):
        if self.problem:
            self.tell(out, _clock(), 0, None, self.problem)
            self.problem = ""

    @property
    def source(self):
        return self.process.stdout.fileno() if self.process else None

    def more(self, out):
        """Take what has come; False if that was the end."""
        now = _clock()
        data = os.read(self.source, 1 << 16)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.tell(out, now, 0, [line[:LINE_BYTES].decode("utf-8", "replace").strip()])
        self.rest = self.rest[-LINE_BYTES:]
        if not data:
            status = self.process.wait()
            self.process.stdout.close()
            self.process = None
            why = "%s ended with %d while it was needed" % (self.words[0], status)
            self.tell(out, now, 0, None, why)
        return bool(data)

    def close(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Out:
    """Standard output, with one write for all lines of a turn."""

    def __init__(self, limit):
        self.left, self.lines = limit, []

    def __call__(self, values):
        self.lines.append(json.dumps(values, separators=(",", ":")))

    def flush(self):
        if not self.lines:
            return
        data = ("\n".join(self.lines) + "\n").encode("utf-8")
        self.lines = []
        self.left -= len(data)
        while data:
            data = data[os.write(1, data) :]


def sample(channels, spec, out):
    """Read until told to stop; why it ended, and turns taken and missed."""
    chance = random.Random(spec["seed"]).random
    interval = 1e9 / spec["rate"]
    waiting = select.poll()
    waiting.register(0, select.POLLIN | select.POLLHUP)
    streams = {c.source: c for c in channels if isinstance(c, Stream) and c.process}
    for source in streams:
        waiting.register(source, select.POLLIN | select.POLLHUP)
    began = _clock()
    ends = began + spec["seconds"] * 1e9
    turn = taken = missed = 0
    due = began
    while True:
        now = _clock()
        if now >= due:
            for channel in channels:
                if turn >= channel.next_turn:
                    channel.next_turn = turn - turn % channel.every + channel.every
                    channel.take(out)
            taken += 1
            current = max(turn + 1, int((_clock() - began) / interval))
            missed += current - turn - 1
            turn = current
            due = began + (turn + chance()) * interval
        out.flush()
        if out.left <= 0:
            return "bytes", taken, missed
        if now >= ends:
            return "seconds", taken, missed
        for source, _ in waiting.poll(max(0.0, (min(due, ends) - _clock()) / 1e6)):
            if source in streams:
                if not streams[source].more(out):
                    waiting.unregister(source)
                    del streams[source]
            elif not os.read(0, 4096):
                for channel in channels:  # one more, so that the end lies between two readings
                    channel.take(out)
                return "asked", taken, missed


def main():
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the one who started this
    line = b""
    while not line.endswith(b"\n"):  # not by a buffered reader: poll would not see what it holds
        data = os.read(0, 1)
        if not data:
            raise BadSpec("standard input ended before the spec did")
        line += data
    spec = read_spec(line)
    channels = [make_channel(number, data) for number, data in enumerate(spec["channels"])]
    out = Out(spec["max_bytes"])
    start = os.times()
    out({"sampler": VERSION, "began_ns": _clock()})
    out.flush()
    try:
        ended, taken, missed = sample(channels, spec, out)
    finally:
        for channel in channels:
            channel.close()
    times = os.times()
    out(
        {
            "ended": ended,
            "ended_ns": _clock(),
            "start_cpu_seconds": round(start.user + start.system, 4),
            "cpu_seconds": round(times.user + times.system - start.user - start.system, 4),
            "commands_cpu_seconds": round(times.children_user + times.children_system, 4),
            "turns": taken,
            "missed": missed,
            "reads": [channel.reads for channel in channels],
            "errors": [channel.errors for channel in channels],
            "read_ns": [channel.read_ns for channel in channels],
        }
    )
    out.flush()


if __name__ == "__main__":
    try:
        main()
    except BadSpec as problem:
        sys.exit("edgekit_sampler: %s" % problem)
