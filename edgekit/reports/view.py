"""What a report says, before it is a table in a terminal or a page: rows of words and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.core.build import Build, Variant
from edgekit.core.files import readable_bytes
from edgekit.core.measurement import OperatorTime, OperatorTimes
from edgekit.core.result import Result, latest, way_of
from edgekit.core.verdict import Verdict
from edgekit.reports.words import (
    NO_LABELS,
    NOT_COMPARED,
    decibel,
    digits,
    duration,
    interval,
    percent,
    points,
)

OF_STAND_IN = "†"


@dataclass(frozen=True)
class Measured:
    """What the metric of the budget found, for people.

    `value` and `source` are percent of a share, or an error; `change` is that of the value, in
    `unit`: "points" or "percent". None where it is not known.
    """

    title: str
    unit: str
    value: float
    source: float | None
    change: float | None
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, verdict: Verdict) -> Measured | None:
        """None without labels. Of verdicts of versions that knew top-1 alone, that."""
        score = verdict.score
        if score is None:
            if verdict.accuracy is None:
                return None
            drop, before = verdict.drop_points, verdict.source_accuracy
            source = None if before is None else 100 * before.top1
            change = None if drop is None else -drop
            return cls("top-1", "points", 100 * verdict.accuracy.top1, source, change, None)
        ends = (-score.high, -score.low) if score.larger_is_better else (score.low, score.high)
        scale = 100 if score.unit == "points" else 1
        return cls(
            title=score.title,
            unit=score.unit,
            value=scale * score.value,
            source=scale * score.source_value,
            change=-score.drop if score.larger_is_better else score.drop,
            interval=ends if ends[0] < ends[1] else None,
        )

    def said(self, value: float) -> str:
        return f"{value:.2f} %" if self.unit == "points" else digits(value, 4)


def metric_heads(rows: Sequence[VariantRow]) -> tuple[str, str]:
    """The heads of the columns of the metric and its change; empty where nothing was measured."""
    found = [row.metric for row in rows if row.metric is not None]
    titles, units = {each.title for each in found}, {each.unit for each in found}
    if not found:
        return "", ""
    title = titles.pop() if len(titles) == 1 else "metric"
    return headed(title), units.pop().capitalize() if len(units) == 1 else "Change"


def headed(title: str) -> str:
    """A metric's title as the head of a column; mAP and the like stay as they are."""
    return title if title[1:2].isupper() else title[:1].upper() + title[1:]


@dataclass(frozen=True)
class VariantRow:
    """One variant, for a table. `ratio` is of the float32 variant's size; None without one.

    `change` is that of the metric against the source's, `interval` the 95 % interval of that.
    What was found with something else in the artifact's place (`stand_in`) ends in `OF_STAND_IN`.
    """

    name: str
    best: bool
    status: str
    size_bytes: int | None
    size: str
    zipped: str
    ratio: float | None
    of_float32: str
    compared: bool
    metric: Measured | None
    value: str
    change: str
    interval: str
    snr_db: float | None
    snr: str
    max_error: str
    agreement: str
    reasons: tuple[str, ...]
    divergence: str
    loads: tuple[tuple[str, bool, str], ...]
    way: str
    notes: tuple[str, ...]
    stand_in: str

    @property
    def failed_loads(self) -> tuple[tuple[str, str], ...]:
        """Runtimes that refuse it and why, where the reasons do not say so already."""
        said = " ".join(self.reasons)
        return tuple(
            (runtime, error) for runtime, ok, error in self.loads if not ok and error not in said
        )


def variant_rows(build: Build, results: Sequence[Result] = ()) -> list[VariantRow]:
    base = float32_bytes(build)
    best = best_name(build, results)
    return [_row(variant, base, best) for variant in build.variants]


def float32_bytes(build: Build) -> int | None:
    """Size of the unquantized variant, in bytes; None if the build has none.

    Where there are several, of one that was not made smaller by passes or sparse weights.
    """
    found = [v for v in build.variants if v.recipe.quantization == "none" and v.artifact]
    whole = [v for v in found if not v.recipe.passes and not v.recipe.quantize.sparse]
    return next((v.size_bytes for v in (*whole, *found)), None)


def best_name(build: Build, results: Sequence[Result] = ()) -> str | None:
    """What profile and bundle take where no variant is named; None if nothing was accepted."""
    return build.preferred(results).variant.recipe.name if build.accepted else None


