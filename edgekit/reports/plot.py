"""Plots as inline SVG: no script, no image, no font of their own; colours come from the page.

Each has a title and a description for those who do not see it, and every mark has a tooltip.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from edgekit.core.result import Estimate
from edgekit.reports.axis import Axis, axis, tick_text
from edgekit.reports.words import duration, plain, time_unit

WIDTH = 480
CHARACTER = 7.0  # mean width of a character at 13 px, which narrow screens get
LINE = 14
LABEL_LENGTH = 26
SHOWN_RUNS = 400
_Number = TypeVar("_Number", int, float)
HUES = 6  # colours of launches in the page's style: .l0 to .l5


@dataclass(frozen=True)
class Point:
    """One mark of the scatter plot. `good` is a filled dot, otherwise a cross."""

    label: str
    x: float
    y: float
    good: bool
    detail: str


@dataclass(frozen=True)
class Times:
    """One row of the latency plot, in ns; quantiles only where there were samples."""

    label: str
    median: Estimate
    p90: float | None
    p99: float | None


@dataclass(frozen=True)
class Line:
    """One line over time: seconds and values. Those of one label share a colour, `hue`."""

    label: str
    hue: int
    points: tuple[tuple[float, float], ...]


def scatter(
    points: Sequence[Point],
    *,
    title: str,
    description: str,
    x_name: str,
    y_name: str,
    y_limit: float | None = None,
    line: tuple[float, str] | None = None,
) -> str:
    """Points with their names beside them; a dashed `line` across at a value, with its name."""
    height, right, top, bottom = 320, 16, 16, 48
    ys = [point.y for point in points] + ([line[0]] if line else [])
    up = axis(ys, height - bottom, top, limit=y_limit)
    left = max(56.0, 30 + CHARACTER * max(len(text) for _, text in _tick_texts(up)))
    across = axis([p.x for p in points], left, WIDTH - right, from_zero=True)
    parts = [
        _x_axis(across, top, height - bottom, x_name),
        _y_axis(up, left, WIDTH - right, y_name),
    ]
    taken: list[_Box] = []
    for point in points:
        x, y = across.at(point.x), up.at(point.y)
        taken.append(_Box(x - 6, y - 6, x + 6, y + 6))
    if line:
        y = up.at(line[0])
        parts.append(f'<path class="limit" d="M{left:.1f} {y:.1f}H{WIDTH - right}"/>')
        box = _beside_line(y, CHARACTER * len(line[1]), left, WIDTH - right, top, taken)
        parts.append(_text(box.right, box.bottom - 3, line[1], "end", "small"))
        taken += [_Box(left, y - 1, WIDTH - right, y + 1), box]
    bounds = _Box(left, 0, WIDTH, height - bottom)
    for point in points:
        x, y = across.at(point.x), up.at(point.y)
        parts.append(_mark(x, y, point))
        parts.append(_label(x, y, _short(point.label), taken, bounds))
    return _svg(height, title, description, parts)


def latency(rows: Sequence[Times], *, title: str, description: str) -> str:
    """A row each: the median with its 95 % interval, p90 and p99."""
    names = [_short(row.label) for row in rows]
    left = 14 + CHARACTER * max(len(name) for name in names)
    top, row_height, right = 30, 30, 76
    height = top + row_height * len(rows) + 46
    size, unit = time_unit(max(row.median.value for row in rows))
    values = [v for r in rows for v in (r.median.value, r.p99, r.median.low, r.median.high) if v]
    across = axis([v / size for v in values], left, WIDTH - right, from_zero=True)
    bottom = height - 46
    parts = [_x_axis(across, top, bottom, f"time of one inference, {unit}")]
    parts.append(_legend())
    for index, (row, name) in enumerate(zip(rows, names, strict=True)):
        y = top + row_height * (index + 0.5)
        middle = across.at(row.median.value / size)
        low, high = row.median.low, row.median.high
        words = f"{row.label}: median {duration(row.median.value)}"
        if low is not None and high is not None:
            words += f" (95 % interval {duration(low)} to {duration(high)})"
        marks = ""
        if row.p90 is not None and row.p99 is not None:
            words += f", p90 {duration(row.p90)}, p99 {duration(row.p99)}"
            p90, p99 = across.at(row.p90 / size), across.at(row.p99 / size)
            marks += f'<path class="tail" d="M{middle:.1f} {y}H{p99:.1f}"/>'
            marks += f'<path class="mark" d="M{p90:.1f} {y - 6}v12"/>'
            marks += f'<path class="mark" d="M{p99:.1f} {y - 6}v12m-3 -12h3m-3 12h3"/>'
        if low is not None and high is not None:
            x1, x2 = across.at(low / size), across.at(high / size)
            x2 = max(x2, x1 + 1.5)  # an interval narrower than a pixel is still there
            marks += f'<path class="interval" d="M{x1:.1f} {y}H{x2:.1f}"/>'
        marks += f'<path class="median" d="M{middle:.1f} {y - 8}v16"/>'
        parts.append(f"<g><title>{_safe(words)}</title>{marks}</g>")
        parts.append(_text(left - 8, y + 4, name, "end"))
        parts.append(_text(WIDTH - 2, y + 4, duration(row.median.value), "end", "strong"))
    return _svg(height, title, description, parts)


def runs(launches: Sequence[Sequence[int]], *, title: str, description: str) -> str:
    """Every run as a dot: a band each launch, from the first run at its top to the last.

    Args:
        launches: ns. Of more than 400 runs in a launch every n-th is shown, and the slowest and
            the fastest.
    """
    shown = [_thinned(launch) for launch in launches]
    band = 30 if len(shown) <= 8 else 18
    left, right, top = 74, 20, 8
    height = top + band * len(shown) + 46
    across, size, unit = _time_axis(shown, left, WIDTH - right)
    parts = [_x_axis(across, top, height - 46, f"time of one run, {unit}")]
    for index, launch in enumerate(shown):
        y = top + band * index
        room = band - 8
        count = max(1, max(position for position, _ in launch))
        dots = "".join(
            f"M{across.at(ns / size):.1f} {y + 4 + room * position / count:.1f}h0"
            for position, ns in launch
        )
        middle = sorted(ns for _, ns in launch)[len(launch) // 2]
        words = f"launch {index + 1}: {len(launches[index])} runs"
        parts.append(
            f'<g class="l{index % HUES}"><title>{_safe(words)}</title>'
            f'<path class="runs" d="{dots}"/>'
            f'<path class="mark" d="M{across.at(middle / size):.1f} {y + 2}v{band - 4}"/></g>'
        )
        parts.append(_text(left - 8, y + band / 2 + 4, f"launch {index + 1}", "end", "small"))
    return _svg(height, title, description, parts)


def distribution(launches: Sequence[Sequence[int]], *, title: str, description: str) -> str:
    """The share of runs that took at most so long, a line each launch (in ns)."""
    left, right, top, height = 74, 20, 10, 240
    shown = [[(i, ns) for i, ns in enumerate(_quantiles(launch))] for launch in launches]
    across, size, unit = _time_axis(shown, left, WIDTH - right)
    up = axis([0, 100], height - 46, top, log=False)
    parts = [
        _x_axis(across, top, height - 46, f"time of one run, {unit}"),
        _y_axis(up, left, WIDTH - right, "share of runs, %"),
    ]
    for index, launch in enumerate(shown):
        last = max(1, len(launch) - 1)
        steps = " ".join(
            f"{across.at(ns / size):.1f},{up.at(100 * i / last):.1f}" for i, ns in launch
        )
        words = f"launch {index + 1}"
        parts.append(
            f'<g class="l{index % HUES}"><title>{_safe(words)}</title>'
            f'<polyline class="line" points="{steps}"/></g>'
        )
    return _svg(height, title, description, parts)


def over_time(
    lines: Sequence[Line],
    windows: Sequence[tuple[float, float]],
    *,
    title: str,
    description: str,
    y_name: str,
) -> str:
    """Lines over seconds, with `windows` of time shaded. Of more than 400 points in a line every
    n-th is shown, and the highest and the lowest.
    """
    labels = {line.label: line.hue for line in lines}
    rows = -(-len(labels) // 2)
    left, right, top, room = 64, 20, 12 + 16 * rows, 190
    height = top + room + 46
    times = [t for line in lines for t, _ in line.points] + [t for w in windows for t in w]
    across = axis(times, left, WIDTH - right, from_zero=True, log=False)
    up = axis([y for line in lines for _, y in line.points], top + room, top, log=False)
    parts = []
    for start, end in windows:
        x = across.at(start)
        width = max(1.0, across.at(end) - x)
        parts.append(
            f'<rect class="shade" x="{x:.1f}" y="{top}" width="{width:.1f}" height="{room}"/>'
        )
    parts.append(_x_axis(across, top, top + room, "time, s"))
    parts.append(_y_axis(up, left, WIDTH - right, y_name))
    for index, (label, hue) in enumerate(labels.items()):
        x, y = left + index % 2 * (WIDTH - left) / 2, 12 + 16 * (index // 2)
        parts.append(
            f'<g class="l{hue % HUES}"><path class="line" d="M{x:.1f} {y - 4}h16"/></g>'
            + _text(x + 22, y, _short(label), "start", "small")
        )
    for line in lines:
        values = [y for _, y in line.points]
        steps = " ".join(
            f"{across.at(line.points[i][0]):.1f},{up.at(y):.1f}" for i, y in _thinned(values)
        )
        parts.append(
            f'<g class="l{line.hue % HUES}"><title>{_safe(line.label)}</title>'
            f'<polyline class="line" points="{steps}"/></g>'
        )
    return _svg(height, title, description, parts)


def _thinned(launch: Sequence[_Number]) -> list[tuple[int, _Number]]:
    """Position and value of those to show."""
    every = -(-len(launch) // SHOWN_RUNS)
    kept = set(range(0, len(launch), max(1, every)))
    kept |= {launch.index(min(launch)), launch.index(max(launch))}
    return [(position, launch[position]) for position in sorted(kept)]


def _quantiles(launch: Sequence[int]) -> list[int]:
    ordered = sorted(launch)
    count = min(len(ordered), SHOWN_RUNS)
    return [ordered[round(i * (len(ordered) - 1) / max(1, count - 1))] for i in range(count)]


def _time_axis(
    launches: Sequence[Sequence[tuple[int, int]]], start: float, end: float
) -> tuple[Axis, float, str]:
    """The axis with the size of its unit in ns and its name."""
    times = [ns for launch in launches for _, ns in launch if ns > 0]
    size, unit = time_unit(sorted(times)[len(times) // 2] if times else 1)
    wide = bool(times) and max(times) / min(times) > 5  # a few slow runs squeeze all the others
    return axis([ns / size for ns in times], start, end, log=wide), size, unit


@dataclass(frozen=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def within(self, other: _Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


def _beside_line(
    y: float, length: float, start: float, end: float, top: float, taken: list[_Box]
) -> _Box:
    """Where the name of the line across at `y` stands: where it covers the fewest marks.

    At the right end above the line if that is free.
    """
    room = max(0.0, end - length - start)
    places = [
        _Box(end - off - length, base - LINE, end - off, base + 3)
        for off in (room * step / 8 for step in range(9))
        for base in (y - 5, y + LINE)
        if base - LINE >= top - 5
    ]
    return min(places, key=lambda box: sum(box.meets(other) for other in taken))


def _label(x: float, y: float, text: str, taken: list[_Box], bounds: _Box) -> str:
    """`text` beside the point where nothing else stands; farther off with a line to it."""
    length = len(text) * CHARACTER
    for right, down in _PLACES:
        text_x, text_y = x + right, y + 4 + down
        begin = text_x if right > 0 else text_x - length
        box = _Box(begin, text_y - LINE + 3, begin + length, text_y + 3)
        if not box.within(bounds) or any(box.meets(other) for other in taken):
            continue
        taken.append(box)
        line = ""
        if abs(right) + abs(down) > 2 * LINE:
            line = f'<path class="leader" d="M{x:.1f} {y:.1f}L{text_x:.1f} {text_y - 4:.1f}"/>'
        return line + _text(text_x, text_y, text, "start" if right > 0 else "end")
    return ""  # no room at all: the mark's tooltip and the table have the name


# Where a label may stand, from its point in px, nearest first.
_PLACES = sorted(
    (
        (side * right, down)
        for side in (1, -1)
        for right in (10, 45, 90, 150, 220)
        for down in range(-210, 211, 7)
    ),
    key=lambda place: (abs(place[0]) + abs(place[1]), -place[0], place[1]),
)


def _mark(x: float, y: float, point: Point) -> str:
    if point.good:
        shape = f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
    else:
        shape = f'<path class="bad" d="M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10"/>'
    return f"<g><title>{_safe(f'{point.label}: {point.detail}')}</title>{shape}</g>"


def _legend() -> str:
    y = 12
    return (
        f'<path class="median" d="M12 {y - 8}v16"/>'
        + _text(20, y + 4, "median", "start", "small")
        + f'<path class="interval" d="M78 {y}h20"/>'
        + _text(104, y + 4, "its 95 % interval", "start", "small")
        + f'<path class="mark" d="M228 {y - 6}v12"/>'
        + _text(235, y + 4, "p90", "start", "small")
        + f'<path class="mark" d="M278 {y - 6}v12m-3 -12h3m-3 12h3"/>'
        + _text(285, y + 4, "p99", "start", "small")
    )


def _x_axis(across: Axis, top: float, bottom: float, name: str) -> str:
    grid = "".join(f"M{across.at(tick):.1f} {top}V{bottom}" for tick in across.ticks)
    parts = [f'<path class="grid" d="{grid}"/>']
    free = across.start - 40
    for tick in across.ticks:
        text, x = tick_text(tick, across.ticks if not across.log else (tick,)), across.at(tick)
        half = len(text) * CHARACTER / 2
        if x - half < free:  # a logarithmic axis has ticks closer than their numbers
            continue
        free = x + half + 4
        parts.append(_text(x, bottom + 16, text, "middle", "small"))
    scale = f"{name} (logarithmic)" if across.log else name
    parts.append(_text((across.start + across.end) / 2, bottom + 36, scale, "middle", "small"))
    return "".join(parts)


def _y_axis(up: Axis, left: float, right: float, name: str) -> str:
    grid = "".join(f"M{left:.1f} {up.at(tick):.1f}H{right}" for tick in up.ticks)
    parts = [f'<path class="grid" d="{grid}"/>']
    for tick, text in _tick_texts(up):
        parts.append(_text(left - 8, up.at(tick) + 4, text, "end", "small"))
    middle = (up.start + up.end) / 2
    turn = f'transform="rotate(-90 14 {middle:.0f})"'
    parts.append(_text(14, middle, name, "middle", "small", turn))
    return "".join(parts)


def _tick_texts(made: Axis) -> list[tuple[float, str]]:
    return [(t, tick_text(t, made.ticks if not made.log else (t,))) for t in made.ticks]


def _text(x: float, y: float, text: str, anchor: str, kind: str = "", more: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    extra = f" {more}" if more else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}{extra}>{_safe(text)}</text>'
    )


def _safe(text: str) -> str:
    return html.escape(plain(text))


def _short(text: str) -> str:
    text = plain(text)
    return text if len(text) <= LABEL_LENGTH else text[: LABEL_LENGTH - 1] + "…"


def _svg(height: float, title: str, description: str, parts: Iterable[str]) -> str:
    body = "".join(parts)
    # The same plot has the same name, so the page has the same bytes each time.
    content = f"{_safe(title)}\0{_safe(description)}\0{body}"
    name = hashlib.sha256(content.encode()).hexdigest()[:12]
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-labelledby="t{name} d{name}">'
        f'<title id="t{name}">{_safe(title)}</title>'
        f'<desc id="d{name}">{_safe(description)}</desc>{body}</svg>'
    )
