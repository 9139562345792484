"""What each layer costs under a technique at several strengths: a table, and heat maps."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TextIO

from edgekit.core.files import readable_bytes
from edgekit.core.sensitivity import LayerTrials, TechniqueSensitivity, Trial
from edgekit.reports.console import open_console
from edgekit.reports.inspection import quantity
from edgekit.reports.words import plain

EQUAL = "equal"
MOST_NAMED = 6  # layers in one sentence
# The heat maps' darkest and palest: below the first nothing of the signal is left, above the second
# nobody sees a difference.
WORST_DB, BEST_DB = 0.0, 40.0
WORST_POINTS = 20.0
_DARK, _PALE = (122, 24, 40), (250, 240, 235)
_NAME, _CELL, _ROW, _HEAD = 220, 86, 22, 26
_NAME_LETTERS = 28


def headers(found: TechniqueSensitivity) -> tuple[str, ...]:
    """Of the table."""
    return ("Layer", "Weights", "", *found.strengths)


def rows(found: TechniqueSensitivity, layer: LayerTrials) -> list[tuple[str, ...]]:
    """The lines of one layer: what it costs, and what it gives."""
    lines: list[tuple[str, Callable[[Trial], str]]] = [("SNR", _snr)]
    if found.accuracy is not None:
        lines.append(("Top-1", lambda trial: _points(found, trial)))
    if any(trial.removed > 0 for trial in (*found.whole.trials, *layer.trials)):
        lines.append(("Removes", lambda trial: f"{100 * trial.removed:.0f} %"))
    lines.append(("Saves", _saved))
    made = []
    for index, (what, text) in enumerate(lines):
        first = (plain(layer.layer), quantity(layer.weights)) if index == 0 else ("", "")
        cells = (
            (plain(trial.failed) if index == 0 else "") if trial.failed else text(trial)
            for trial in layer.trials
        )
        made.append((*first, what, *cells))
    return made


def _snr(trial: Trial) -> str:
    return EQUAL if trial.snr_db is None else f"{round(trial.snr_db, 1) + 0.0:.1f} dB"  # no −0.0


def lost_points(found: TechniqueSensitivity, trial: Trial) -> float | None:
    """Percentage points of accuracy that are lost; negative where it is better."""
    if found.accuracy is None or trial.accuracy is None:
        return None
    return 100 * (found.accuracy - trial.accuracy)


def _points(found: TechniqueSensitivity, trial: Trial) -> str:
    lost = lost_points(found, trial)
    if lost is None:
        return ""
    return "±0" if abs(lost) < 0.005 else f"{'−' if lost > 0 else '+'}{abs(lost):.2f}"


def _saved(trial: Trial) -> str:
    return ("−" if trial.saved_bytes < 0 else "") + readable_bytes(abs(trial.saved_bytes))


def facts(found: TechniqueSensitivity) -> list[str]:
    """What stands under the table."""
    source = f"source: {readable_bytes(found.zipped_bytes)} zipped"
    if found.accuracy is not None:
        source += f", top-1 {100 * found.accuracy:.2f} %"
    lines = [source]
    if found.left_out:
        more = len(found.left_out) - MOST_NAMED
        names = ", ".join(found.left_out[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        lines.append(f"left out: {names} ({found.because})")
    return [plain(line) for line in (*lines, f"measured: {found.measured}")]


def print_technique(found: TechniqueSensitivity, *, file: TextIO | None = None) -> None:
    """Print the table, the costliest layer first."""
    from rich import box
    from rich.table import Table

    console = open_console(file)
    console.print(plain(f"{found.model}: {found.technique}, layer by layer"), style="bold")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, header in enumerate(headers(found)):
        table.add_column(header, justify="left" if index in (0, 2) else "right", overflow="fold")
    for layer in (*found.layers, found.whole):
        for row in rows(found, layer):
            table.add_row(*row)
        table.add_section()
    console.print(table)
    for line in facts(found):
        console.print(line)


def section(found: TechniqueSensitivity) -> str:
    """The part of a page: heat maps and the table, as HTML."""
    title = html.escape(plain(f"{found.model}: {found.technique}, layer by layer"))
    head = "".join(f"<th>{html.escape(plain(name))}</th>" for name in headers(found))
    lines = "".join(
        f"<tbody>{''.join(map(_row, rows(found, layer)))}</tbody>"
        for layer in (*found.layers, found.whole)
    )
    maps = heat_map(found, "Signal-to-noise of the outputs", _snr, _cost_in_db)
    if found.accuracy is not None:
        maps += heat_map(
            found,
            "Change of top-1, in points",
            lambda trial: _points(found, trial),
            lambda trial: max(0.0, lost_points(found, trial) or 0.0) / WORST_POINTS,
        )
    said = "".join(f"<p>{html.escape(line)}.</p>" for line in facts(found))
    table = f'<table class="grouped"><thead><tr>{head}</tr></thead>{lines}</table>'
    return f"<h1>{title}</h1>{maps}{table}{said}"


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _cost_in_db(trial: Trial) -> float:
    if trial.snr_db is None:
        return 0.0
    return (BEST_DB - trial.snr_db) / (BEST_DB - WORST_DB)


def heat_map(
    found: TechniqueSensitivity,
    title: str,
    text: Callable[[Trial], str],
    cost: Callable[[Trial], float],
) -> str:
    """Layers down, strengths across, as inline SVG; the darker a field, the more it costs.

    Args:
        text: what stands in a field.
        cost: from 0, palest, to 1, darkest; cut off there.
    """
    width = _NAME + _CELL * len(found.strengths)
    layers = [*found.layers, found.whole]
    height = _HEAD + _ROW * len(layers) + 6
    parts = [
        f'<text x="{_NAME + _CELL * (at + 0.5):g}" y="{_HEAD - 8}" text-anchor="middle">'
        f"{html.escape(plain(strength))}</text>"
        for at, strength in enumerate(found.strengths)
    ]
    for row, layer in enumerate(layers):
        top = _HEAD + _ROW * row + (6 if layer is found.whole else 0)
        name = plain(layer.layer)
        short = name if len(name) <= _NAME_LETTERS else f"…{name[-_NAME_LETTERS + 1 :]}"
        parts.append(
            f'<text x="{_NAME - 8}" y="{top + 15}" text-anchor="end">{html.escape(short)}</text>'
        )
        for at, trial in enumerate(layer.trials):
            left = _NAME + _CELL * at
            said = "failed" if trial.failed else text(trial)
            share = min(1.0, max(0.0, 0.0 if trial.failed else cost(trial)))
            ink = "#fff" if share > 0.5 else "#1a1a1a"
            parts.append(
                f'<rect x="{left}" y="{top}" width="{_CELL - 2}" height="{_ROW - 2}" '
                f'style="fill:{_colour(share)}"><title>{html.escape(name)}, '
                f"{html.escape(plain(trial.strength))}: {html.escape(plain(said))}</title></rect>"
                f'<text x="{left + _CELL / 2 - 1:g}" y="{top + 15}" text-anchor="middle" '
                f'style="fill:{ink};pointer-events:none">{html.escape(plain(said))}</text>'
            )
    return (
        f"<h2>{html.escape(title)}</h2>"
        f'<svg viewBox="0 0 {width} {height}" role="img" style="width:100%;max-width:{width}px">'
        f"<title>{html.escape(title)}</title>"
        "<desc>Layers down, the costliest first, and all of them last; strengths across; darker is "
        "worse.</desc>" + "".join(parts) + "</svg>"
    )


def _colour(share: float) -> str:
    mixed = (round(p + (d - p) * share) for p, d in zip(_PALE, _DARK, strict=True))
    return f"rgb({','.join(map(str, mixed))})"