def _row(variant: Variant, base: int | None, best: str | None) -> VariantRow:
    verdict, artifact = variant.verdict, variant.artifact
    compared = bool(verdict.parity)
    mark = OF_STAND_IN if verdict.stand_in and compared else ""
    size = artifact.size_bytes if artifact else None
    zipped = artifact.zipped_bytes if artifact else None
    ratio = size / base if size is not None and base else None
    agreements = [p.top1_agreement for p in verdict.parity if p.top1_agreement is not None]
    metric = Measured.of(verdict)
    return VariantRow(
        name=variant.recipe.name,
        best=variant.recipe.name == best,
        status=verdict.status,
        size_bytes=size,
        size="not made" if size is None else readable_bytes(size),
        zipped="" if zipped is None else readable_bytes(zipped),
        ratio=ratio,
        of_float32="" if ratio is None else f"{100 * ratio:.0f} %",
        compared=compared,
        metric=metric,
        value=(NO_LABELS if compared else NOT_COMPARED)
        if metric is None
        else metric.said(metric.value) + mark,
        change=points(None if metric is None else metric.change),
        interval=" to ".join(map(points, metric.interval)) if metric and metric.interval else "",
        snr_db=verdict.worst_snr_db,
        snr=decibel(verdict.worst_snr_db, compared=compared) + mark,
        max_error=digits(max(p.max_abs_error for p in verdict.parity)) + mark
        if compared
        else NOT_COMPARED,
        agreement=percent(
            min(agreements, default=None), "no scores" if compared else NOT_COMPARED, places=1
        )
        + (mark if agreements else ""),
        reasons=tuple(each.removeprefix(f"{variant.recipe.name}: ") for each in verdict.reasons),
        divergence=""
        if verdict.divergence is None
        else (
            f"{verdict.divergence.layer} ({digits(verdict.divergence.snr_db)} dB, "
            f"below {digits(verdict.divergence.threshold_db)} dB)"
        ),
        loads=tuple((f"{c.runtime} {c.version}", c.ok, c.error) for c in verdict.loads),
        way=artifact.way if artifact else "",
        notes=artifact.notes if artifact else (),
        stand_in=verdict.stand_in,
    )


def headline(build: Build, results: Sequence[Result]) -> list[str]:
    """The whole report in a few sentences."""
    accepted, total = len(build.accepted), len(build.variants)
    lines = [f"{accepted} of {total} variant{'s' if total != 1 else ''} accepted."]
    best = next((row for row in variant_rows(build, results) if row.best), None)
    if best is None:
        lines.append("None can be used as it is; the reasons are below.")
        return lines
    facts = [best.size]
    if best.of_float32 and best.ratio != 1:
        facts[0] += f", {best.of_float32} of float32"
    if best.metric is not None and best.change:
        unit = "points" if best.metric.unit == "points" else "%"
        facts.append(f"{best.metric.title} {best.value} ({best.change} {unit})")
    else:
        facts.append(f"signal-to-noise {best.snr}")
    taken = [r for r in latest(results) if r.measurement.variant == best.name]
    facts += [
        f"median {duration(r.summary.median_ns.value)} on {r.measurement.device_name}"
        for r in taken[:1]
    ]
    lines.append(f"Best accepted: {best.name}: {'; '.join(facts)}.")
    if not results:
        lines.append("Nothing was measured on a device yet.")
    lines += warnings(build, results)
    return lines


def warnings(build: Build, results: Sequence[Result]) -> list[str]:
    """What a reader must know before trusting the numbers."""
    found = []
    data = build.data
    if data.judged_on == "random":
        found.append(
            f"No data was given: judged on {data.evaluation_samples} random inputs, which shows "
            "that the files compute the same, not how well (--evaluate)."
        )
    if data.judged_on == "calibration":
        found.append(
            f"Judged on the {data.evaluation_samples} calibration samples themselves: the verdict "
            "is flattered (--evaluate)."
        )
    if data.overlap:
        found.append(
            f"{data.overlap} samples are in both the calibration and the evaluation data: the "
            "verdict is flattered."
        )
    found += [f"{note[:1].upper()}{note[1:]}." for note in data.notes]
    found += whose_times(build, results)
    found += [
        f"{accuracy_words(result).removeprefix('! ')}."
        for result in latest(results)
        if result.measurement.accuracy and not result.measurement.accuracy.ok
    ]
    unstable = sum(not r.summary.stable for r in results)
    if unstable:
        verb = "is" if unstable == 1 else "are"
        found.append(
            "The measurement is unstable; see it for why."
            if len(results) == 1
            else f"{unstable} of {len(results)} measurements {verb} unstable; see each for why."
        )
    return found


def whose_times(build: Build, results: Sequence[Result]) -> list[str]:
    """Which of the times are not of the board that the build is for, in words."""
    found, board = [], build.profile
    if board.transport != "local" and any(r.measurement.device == "local" for r in results):
        found.append(f"Times on “local” are of this computer, not of a {board.title}.")
    others = {
        r.measurement.device: machine
        for r in results
        if (machine := r.measurement.hello.get("machine")) not in (None, board.arch)
        and r.measurement.device != "local"
    }
    for device, machine in others.items():
        found.append(
            f"“{device}” is {machine}, a {board.title} is {board.arch}: these are not its times."
        )
    if any(r.measurement.emulated for r in results):
        found.append("Times on an emulated processor say nothing about a real one.")
    return found


def in_plan_order(build: Build, results: Sequence[Result]) -> list[Result]:
    """By variant as in the build; within a variant the order stays."""
    places = {variant.recipe.name: place for place, variant in enumerate(build.variants)}
    return sorted(results, key=lambda r: places.get(r.measurement.variant, len(places)))


