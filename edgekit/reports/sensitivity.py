"""What each layer costs: a table in the terminal, and a page with a plot."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from edgekit.core.files import readable_bytes, unwritable
from edgekit.core.sensitivity import LayerCost, Sensitivity, TechniqueSensitivity
from edgekit.reports.console import open_console
from edgekit.reports.inspection import quantity
from edgekit.reports.techniques import section
from edgekit.reports.words import plain

EQUAL = "equal"
HIGHEST_DB = 80.0  # the plot's bars end here; what is better makes no difference to anyone
_BAR, _NAME, _WIDTH = 18, 220, 720
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;
color:#1a1a1a;background:#fff}
table{border-collapse:collapse;width:100%}th,td{padding:.2rem .6rem;text-align:right}
th:first-child,td:first-child{text-align:left}tr+tr td{border-top:1px solid #ddd}
h2{font-size:1.05rem;margin:1.2rem 0 .3rem}td{white-space:nowrap}
table.grouped{margin-top:1.2rem}.grouped tr+tr td{border-top:0}
.grouped tbody{border-top:1px solid #ddd}.grouped td:nth-child(3){text-align:left}
text{font-size:13px;fill:currentColor}.bar{fill:#2a78b8}
@media(prefers-color-scheme:dark){body{color:#e8e8e8;background:#161616}.bar{fill:#6fb1e8}
tr+tr td,.grouped tbody{border-color:#3a3a3a}}
"""


def headers(found: Sensitivity) -> tuple[str, ...]:
    """Of the table; accuracy only where there are labels."""
    accuracy = ("Top-1",) if found.float_accuracy is not None else ()
    return ("Layer", "Operators", "SNR", *accuracy, "Saves", "MACs")


def cells(found: Sensitivity, cost: LayerCost) -> tuple[str, ...]:
    """One row of it."""
    kinds = ", ".join(dict.fromkeys(cost.operators))
    if cost.failed:
        return (
            plain(cost.layer),
            plain(kinds),
            plain(cost.failed),
            *[""] * (len(headers(found)) - 3),
        )
    accuracy = () if cost.accuracy is None else (f"{100 * cost.accuracy:.2f} %",)
    sign = "−" if cost.saved_bytes < 0 else ""
    return (
        plain(cost.layer),
        plain(kinds),
        EQUAL if cost.snr_db is None else f"{cost.snr_db:.1f} dB",
        *accuracy,
        sign + readable_bytes(abs(cost.saved_bytes)),
        quantity(cost.macs) if cost.macs else "–",
    )


def print_sensitivity(found: Sensitivity, *, file: TextIO | None = None) -> None:
    """Print the table, the costliest layer first."""
    from rich import box
    from rich.table import Table

    console = open_console(file)
    console.print(plain(f"{found.model} in {found.variant}, layer by layer"), style="bold")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, header in enumerate(headers(found)):
        table.add_column(header, justify="left" if index < 2 else "right", overflow="fold")
    for cost in found.layers:
        table.add_row(*cells(found, cost))
    table.add_section()
    table.add_row(*cells(found, found.whole))
    console.print(table)
    if found.float_accuracy is not None:
        console.print(f"float: {readable_bytes(found.float_bytes)}, "
                      f"top-1 {100 * found.float_accuracy:.2f} %")  # fmt: skip
    console.print(plain(f"measured: {found.measured}"))


def write_sensitivity(found: Sequence[Sensitivity | TechniqueSensitivity], path: Path) -> None:
    """Write the page: one file, no script, opens offline.

    Raises:
        OutputError: it cannot be written.
    """
    parts = [section(e) if isinstance(e, TechniqueSensitivity) else _section(e) for e in found]
    title = html.escape(plain(f"{found[0].model}: what each layer costs"))
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style>{''.join(parts)}</html>"
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as exc:
        raise unwritable(path, exc) from exc


def _section(found: Sensitivity) -> str:
    title = html.escape(plain(f"{found.model}: what each layer costs in {found.variant}"))
    head = "".join(f"<th>{name}</th>" for name in headers(found))
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(found, cost)) + "</tr>"
        for cost in (*found.layers, found.whole)
    )
    return (
        f"<h1>{title}</h1>{plot(found)}<table><tr>{head}</tr>{rows}</table>"
        f"<p>{html.escape(plain(found.measured))}.</p>"
    )


def plot(found: Sensitivity) -> str:
    """Bars of signal-to-noise as inline SVG: the shorter, the costlier the layer."""
    shown = [cost for cost in found.layers if not cost.failed]
    height = _BAR * len(shown) + 30
    room = _WIDTH - _NAME - 70
    parts = []
    for index, cost in enumerate(shown):
        value = HIGHEST_DB if cost.snr_db is None else min(max(cost.snr_db, 0.0), HIGHEST_DB)
        top = index * _BAR + 4
        name = html.escape(plain(cost.layer if len(cost.layer) < 30 else "…" + cost.layer[-28:]))
        said = EQUAL if cost.snr_db is None else f"{cost.snr_db:.1f} dB"
        width = room * value / HIGHEST_DB
        parts.append(
            f'<text x="{_NAME - 8}" y="{top + 12}" text-anchor="end">{name}</text>'
            f'<rect class="bar" x="{_NAME}" y="{top}" width="{width:.1f}" height="{_BAR - 4}">'
            f"<title>{html.escape(plain(cost.layer))}: {said}</title></rect>"
            f'<text x="{_NAME + width + 6:.1f}" y="{top + 12}">{said}</text>'
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" width="100%">'
        "<title>Signal-to-noise with one layer quantized</title>"
        "<desc>One bar a layer, the costliest first; shorter is worse.</desc>"
        + "".join(parts)
        + "</svg>"
    )
