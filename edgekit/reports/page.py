"""The report as one HTML file: no script, nothing from elsewhere, readable offline and on paper.

The template escapes everything it is given; only the plots, which escape for themselves, are
markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit import __version__
from edgekit.core.build import Build
from edgekit.core.files import readable_bytes, write_text
from edgekit.core.measurement import Measurement
from edgekit.core.preprocess_text import format_operation
from edgekit.core.result import Estimate, Result, latest, way_of
from edgekit.core.tensor import Quantization, Signature
from edgekit.reports import plot
from edgekit.reports.coverage import coverage_rows
from edgekit.reports.passes import passed
from edgekit.reports.power import energy_words, heat_plot, power_plot
from edgekit.reports.templates import template
from edgekit.reports.view import (
    OperatorLine,
    VariantRow,
    accuracy_words,
    headline,
    in_plan_order,
    metric_heads,
    operator_lines,
    operator_words,
    setting_words,
    sustained_words,
    variant_rows,
    way_words,
)
from edgekit.reports.words import (
    NOT_MEASURED,
    UNAVAILABLE,
    digits,
    duration,
    interval,
    memory_facts,
    rate,
    told,
)

TEMPLATE = "page.html.jinja"
MAX_DETAILED = 24
SHARES = ("top-1", "top-5")  # which are called accuracy in full


@dataclass(frozen=True)
class Shown:
    """One measurement, for the page. `runs` and `distribution` are SVG, and so is what stands in
    `over_time` after its name.
    """

    title: str
    result: Result
    settings: str
    operators: tuple[OperatorLine, ...]
    operator_words: str
    facts: tuple[tuple[str, str, str], ...]
    environment: tuple[tuple[str, str, str], ...]
    machine: tuple[tuple[str, str], ...]
    check: str
    accuracy: str
    runs: Any
    distribution: Any
    energy: tuple[str, ...]
    over_time: tuple[tuple[str, Any], ...]


def write_html(build: Build, path: Path, results: Sequence[Result] = ()) -> None:
    """Write the page to `path`, all or nothing. Raises OutputError."""
    write_text(path, report_html(build, results))


def report_html(build: Build, results: Sequence[Result] = ()) -> str:
    """The page as text; equal input gives equal text.

    Args:
        build: what was converted.
        results: measurements of its artifacts with their summaries, newest first. Of those taken
            in the same way the newest is plotted, all are in the table.
    """
    rows = variant_rows(build, results)
    results = in_plan_order(build, results)
    newest = latest(results)
    best = next((row.name for row in rows if row.best), None)
    opened = next((r for r in newest if r.measurement.variant == best), next(iter(newest), None))
    return template(TEMPLATE).render(
        build=build,
        rows=rows,
        passed=passed(build),
        heads=metric_heads(rows),
        covered=coverage_rows(build),
        lines=headline(build, results),
        runtimes=list(dict.fromkeys(name for row in rows for name, _, _ in row.loads)),
        results=results,
        settings=setting_words,
        energy=energy_words,
        shown=[_shown(result) for result in newest[:MAX_DETAILED]],
        opened=opened,
        hidden=len(newest) - len(newest[:MAX_DETAILED]),
        quality_plot=_quality_plot(rows),
        left_out=[row.name for row in rows if not _plottable(row)],
        latency_plot=_latency_plot(newest),
        preprocessing=[format_operation(op) for op in build.preprocessing.operations],
        signatures=_signatures(build),
        quantization=_quantization,
        version=__version__,
        not_measured=NOT_MEASURED,
    )


def _markup(svg: str) -> Any:
    from markupsafe import Markup

    return Markup(svg)  # noqa: S704 - made by plot.py, which escapes every text in it


def _plottable(row: VariantRow) -> bool:
    return row.size_bytes is not None and (_measured(row) is not None or _finite(row.snr_db))


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _measured(row: VariantRow) -> float | None:
    """The metric's value where there are labels: percent of a share, or an error."""
    return row.metric.value if row.metric is not None and _finite(row.metric.value) else None


