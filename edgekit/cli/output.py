"""Printing for people: tables and the progress of steps."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterable
from types import TracebackType

import click

from edgekit.work.steps import Step


def table(headers: list[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table to stdout; wraps to the terminal, plain where that is not a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # Where nobody looks (a pipe, a file), lines are not broken: they are for grep.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    view = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        view.add_column(header, overflow="fold")
    for row in rows:
        view.add_row(*(cell.replace("[", "\\[") for cell in row))
    console.print(view)


class StepProgress:
    """Shows steps on stderr: a live line of what runs on a terminal, a line a step elsewhere.

    Use as a context manager, and hand the object itself over as the progress callback.
    """

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self._running: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.cached = 0

    def __enter__(self) -> StepProgress:
        if self.live:
            self._thread = threading.Thread(target=self._animate, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
            click.echo("\r\x1b[K", nl=False, err=True)

    def __call__(self, step: Step, event: str) -> None:
        with self._lock:
            if event == "start":
                self._running[step.title] = time.monotonic()
                return
            if event == "cached":
                self.cached += 1
                return
            started = self._running.pop(step.title, None)
            took = "" if started is None else f"  {time.monotonic() - started:.1f} s"
            mark = {"done": "done  ", "failed": "FAILED"}[event]
            clear = "\r\x1b[K" if self.live else ""
            click.echo(f"{clear}  {mark}  {step.title}{took}", err=True)

    def _animate(self) -> None:
        while not self._stop.wait(0.2):
            with self._lock:
                now = time.monotonic()
                parts = [f"{title} {now - at:.0f} s" for title, at in self._running.items()]
                text = "  running  " + ", ".join(parts) if parts else ""
                columns = shutil.get_terminal_size().columns
                click.echo("\r\x1b[K" + text[: columns - 1], nl=False, err=True)
