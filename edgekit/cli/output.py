"""Printing for people: tables and the progress of steps."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

import click

from edgekit.reports.words import plain
from edgekit.work.steps import Step

if TYPE_CHECKING:
    from edgekit.core.build import Build
    from edgekit.core.tuning import Objective, Tried

WORTH_A_LINE_SECONDS = 0.5
REASON = 100  # characters of it, in a line that shows a try; the page has it whole


def table(headers: list[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table to stdout; wraps to the terminal, plain where that is not a terminal."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    # Where nobody looks (a pipe, a file), lines are not broken: they are for grep.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    view = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        view.add_column(header, overflow="fold")
    for row in rows:
        view.add_row(*(escape(cell) for cell in row))
    console.print(view)


def say_preferred(build: Build) -> None:
    """Say which variant is taken where none is named, and by which rule; nothing if none is."""
    from edgekit.jobs.results import results_of

    if build.accepted:
        choice = build.preferred(results_of(build))
        click.echo(plain(f"{choice.variant.recipe.name}: {choice.why}"), err=True)


class _Live(ABC):
    """A line on stderr that says what runs now; nothing of it where stderr is no terminal."""

    def __init__(self) -> None:
        self.on_terminal = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self.on_terminal:
            self._thread = threading.Thread(target=self._animate, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()
            click.echo("\r\x1b[K", nl=False, err=True)

    def _animate(self) -> None:
        while not self._stop.wait(0.2):
            with self._lock:
                line = f"  {plain(self._now())}"[: shutil.get_terminal_size().columns - 1]
                click.echo(f"\r\x1b[K{line}", nl=False, err=True)

    def _say(self, line: str) -> None:
        # Titles name files: a terminal must not obey what is in them.
        click.echo(("\r\x1b[K" if self.on_terminal else "") + plain(line), err=True)

    def note(self, line: str) -> None:
        """A line that stays."""
        with self._lock:
            self._say(line)

    @abstractmethod
    def _now(self) -> str:
        """What runs now, in one line."""


class StepProgress(_Live):
    """Shows the steps of a job. Hand the object itself over as the progress callback.

    Args:
        summary: whether to say at the end how many there were and how long they took.
    """

    def __init__(self, *, summary: bool = True) -> None:
        super().__init__()
        self._summary = summary
        self._running: dict[str, float] = {}
        self._words: dict[str, str] = {}  # what a running step has said last
        self._started = time.monotonic()
        self._done = self._cached = 0

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        took = time.monotonic() - self._started
        if self._summary and (self._done or self._cached):
            steps = "step" if self._done == 1 else "steps"
            self._say(f"  {self._done} {steps} done, {self._cached} known already, {took:.1f} s")

    def __call__(self, step: Step, event: str) -> None:
        with self._lock:
            if event == "start":
                self._running[step.title] = time.monotonic()
            elif event == "cached":
                self._cached += 1
            elif event.startswith("says "):
                self._words[step.title] = event.removeprefix("says ")
            elif event == "skipped":
                return
            else:
                took = time.monotonic() - self._running.pop(step.title, time.monotonic())
                self._words.pop(step.title, None)
                self._done += event == "done"
                mark = {"failed": "FAILED", "otherwise": "failed"}.get(event)
                if mark or took >= WORTH_A_LINE_SECONDS:
                    more = (
                        f"; now {step.otherwise.title}"
                        if mark == "failed" and step.otherwise
                        else ""
                    )
                    self._say(f"  {mark or f'{took:5.1f} s':<7}  {step.title}{more}")

    def _now(self) -> str:
        now = time.monotonic()
        return ", ".join(
            f"{title} {now - at:.0f} s{self._said(title)}" for title, at in self._running.items()
        )

    def _said(self, title: str) -> str:
        return f" ({self._words[title]})" if title in self._words else ""


class ToolchainProgress(_Live):
    """Shows how far the installation of a toolchain is."""

    def __init__(self) -> None:
        super().__init__()
        self._current = ""
        self._started = time.monotonic()

    def __call__(self, what: str, done: int, of: int) -> None:
        with self._lock:
            self._current = f"{what} ({done} of {of})" if done < of else what

    def _now(self) -> str:
        return f"{self._current}, {time.monotonic() - self._started:.0f} s"


class DeviceProgress(_Live):
    """Shows what happens on a device: what is done, for which variant, how much of it."""

    def __init__(self) -> None:
        super().__init__()
        self._current = "connecting"
        self._variant = ""
        self._since = 0.0
        self._took: dict[str, float] = {}  # several take turns: each is told its own time

    def __call__(self, variant: str, what: str, done: int, of: int) -> None:
        with self._lock:
            now = time.monotonic()
            if self._variant:
                self._took[self._variant] = self._took.get(self._variant, 0.0) + now - self._since
            self._variant, self._since = variant, now
            self._current = f"{variant}: {what} {done} of {of}"
            if what == "measure" and done == of:
                launches = "launch" if of == 1 else "launches"
                self._say(f"  {self._took.pop(variant, 0.0):5.1f} s  {variant}: {of} {launches}")

    def say(self, line: str) -> None:
        """A line of its own."""
        with self._lock:
            self._say(f"  {line}")

    def _now(self) -> str:
        return self._current


class TuneProgress(_Live):
    """Shows a search: a line a try, and what is converted or measured now.

    Args:
        objective: the figure that each line shows.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self._objective = objective
        self._running: dict[str, float] = {}
        self._measuring = ""

    def step(self, step: Step, event: str) -> None:
        """Of a conversion."""
        with self._lock:
            self._measuring = ""
            if event == "start":
                self._running[step.title] = time.monotonic()
            elif not event.startswith("says "):
                self._running.pop(step.title, None)

    def device(self, variant: str, what: str, done: int, of: int) -> None:
        """Of a measurement."""
        with self._lock:
            self._measuring = f"{variant}: {what} {done} of {of}"

    def say(self, line: str) -> None:
        """A remark."""
        self.note(f"  {line}")

    def tried(self, tried: Tried) -> None:
        """A try that is done."""
        from edgekit.reports.tuning import STATUS, amount, how, quality

        figure = amount(tried.figures.of(self._objective), self._objective)
        said = quality(tried) if tried.status in ("fits", "over") else ""
        line = f"{tried.number:>4}  {tried.name:<20} {said:<17} {figure:>9}  "
        why = "; ".join(tried.reasons[:1])
        more = how(tried) if tried.status == "fits" else why[:REASON] + "…" * (len(why) > REASON)
        self.note(f"{line}{STATUS[tried.status]:<12}  {more}".rstrip())

    def _now(self) -> str:
        now = time.monotonic()
        running = ", ".join(f"{title} {now - at:.0f} s" for title, at in self._running.items())
        return self._measuring or running