def _quality_plot(rows: Sequence[VariantRow]) -> Any:
    """Size against the metric where there are labels, against signal-to-noise otherwise."""
    metric = next((row.metric for row in rows if _measured(row) is not None), None)
    size, unit = _size_unit(max((row.size_bytes or 0 for row in rows), default=0))
    points = []
    for row in rows:
        if metric is not None and row.metric is not None and row.metric.title != metric.title:
            continue
        value = row.snr_db if metric is None else _measured(row)
        if row.size_bytes is None or value is None or not math.isfinite(value):
            continue
        detail = f"{row.size}, {row.snr if metric is None else row.value}, {row.status}"
        good = row.status == "accepted"
        points.append(plot.Point(row.name, row.size_bytes / size, value, good, detail))
    if not points:
        return None
    line, quality, limit = None, "signal-to-noise ratio, dB", None
    if metric is not None:
        quality = metric.title
        if metric.unit == "points":
            quality, limit = f"{quality}{' accuracy' if quality in SHARES else ''}, %", 100
        if metric.source is not None:
            line = (metric.source, f"source model {metric.said(metric.source)}")
    names = "; ".join(f"{p.label}: {p.detail}" for p in points)
    return _markup(
        plot.scatter(
            points,
            title=f"Size against {quality.partition(',')[0]}",
            description=f"One mark a variant; dots are accepted, crosses are not. {names}.",
            x_name=f"size, {unit}",
            y_name=quality,
            y_limit=limit,
            line=line,
        )
    )


def _size_unit(largest: int) -> tuple[float, str]:
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if largest >= size:
            return size, unit
    return 1.0, "bytes"


def _latency_plot(results: Sequence[Result]) -> Any:
    if not results:
        return None
    devices = {result.measurement.device for result in results}
    ways = {way_of(result) for result in results}
    rows = []
    for result in results[:MAX_DETAILED]:
        taken, summary = result.measurement, result.summary
        label = taken.variant
        if len(ways) > 1:
            label += f" {way_words(result)}"
        if len(devices) > 1:
            label += f" · {'local' if taken.device == 'local' else taken.device_name}"
        rows.append(
            plot.Times(
                label, summary.median_ns, _value_of(summary.p90_ns), _value_of(summary.p99_ns)
            )
        )
    names = "; ".join(f"{row.label}: median {duration(row.median.value)}" for row in rows)
    return _markup(
        plot.latency(
            rows,
            title="Latency",
            description=f"Median with its 95 % interval, p90 and p99 of each measurement. {names}.",
        )
    )


