"""What each pass of a recipe bought, as rows of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.core.build import Build
from edgekit.core.compression import ModelSize, PassReport
from edgekit.core.files import readable_bytes
from edgekit.core.verdict import Score
from edgekit.reports.words import digits

SOURCE = "source"


@dataclass(frozen=True)
class PassRow:
    """A model on its way: the source, or after a pass.

    `change` is the metric against the source's, gains with a plus; `range` its 95 % interval.
    """

    name: str
    parameters: str
    nonzero: str
    macs: str
    zipped: str
    value: str
    change: str
    range: str


@dataclass(frozen=True)
class Passed:
    """One variant's passes: the rows, and what there is to say of them."""

    variant: str
    metric: str
    rows: tuple[PassRow, ...]
    notes: tuple[str, ...]


def passed(build: Build) -> list[Passed]:
    """Of each variant that has passes, in the build's order."""
    return [
        Passed(
            variant.recipe.name,
            next((r.score.title for r in variant.passes if r.score), ""),
            tuple(_rows(variant.passes)),
            tuple(_notes(variant.passes)),
        )
        for variant in build.variants
        if variant.passes
    ]


def _rows(reports: Sequence[PassReport]) -> list[PassRow]:
    first = reports[0].before
    score = next((r.score for r in reports if r.score), None)
    found = [_row(SOURCE, first, first, "" if score is None else score.said(score.source_value))]
    for report in reports:
        value, change, span = _scored(report.score)
        found.append(_row(report.spec.text, report.after, first, value, change, span))
    return found


def _row(
    name: str, size: ModelSize, first: ModelSize, value: str, change: str = "", span: str = ""
) -> PassRow:
    return PassRow(
        name=name,
        parameters=_of(size.parameters, first.parameters),
        nonzero=f"{100 * size.nonzeros / max(1, size.parameters):.0f} %",
        macs=_of(size.macs, first.macs),
        zipped=readable_bytes(size.zipped_bytes),
        value=value,
        change=change,
        range=span,
    )


def _of(count: int, whole: int) -> str:
    """120 k, and what share of the source's that is where it is another."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            text = f"{digits(count / size)}{unit}"
            break
    else:
        text = str(count)
    return text if count == whole or not whole else f"{text} ({100 * count / whole:.0f} %)"


def _scored(score: Score | None) -> tuple[str, str, str]:
    if score is None:
        return "", "", ""
    low, high = _signed(-score.high), _signed(-score.low)
    return score.said(score.value), _signed(-score.drop), f"{low} to {high}"


def _signed(change: float) -> str:
    """Two digits with a sign; no sign for what is none."""
    text = f"{change:+.2f}".replace("-", "−")
    return "0.00" if text in ("+0.00", "−0.00") else text


def _notes(reports: Sequence[PassReport]) -> list[str]:
    found = []
    for report in reports:
        found += [f"over the budget, tried gentler: {words}" for words in report.refused]
        found += [f"{report.spec.name}: {note}" for note in report.notes]
        history = report.history
        if history is not None:
            ended = f", {history.stopped}" if history.stopped else ""
            kept = f"the one kept is number {history.best}" if history.best else "none is kept"
            found.append(
                f"{report.spec.name}: trained {history.epochs} epochs ({history.steps} steps, "
                f"{history.seconds:.0f} s{ended}); {kept}"
            )
    return found
