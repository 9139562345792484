"""The report as tables in a terminal; made for 80 columns, plain where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from edgekit.core.build import Build
from edgekit.core.files import readable_bytes
from edgekit.core.measurement import OperatorTimes
from edgekit.core.result import Result, latest, way_of
from edgekit.reports.console import open_console
from edgekit.reports.coverage import NOTHING, CoverageRow, coverage_rows
from edgekit.reports.passes import Passed, passed
from edgekit.reports.power import energy_words, worth_telling
from edgekit.reports.view import (
    OF_STAND_IN,
    VariantRow,
    accuracy_words,
    headed,
    headline,
    in_plan_order,
    metric_heads,
    operator_lines,
    operator_words,
    sustained_words,
    variant_rows,
    way_words,
    whose_times,
)
from edgekit.reports.words import (
    NOT_COMPARED,
    NOT_MEASURED,
    digits,
    interval,
    memory_facts,
    plain,
    told,
    untold,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

STYLES = {"accepted": "green", "rejected": "red", "unloadable": "red", "failed": "red"}


def print_report(
    build: Build,
    results: Sequence[Result] = (),
    *,
    file: TextIO | None = None,
    columns: int | None = None,
) -> None:
    """Print what the build is worth and what was measured.

    Args:
        file: standard output if not given; colours only on a terminal and without NO_COLOR.
        columns: width; the terminal's if not given.
    """
    console = open_console(file, columns)
    rows = variant_rows(build, results)
    console.print(plain(f"{build.name} for {build.profile.title}"), style="bold")
    for line in headline(build, results):
        console.print(plain(line))
    console.print()
    console.print(_verdicts(rows))
    console.print()
    _explain(console, rows)
    for each in passed(build):
        console.print()
        _passes(console, each)
    if covered := coverage_rows(build):
        console.print()
        _where(console, covered)
    _all_measurements(console, build, results)


def print_measurements(
    build: Build,
    results: Sequence[Result],
    *,
    file: TextIO | None = None,
    columns: int | None = None,
) -> None:
    """Print what was measured alone; arguments as of `print_report`."""
    console = open_console(file, columns)
    console.print(plain(f"{build.name} for {build.profile.title}"), style="bold")
    for line in whose_times(build, results):
        console.print(plain(line))
    _all_measurements(console, build, results)


def _all_measurements(console: Console, build: Build, results: Sequence[Result]) -> None:
    results = in_plan_order(build, results)
    devices = list(dict.fromkeys(result.measurement.device for result in results))
    for device in devices:
        mine = [r for r in latest(results) if r.measurement.device == device]
        _measurements(console, device, mine)


def _table() -> Table:
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)


def _verdicts(rows: Sequence[VariantRow]) -> Table:
    from rich.text import Text

    heads = metric_heads(rows)
    labelled = bool(heads[0])
    table = _table()
    table.add_column("Variant", overflow="fold")
    table.add_column("Size", justify="right", no_wrap=True)
    table.add_column("of f32", justify="right", no_wrap=True)
    table.add_column("Zipped", justify="right", no_wrap=True)
    if labelled:
        for head in heads:
            table.add_column(head, justify="right", no_wrap=True)
    table.add_column("SNR", justify="right", no_wrap=True)
    if not labelled:
        table.add_column("Max error", justify="right", no_wrap=True)
        table.add_column("Agree", justify="right", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    for row in rows:
        compared = row.compared
        name = plain(row.name) + (" *" if row.best else "")
        cells = [name, row.size, row.of_float32, row.zipped]
        if labelled:
            cells += [row.value if compared else "–", row.change]
        cells.append(row.snr if compared else "–")
        if not labelled:
            cells.append(row.max_error if compared else "–")
            cells.append(row.agreement if compared else "–")
        table.add_row(
            *(Text(cell) for cell in cells), Text(row.status, style=STYLES.get(row.status, ""))
        )
    return table


def _explain(console: Console, rows: Sequence[VariantRow]) -> None:
    if any(row.best for row in rows):
        console.print("* what profile and bundle take unless told otherwise")
    if not all(row.compared for row in rows):
        console.print(f"– {NOT_COMPARED}")
    said: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for reason in row.reasons:
            said.setdefault((row.status, reason), []).append(row.name)
    for (status, reason), names in said.items():
        console.print(plain(f"{', '.join(names)} {status}: {reason}"))
    for row in rows:
        if row.divergence:
            console.print(plain(f"{row.name} first diverges at {row.divergence}"))
    for what, names in _grouped((row.stand_in, row.name) for row in rows):
        console.print(plain(f"{OF_STAND_IN} {', '.join(names)}: cannot run here; judged on {what}"))
    for note, names in _grouped((note, row.name) for row in rows for note in row.notes):
        console.print(plain(f"{', '.join(names)}: {note}"))


def _grouped(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Names by what is said of them, in the order in which it is said first."""
    found: dict[str, list[str]] = {}
    for said, name in pairs:
        if said:
            found.setdefault(said, []).append(name)
    return list(found.items())