def _value_of(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _shown(result: Result) -> Shown:
    taken, summary = result.measurement, result.summary
    samples = [launch.samples_ns for launch in taken.launches if launch.samples_ns]
    peak, times = summary.peak_rss_bytes, taken.operators
    words = energy_words(result)

    def why(key: str) -> str:
        said = summary.unavailable.get(key)
        return f"{UNAVAILABLE}: {said}" if said else ""

    per = "inference" if taken.settings.batch == 1 else f"batch of {taken.settings.batch}"
    facts: tuple[tuple[str, str, str], ...] = (
        (f"Median of one {per}", duration(summary.median_ns.value), interval(summary.median_ns)),
        ("p90", why("p90_ns") or told(summary.p90_ns), interval(summary.p90_ns)),
        ("p99", why("p99_ns") or told(summary.p99_ns), interval(summary.p99_ns)),
        ("Throughput", rate(summary.throughput_per_second), _rates(result)),
        ("Loading", why("load_ns") or told(summary.load_ns), interval(summary.load_ns)),
        ("First inference", why("first_ns") or told(summary.first_ns), interval(summary.first_ns)),
        (
            "Peak memory",
            why("peak_rss_bytes") or (NOT_MEASURED if peak is None else readable_bytes(peak)),
            "",
        ),
        *((f"Memory: {name}", size, "") for name, size in memory_facts(summary.memory)),
        (f"Energy of one {per}", words.energy, words.energy_interval),
        ("Mean power", words.power, words.power_interval),
        ("Idle power", words.idle, words.idle_interval),
    )
    if taken.clocks:
        facts += (("Clocks", taken.clocks, ""),)
    if said := sustained_words(result):
        facts += (("Sustained", said, ""),)
    title = f"{taken.variant} on {taken.device_name}"
    total = sum(len(launch) for launch in samples)
    about = f"{len(samples)} launches, {total} runs; median {duration(summary.median_ns.value)}."
    return Shown(
        title=title,
        result=result,
        settings=setting_words(result),
        operators=tuple(operator_lines(times, by_kind=False)) if times else (),
        operator_words=operator_words(times) if times else "",
        facts=facts,
        environment=_environment(taken.environment_before, taken.environment_after) + _modes(taken),
        machine=tuple((_key(key), _value(value)) for key, value in taken.hello.items()),
        check=_check(result),
        accuracy=accuracy_words(result),
        runs=_markup(plot.runs(samples, title=f"Every run of {title}", description=about))
        if samples
        else None,
        distribution=_markup(
            plot.distribution(samples, title=f"Distribution of {title}", description=about)
        )
        if samples
        else None,
        energy=words.lines,
        over_time=tuple(
            (name, _markup(svg))
            for name, svg in (("power", power_plot(taken)), ("temperature", heat_plot(taken)))
            if svg is not None
        ),
    )


def _rates(result: Result) -> str:
    rates = result.summary.throughput_per_second
    if rates.low is None or rates.high is None:
        return "no interval"
    return f"{digits(rates.low)}–{digits(rates.high)} /s"


def _check(result: Result) -> str:
    check = result.measurement.check
    if check is None:
        return "The outputs there were not compared with this computer's."
    verb = "are" if check.ok else "are NOT"
    return (
        f"The outputs there {verb} those of this computer: largest difference "
        f"{digits(check.max_abs_error)} of {digits(check.tolerance)} allowed, "
        f"{check.samples} samples.{'' if check.ok else ' ' + check.detail}"
    )


def _environment(before: dict[str, Any], after: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """Each thing with its value before and after; what could not be read says why."""
    reasons = [side.get("unavailable") for side in (before, after)]
    missing = [reason if isinstance(reason, dict) else {} for reason in reasons]
    keys = [key for key in dict.fromkeys([*before, *after]) if key != "unavailable"]
    keys += [key for key in dict.fromkeys([*missing[0], *missing[1]]) if key not in keys]

    def told(side: dict[str, Any], why: dict[str, Any], key: str) -> str:
        if key in side:
            return _value(side[key])
        return f"{NOT_MEASURED}: {why[key]}" if key in why else NOT_MEASURED

    return tuple(
        (_key(key), told(before, missing[0], key), told(after, missing[1], key)) for key in keys
    )


def _modes(taken: Measurement) -> tuple[tuple[str, str, str], ...]:
    """Modes of power and clocks that the board was in."""
    told = [launch.sensed.facts for launch in taken.launches if launch.sensed is not None]
    if not told:
        return ()
    return tuple((key, text, told[-1].get(key, NOT_MEASURED)) for key, text in told[0].items())


_UNITS = {
    "c": "°C",
    "khz": "kHz",
    "mhz": "MHz",
    "bytes": "bytes",
    "ns": "ns",
    "ms": "ms",
    "mb": "MB",
    "percent": "%",
}


def _key(key: str) -> str:
    """``temperatures_c`` as "temperatures, °C"."""
    name, _, last = key.rpartition("_")
    if name and last in _UNITS:
        return f"{name.replace('_', ' ')}, {_UNITS[last]}"
    return key.replace("_", " ")


def _value(value: Any) -> str:
    """A value that came from a device: anything that JSON can hold."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_value(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not known"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _signatures(build: Build) -> list[tuple[str, Signature]]:
    """The signatures there are and which variants have them; like ones together."""
    groups: dict[str, tuple[list[str], Signature]] = {}
    for variant in build.variants:
        if variant.artifact is not None:
            signature = variant.artifact.signature
            names, _ = groups.setdefault(signature.fingerprint(), ([], signature))
            names.append(variant.recipe.name)
    return [(", ".join(names), signature) for names, signature in groups.values()]


def _quantization(quantization: Quantization | None) -> str:
    if quantization is None:
        return "none"
    if len(quantization.scale) != 1:
        return f"{len(quantization.scale)} scales along axis {quantization.axis}"
    return f"{digits(quantization.scale[0], 6)} × (stored − ({quantization.zero_point[0]}))"
