"""Where an artifact's operators run, as rows of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.core.build import Build, Variant
from edgekit.core.description import Coverage

SHOWN_LAYERS = 3
NOTHING = "nothing"


@dataclass(frozen=True)
class OperatorRow:
    """A kind of operator at one place."""

    operator: str
    where: str
    delegated: bool
    count: int
    macs: str
    layers: str


@dataclass(frozen=True)
class CoverageRow:
    """One variant: what its delegate takes.

    Attributes:
        macs: the delegate's share of the multiply-adds, "98.7 %"; operators: "52 of 53".
        left: kinds of operators that stay elsewhere, by place: "CAST, MUL (cpu)"; or `NOTHING`.
        source: who says so.
    """

    name: str
    delegate: str
    macs: str
    operators: str
    partitions: int
    layout_changes: int
    left: str
    source: str
    table: tuple[OperatorRow, ...]


def coverage_rows(build: Build) -> list[CoverageRow]:
    """A row for each variant whose coverage is known."""
    return [
        _row(variant, variant.coverage)
        for variant in build.variants
        if variant.coverage is not None
    ]


def _row(variant: Variant, coverage: Coverage) -> CoverageRow:
    delegate = variant.recipe.delegate
    taken, left = coverage.delegated(delegate), coverage.left(delegate)
    total = sum(node.macs for node in coverage.nodes)
    rest: dict[str, dict[str, None]] = {}
    for node in left:
        rest.setdefault(node.where, {})[node.operator] = None
    return CoverageRow(
        name=variant.recipe.name,
        delegate=delegate,
        macs=f"{100 * coverage.share_of_macs(delegate):.1f} %" if total else "none to do",
        operators=f"{len(taken)} of {len(coverage.nodes)}",
        partitions=coverage.partitions,
        layout_changes=coverage.layout_changes,
        left="; ".join(f"{', '.join(kinds)} ({where})" for where, kinds in rest.items()) or NOTHING,
        source=coverage.source,
        table=tuple(
            OperatorRow(
                operator=line.operator,
                where=line.where,
                delegated=line.where == delegate,
                count=line.count,
                macs=f"{100 * line.macs / total:.1f} %" if total and line.macs else "",
                layers=_few(line.layers),
            )
            for line in coverage.table
        ),
    )


def _few(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_LAYERS
    return ", ".join(names[:SHOWN_LAYERS]) + (f" and {more} more" if more > 0 else "")