def accuracy_words(result: Result) -> str:
    """What the board's own answers score, in a sentence; empty where it was not asked for."""
    taken = result.measurement
    if taken.accuracy is None:
        return ""
    verdict = "keeps its budget" if taken.accuracy.ok else "IS WORSE THAN ITS BUDGET"
    mark = "" if taken.accuracy.ok else "! "
    return f"{mark}{taken.variant} on the board {verdict}: {taken.accuracy.detail}"


def setting_words(result: Result) -> str:
    settings = result.measurement.settings
    threads = f"{settings.threads} thread{'s' if settings.threads != 1 else ''}"
    launches = len(result.measurement.launches)
    streams = f", {settings.streams} streams" if settings.streams > 1 else ""
    long = f", sustained for {settings.min_seconds:g} s" if settings.sustained else ""
    return (
        f"{threads}, batch {settings.batch}{streams}, {launches} launch"
        f"{'es' if launches != 1 else ''}, {result.summary.samples} runs{long}"
    )


def way_words(result: Result) -> str:
    """How it was run, for a narrow column: threads × batch, × streams, and whether for long."""
    threads, batch, streams, long = way_of(result)
    return f"{threads}×{batch}" + (f"×{streams}" if streams > 1 else "") + (" long" if long else "")


def sustained_words(result: Result) -> str:
    """What became of the speed in a sustained run; empty for other measurements."""
    curve, steady = result.summary.curve, result.summary.steady_ns
    if not curve or steady is None:
        return ""
    (end, first), last = curve[0], curve[-1][0]
    change = steady.value / first - 1
    way = "slower" if change > 0 else "faster"
    moved = f"{abs(change):.1%} {way}" if change < 1 else f"{digits(1 + change)} times as long"
    heights = [ns for _, ns in curve]
    return (
        f"{duration(first)} in the first {digits(end, 2)} s, {duration(steady.value)} "
        f"({interval(steady)}) in the last third of {last:.0f} s, {moved}  "
        f"{_bars(heights)}"
    )


UNMAPPED = "unmapped"
SHOWN_LAYERS = 5


@dataclass(frozen=True)
class OperatorLine:
    """One operator, or a kind of them: its share of the time of all that were told.

    Attributes:
        layer: of one operator: the user's, or `UNMAPPED`.
    """

    name: str
    where: str
    layer: str
    calls: str
    each: str
    share: str


def operator_lines(times: OperatorTimes, *, by_kind: bool) -> list[OperatorLine]:
    """The slowest first; `calls` and `each` (a duration) are of one inference."""
    groups: dict[tuple[str, str], list[OperatorTime]] = {}
    for each in times.operators:
        groups.setdefault((each.kind if by_kind else each.name, each.where), []).append(each)
    total = sum(each.ns for each in times.operators) or 1
    spent = {key: sum(each.ns for each in group) for key, group in groups.items()}
    runs = max(1, times.runs)
    return [
        OperatorLine(
            name=name,
            where=where,
            layer=groups[name, where][0].layer or UNMAPPED,
            calls=digits(sum(each.calls for each in groups[name, where]) / runs),
            # Both profilers count whole microseconds: nothing took no time.
            each=duration(ns / runs) if ns else "under 1 µs",
            share=f"{ns / total:.1%}",
        )
        for (name, where), ns in sorted(spent.items(), key=lambda item: -item[1])
    ]


def operator_words(times: OperatorTimes) -> str:
    """What the sum of the operators is against the whole."""
    if times.unavailable:
        return f"time by operator is unavailable: {times.unavailable}"
    told = sum(each.ns for each in times.operators)
    runs = max(1, times.runs)
    return (
        f"operators add up to {duration(told / runs)} of {duration(times.total_ns / runs)} an "
        f"inference with the profiler on ({told / max(1, times.total_ns):.0%}; the rest is between "
        f"them, or below a microsecond), over {times.runs} runs; {_layer_words(times)}"
    )


def _layer_words(times: OperatorTimes) -> str:
    """Which of the user's layers take the time, as far as the runtime keeps the link."""
    total = sum(each.ns for each in times.operators)
    spent: dict[str, int] = {}
    for each in times.operators:
        if each.layer:
            spent[each.layer] = spent.get(each.layer, 0) + each.ns
    if not spent or not total:
        return "the runtime does not tell which of your layers they are"
    largest = sorted(spent.items(), key=lambda item: -item[1])[:SHOWN_LAYERS]
    said = ", ".join(f"{name} {ns / total:.1%}" for name, ns in largest)
    more = f" and {len(spent) - len(largest)} more" if len(spent) > len(largest) else ""
    rest = 1 - sum(spent.values()) / total
    return f"by your layers: {said}{more}; {UNMAPPED} {rest:.1%}"


def _bars(values: Sequence[float]) -> str:
    """A line of bars from zero to the largest."""
    top = max(values)
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * value / top))] for value in values)