def _passes(console: Console, found: Passed) -> None:
    """What each pass bought, from the source on."""
    from rich.text import Text

    console.print(plain(f"{found.variant}: what its passes bought"), style="bold")
    table = _table()
    table.add_column("Model", overflow="fold")
    for head in ("Weights", "Not zero", "MACs", "Zipped"):
        table.add_column(head, justify="right", no_wrap=True)
    if found.metric:
        for head in (headed(found.metric), "Change"):
            table.add_column(head, justify="right", no_wrap=True)
    for row in found.rows:
        cells = [row.name, row.parameters, row.nonzero, row.macs, row.zipped]
        cells += [row.value, row.change] if found.metric else []
        table.add_row(*(Text(plain(cell)) for cell in cells))
        if row.range:
            table.add_row(
                *(Text(cell, style="dim") for cell in ["", "", "", "", "", "", row.range])
            )
    console.print(table)
    console.print()
    console.print("weights zipped: as float32 and deflated; below a change: its 95 % interval")
    for note in found.notes:
        console.print(plain(note))


def _where(console: Console, rows: Sequence[CoverageRow]) -> None:
    """Where the operators run; who says so and what is left elsewhere stand below the table."""
    from rich.text import Text

    table = _table()
    table.add_column("Variant", overflow="fold")
    table.add_column("Runs on", no_wrap=True)
    for head in ("MACs", "Operators", "Pieces", "Transposes"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        cells = [row.name, row.delegate, row.macs, row.operators, str(row.partitions)]
        table.add_row(*(Text(plain(cell)) for cell in [*cells, str(row.layout_changes)]))
    console.print(table)
    console.print()
    for source, names in _grouped((row.source, row.name) for row in rows):
        console.print(plain(f"{', '.join(names)}: where it runs is told by {source}"))
    for left, names in _grouped((row.left, row.name) for row in rows if row.left != NOTHING):
        console.print(plain(f"{', '.join(names)}: left to others: {left}"))


SHOWN_OPERATORS = 12


def _operators(console: Console, variant: str, times: OperatorTimes) -> None:
    """Where the time goes, by kind of operator."""
    from rich.text import Text

    lines = operator_lines(times, by_kind=True)
    console.print()
    if lines:
        table = _table()
        table.add_column(f"{plain(variant)}: operators", overflow="fold")
        table.add_column("Runs on", no_wrap=True)
        for head in ("Calls", "Time", "Share"):
            table.add_column(head, justify="right", no_wrap=True)
        for line in lines[:SHOWN_OPERATORS]:
            cells = [line.name, line.where, line.calls, line.each, line.share]
            table.add_row(*(Text(plain(cell)) for cell in cells))
        console.print(table)
        if len(lines) > SHOWN_OPERATORS:
            console.print(f"and {len(lines) - SHOWN_OPERATORS} kinds more, on the page")
        console.print()
    console.print(plain(f"{variant}: {operator_words(times)}"))


def _memory_words(result: Result) -> str:
    """Beside the peak, which is in the table."""
    facts = _grouped((size, name) for name, size in memory_facts(result.summary.memory))
    return "; ".join(f"{', '.join(names)} {size}" for size, names in facts)


def _energies(console: Console, results: Sequence[Result]) -> None:
    """A table of its own: the other one is as wide as a terminal."""
    from rich.text import Text

    shown = [(r, energy_words(r)) for r in results if worth_telling(r.summary.energy)]
    if any(words.known for _, words in shown):
        table = _table()
        table.add_column("Variant", overflow="fold")
        for head in ("Energy", "Mean power", "Idle power"):
            table.add_column(head, justify="right", no_wrap=True)
        for result, words in shown:
            cells = [plain(result.measurement.variant), words.energy, words.power, words.idle]
            table.add_row(*(Text(cell) for cell in cells))
            below = ["", words.energy_interval, words.power_interval, words.idle_interval]
            table.add_row(*(Text(cell, style="dim") for cell in below))
        console.print(table)
        console.print()
        console.print("energy: of one inference, nothing subtracted; below each: its 95 % interval")
    for line, names in _grouped(
        (line, result.measurement.variant) for result, words in shown for line in words.lines
    ):
        console.print(plain(f"{', '.join(dict.fromkeys(names))}: {line}"))


def _measurements(console: Console, device: str, results: Sequence[Result]) -> None:
    from rich.text import Text

    taken = results[0].measurement
    emulated = ", emulated: the times mean nothing" if taken.emulated else ""
    console.print()
    title = device if taken.device_name == device else f"{taken.device_name} ({device})"
    console.print(plain(f"On {title}{emulated}"), style="bold")
    mixed = len({way_of(result) for result in results})
    table = _table()
    table.add_column("Variant", overflow="fold")
    if mixed > 1:
        table.add_column("T×B", justify="right", no_wrap=True)
    for head in ("Median", "p90", "p99", "Per s", "Load", "Memory"):
        table.add_column(head, justify="right", no_wrap=True)
    for result in results:
        summary = result.summary
        peak = summary.peak_rss_bytes
        cells = [plain(result.measurement.variant) + ("" if summary.stable else " !")]
        if mixed > 1:
            cells.append(way_words(result))
        estimates = (summary.median_ns, summary.p90_ns, summary.p99_ns)
        cells += [told(estimate) for estimate in estimates]
        cells += [
            digits(summary.throughput_per_second.value),
            told(summary.load_ns),
            NOT_MEASURED if peak is None else readable_bytes(peak),
        ]
        table.add_row(*(Text(cell) for cell in cells))
        below = [""] * (2 if mixed > 1 else 1) + [interval(estimate) for estimate in estimates]
        table.add_row(*(Text(cell, style="dim") for cell in below))
    console.print(table)
    console.print()
    console.print("per s: throughput in samples; below each time: its 95 % interval")
    if mixed > 1:
        console.print("T×B: threads × batch (× streams)")
    for said, names in _grouped(
        (f"no {what}: {why}", r.measurement.variant)
        for r in results
        for what, why in untold(r.summary)
    ):
        console.print(plain(f"{', '.join(dict.fromkeys(names))}: {said}"))
    for said, names in _grouped(
        (_memory_words(r), r.measurement.variant) for r in results if r.summary.memory is not None
    ):
        console.print(plain(f"memory of {', '.join(dict.fromkeys(names))}: {said}"))
    _energies(console, results)
    for result in results:
        if said := sustained_words(result):
            console.print(plain(f"{result.measurement.variant}: {said}"))
    for clocks, names in _grouped(
        (r.measurement.clocks, f"{r.measurement.variant}") for r in results
    ):
        console.print(plain(f"clocks of {', '.join(dict.fromkeys(names))}: {clocks}"))
    for result in results:
        if result.measurement.operators is not None:
            _operators(console, result.measurement.variant, result.measurement.operators)
    named = [
        (result, result.measurement.variant + (f" {way_words(result)}" if mixed > 1 else ""))
        for result in results
    ]
    for finding, names in _grouped((f, name) for r, name in named for f in r.summary.findings):
        console.print(plain(f"! {', '.join(names)}: {finding}"))
    for result, name in named:
        check = result.measurement.check
        if check is None:
            console.print(plain(f"{name}: outputs there were not checked"))
        elif not check.ok:
            console.print(plain(f"{name}: other outputs: {check.detail}"))
        if said := accuracy_words(result):
            console.print(plain(said))
