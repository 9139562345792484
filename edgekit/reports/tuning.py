"""A search over recipes: its table in the terminal, and a page with a plot."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any, TextIO

from edgekit.core.files import write_text
from edgekit.core.tuning import FIGURES, UNITS, Objective, Tried, Tuning
from edgekit.reports import plot
from edgekit.reports.templates import template
from edgekit.reports.words import decibel, digits, plain

TITLES: dict[Objective, str] = {
    "latency": "Latency",
    "energy": "Energy",
    "memory": "Peak memory",
    "size": "Size",
    "zipped": "Zipped",
}
STATUS = {"fits": "fits", "over": "over a limit", "failed": "failed", "refused": "not possible"}
UNSAID = ("family", "place", "quantization")  # choices that the name of a candidate tells


def how(tried: Tried) -> str:
    """What was chosen for a candidate, beyond what its name says."""
    choices = [f"{name}={value}" for name, value in tried.point.items() if name not in UNSAID]
    return plain(", ".join(choices))


def quality(tried: Tried) -> str:
    """The metric and what was lost of it, or signal-to-noise where there is none."""
    if tried.score is not None:
        return f"{tried.score.said(tried.score.value)} ({-tried.score.drop + 0.0:+.2f})"
    return decibel(tried.snr_db, compared=tried.status in ("fits", "over"))


def amount(figure: float | None, what: Objective) -> str:
    """A figure with its unit; empty where there is none."""
    unit, per = UNITS[what]
    return "" if figure is None else f"{digits(figure / per)} {unit}"


def shown(tuning: Tuning) -> tuple[Objective, ...]:
    """The figures that some try has; the objective first."""
    known = [w for w in FIGURES if any(t.figures.of(w) is not None for t in tuning.tries)]
    return tuple(sorted(known, key=lambda what: what != tuning.objective))


def headers(tuning: Tuning) -> list[str]:
    """Of the table of tries."""
    scored = next((t.score.title for t in tuning.tries if t.score is not None), None)
    quality = scored[0].upper() + scored[1:] if scored else "SNR"
    return ["", "Candidate", "Choices", quality, *(TITLES[what] for what in shown(tuning)), ""]


def cells(tuning: Tuning, tried: Tried) -> list[str]:
    """One row of it."""
    figures = [amount(tuning.figure(tried, what), what) for what in shown(tuning)]
    return [
        str(tried.number),
        plain(tried.name),
        how(tried),
        quality(tried),
        *figures,
        STATUS[tried.status],
    ]


def final_cells(tuning: Tuning, tried: Tried) -> list[str]:
    """A finalist as it was found the second time."""
    figures = []
    for what in shown(tuning):
        text = amount(tried.figures.of(what), what)
        half = tried.figures.latency.relative_half_width if tried.figures.latency else None
        if what == "latency" and half is not None:
            text += f" ±{100 * half:.1f} %"
        figures.append(text)
    mark = "best" if tried.name == tuning.best else STATUS[tried.status]
    return [str(tried.number), plain(tried.name), how(tried), quality(tried), *figures, mark]


def sentences(tuning: Tuning) -> list[str]:
    """What came of it, in words."""
    made = [tried for tried in tuning.tries if tried.status != "refused"]
    refused = len(tuning.tries) - len(made)
    fitting = sum(tried.status == "fits" for tried in made)
    more = f"; {refused} more are not possible there" if refused else ""
    said = [f"{len(made)} tried, {fitting} fit{more}; {tuning.ended}"]
    if tuning.on:
        said.append(
            f"measured on {tuning.on}, in turns with {tuning.yardstick}, to which times of "
            "different rounds are held"
        )
    return [plain(each) for each in (*said, *tuning.notes)]


def asked(tuning: Tuning) -> str:
    """What was looked for, in words."""
    limits = [
        f"{TITLES[what].lower()} of at most {amount(limit, what)}"
        for what in FIGURES
        if (limit := tuning.limits.of(what)) is not None
    ]
    score = next((tried.score for tried in tuning.tries if tried.score is not None), None)
    if score is not None:
        limits.append(f"at most {score.amount(tuning.max_drop)} of {score.title} lost")
    within = f" with {' and '.join(limits)}" if limits else ""
    return plain(f"least {TITLES[tuning.objective].lower()}{within}")


def print_tuning(tuning: Tuning, *, file: TextIO | None = None) -> None:
    """Print the finalists, and what came of the search."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    out = file or sys.stdout
    console = Console(
        file=out, width=None if out.isatty() else 160, highlight=False, markup=False, emoji=False
    )
    console.print(plain(f"{tuning.model} for {tuning.board}: {asked(tuning)}"), style="bold")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, header in enumerate(headers(tuning)):
        table.add_column(header, justify="left" if index in (1, 2) else "right", overflow="fold")
    for name in tuning.finalists:
        table.add_row(*final_cells(tuning, tuning.final[name]))
    if tuning.finalists:
        console.print(table)
    for sentence in sentences(tuning):
        console.print(sentence)


def write_tuning(tuning: Tuning, path: Path) -> None:
    """Write the page: one file, no script, opens offline. Raises OutputError."""
    text = template("tuning.html.jinja").render(
        tuning=tuning,
        asked=asked(tuning),
        headers=headers(tuning),
        final=[final_cells(tuning, tuning.final[name]) for name in tuning.finalists],
        tries=[(cells(tuning, tried), tried) for tried in tuning.tries],
        sentences=sentences(tuning),
        plot=_plot(tuning),
    )
    write_text(path, text)


def _plot(tuning: Tuning) -> Any:
    """What candidates cost against what they keep; None where there is nothing to show."""
    from markupsafe import Markup

    scored = next((t.score for t in tuning.tries if t.score is not None), None)
    unit, per = UNITS[tuning.objective]
    points = []
    for tried in tuning.tries:
        cost = tuning.figure(tried)
        value = tried.snr_db if scored is None else _value(tried)
        if cost is None or value is None or not math.isfinite(value):
            continue
        detail = f"{amount(cost, tuning.objective)}, {quality(tried)}, {STATUS[tried.status]}"
        label = tried.name if _on_front(tuning, tried) else ""
        points.append(plot.Point(label, cost / per, value, tried.status == "fits", detail))
    if not points:
        return None
    y_name = "signal-to-noise ratio, dB"
    if scored is not None:
        y_name = f"{scored.title}{', %' if scored.unit == 'points' else ''}"
    what = TITLES[tuning.objective].lower()
    return Markup(  # noqa: S704 - the plot escapes what it is given
        plot.scatter(
            points,
            title=f"{what} against {y_name.partition(',')[0]}",
            description="One mark a candidate; dots fit, crosses do not.",
            x_name=f"{what}, {unit}",
            y_name=y_name,
        )
    )


def _value(tried: Tried) -> float | None:
    if tried.score is None:
        return None
    return 100 * tried.score.value if tried.score.unit == "points" else tried.score.value


def _on_front(tuning: Tuning, tried: Tried) -> bool:
    return tried.name in tuning.finalists
