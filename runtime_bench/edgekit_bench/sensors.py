"""Sensors that are read beside the runs, by edgekit_sampler.py."""

import json
import os
import subprocess
import sys
import tempfile
import time

from .events import SAMPLES_A_LINE, Failure, clock, emit, one_line


class Sampler:
    """edgekit_sampler.py as a process of its own, from before the load to the end of the run.

    It writes into memory, so that nothing has to read from it while runs are timed. Whatever goes
    wrong with it is told in its event: times are as good without it.
    """

    READY_SECONDS = 15.0
    END_SECONDS = 10.0  # it may be waiting for a command that it runs

    def __init__(self, sensors):
        self.sensors, self.idle_ns, self.problem = sensors, None, ""
        self.lines, self.said = memory_file(), memory_file()
        try:
            self.process = subprocess.Popen(
                [sys.executable, sensors["sampler"]],
                stdin=subprocess.PIPE,
                stdout=self.lines,
                stderr=self.said,
            )
        except OSError as exc:
            raise Failure(5, "no_sampler", "cannot start the sampler: %s" % one_line(exc))

    def __enter__(self):
        try:
            self.process.stdin.write(json.dumps(self.sensors["spec"]).encode("utf-8") + b"\n")
            self.process.stdin.flush()
        except OSError:
            return self  # it has ended already; `tell` says why
        until = clock() + self.READY_SECONDS * 1e9
        while not os.fstat(self.lines.fileno()).st_size:
            if self.process.poll() is not None:
                break
            if clock() > until:
                self.problem = "the sampler was not ready after %g s" % self.READY_SECONDS
                break
            time.sleep(0.01)
        return self

    def idle(self):
        """Wait, and note when that was."""
        began = clock()
        time.sleep(self.sensors["idle_seconds"])
        self.idle_ns = (began, clock())

    def tell(self):
        """End it and print what it wrote."""
        self._end()
        status = self.process.returncode
        if status != 0 and not self.problem:
            said = one_line(_content(self.said)) or "it said nothing"
            self.problem = "the sampler ended with %d: %s" % (status, said)
        idle = {"idle_start_ns": self.idle_ns[0], "idle_end_ns": self.idle_ns[1]}
        emit("sensors", problem=self.problem, **idle)
        rows = []
        for line in _content(self.lines).splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue  # the last one, of a process that was killed in mid-line
        for start in range(0, len(rows), SAMPLES_A_LINE // 10):
            emit("sensors", rows=rows[start : start + SAMPLES_A_LINE // 10])

    def _end(self):
        try:
            self.process.stdin.close()  # the sign to stop
        except OSError:
            pass  # it has ended already
        try:
            self.process.wait(timeout=self.END_SECONDS)
        except subprocess.TimeoutExpired:
            self.problem = "the sampler did not end within %g s" % self.END_SECONDS
            self.process.kill()
            self.process.wait()

    def __exit__(self, *exc):
        if self.process.returncode is None:
            self._end()
        self.lines.close()
        self.said.close()


def memory_file():
    """A file that is in no folder, in memory where the kernel offers that."""
    try:
        return os.fdopen(os.memfd_create("edgekit"), "w+b", buffering=0)
    except (AttributeError, OSError):
        return tempfile.TemporaryFile(buffering=0)


def _content(file):
    file.seek(0)
    return file.read().decode("utf-8", "replace")
