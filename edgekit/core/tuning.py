"""What a search over recipes tried, and what it found.

A search makes candidates (recipes), judges each against the source model, and measures those that
are within the limits so far. Times are told by their ratio to one yardstick, an artifact that is
measured in turns with the candidates of every round: what heats or slows the board slows both.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import Field

from edgekit.core.noun import Noun
from edgekit.core.recipe import Recipe
from edgekit.core.result import Estimate
from edgekit.core.verdict import Score

Objective = Literal["latency", "energy", "memory", "size", "zipped"]
FIGURES: tuple[Objective, ...] = get_args(Objective)
# Of each: its unit in tables, and how many of the stored unit (ns, J, bytes) that is.
UNITS: dict[Objective, tuple[str, float]] = {
    "latency": ("ms", 1e6),
    "energy": ("mJ", 1e-3),
    "memory": ("MB", 1e6),
    "size": ("kB", 1e3),
    "zipped": ("kB", 1e3),
}
MEASURED: tuple[Objective, ...] = ("latency", "energy", "memory")  # on the device

# fits: within all limits. over: it could be made, and breaks one. failed: it could not be made or
# measured. refused: the board or the format cannot do such a thing; nothing was made.
Status = Literal["fits", "over", "failed", "refused"]


class Limits(Noun):
    """What a candidate has to keep. That it is accepted, its own budget kept, is always one.

    Attributes:
        latency, energy, memory, size, zipped: at most so much, in ns, J and bytes; None is no
            limit.
    """

    latency: float | None = Field(default=None, gt=0)
    energy: float | None = Field(default=None, gt=0)
    memory: float | None = Field(default=None, gt=0)
    size: float | None = Field(default=None, gt=0)
    zipped: float | None = Field(default=None, gt=0)

    def of(self, what: Objective) -> float | None:
        """The limit of that."""
        limit: float | None = getattr(self, what)
        return limit


class Figures(Noun):
    """What a candidate costs. Units as in `Limits`; None where it was not measured.

    Attributes:
        yardstick: the latency of the yardstick in the same round.
    """

    latency: Estimate | None = None
    energy: float | None = None
    memory: float | None = None
    size: float | None = None
    zipped: float | None = None
    yardstick: float | None = None

    def of(self, what: Objective) -> float | None:
        """The figure of that, as it was measured."""
        if what == "latency":
            return self.latency.value if self.latency else None
        figure: float | None = getattr(self, what)
        return figure


class Tried(Noun):
    """One candidate and what became of it.

    Attributes:
        number: counts from 1, in the order in which they were tried.
        point: the choices that made it, by name, as the space tells them.
        score: of the budget's metric against the source; None without labels, or where nothing
            could be scored.
        snr_db: the worst output's signal-to-noise; None where all are equal, or unknown.
        reasons: what keeps it from fitting.
        digest: SHA-256 of its artifact; empty if there is none.
    """

    number: int
    point: dict[str, str | int | float | bool]
    recipe: Recipe | None = None
    status: Status
    score: Score | None = None
    snr_db: float | None = None
    figures: Figures = Figures()
    reasons: tuple[str, ...] = ()
    digest: str = ""

    @property
    def name(self) -> str:
        """Of the candidate, as of a variant."""
        return self.recipe.name if self.recipe else f"no. {self.number}"

    @property
    def lost(self) -> float:
        """What it lost, in a number that grows: of the metric, or where there is none signal-to-
        noise with its sign turned. Numbers of one search alone may be compared.
        """
        if self.score is not None:
            return self.score.drop
        return float("-inf") if self.snr_db is None else -self.snr_db


class Tuning(Noun):
    """A search, and what it found.

    Attributes:
        model, board, on: what for; `on` is empty where nothing was measured.
        max_drop: what may be lost of the metric, where there are labels; see `Budget`.
        yardstick: the name of the artifact that times are ratios to; empty as `on`.
        tries: in the order in which they were made.
        finalists: names of those that were made and measured again, together, the best one first.
        final: what these came to the second time, by name.
        best: the name of the one to take; empty where none fits.
        ended: why the search ended, in words.
        notes: what a reader must know.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    model: str
    board: str
    on: str
    objective: Objective
    limits: Limits
    max_drop: float
    yardstick: str = ""
    tries: tuple[Tried, ...] = ()
    finalists: tuple[str, ...] = ()
    final: dict[str, Tried] = Field(default_factory=dict)
    best: str = ""
    ended: str = ""
    notes: tuple[str, ...] = ()

    def figure(self, tried: Tried, what: Objective | None = None) -> float | None:
        """What a try costs of `what` (the objective if not said), comparable between rounds."""
        return steadied(tried, what or self.objective, yardstick_ns(self.tries))


def yardstick_ns(tries: Sequence[Tried]) -> float | None:
    """The yardstick's latency over all rounds; None where nothing was measured."""
    rounds = [t.figures.yardstick for t in tries if t.figures.yardstick is not None]
    return statistics.median(rounds) if rounds else None


def steadied(tried: Tried, what: Objective, usual_ns: float | None) -> float | None:
    """A try's figure, its latency as it would be with the yardstick at `usual_ns`."""
    figure = tried.figures.of(what)
    own = tried.figures.yardstick
    if what != "latency" or figure is None or not own or usual_ns is None:
        return figure
    return figure / own * usual_ns


def front(
    tries: Sequence[Tried], objective: Objective, usual_ns: float | None = None
) -> list[Tried]:
    """Those that fit and of which no other loses as little and costs as little: the Pareto front.

    The cheapest first. Of equals the first that was tried stays.
    """
    costs = [
        (cost, tried.lost, tried.number, tried)
        for tried in tries
        if tried.status == "fits" and (cost := steadied(tried, objective, usual_ns)) is not None
    ]
    kept: list[Tried] = []
    for _, lost, _, tried in sorted(costs):
        if not kept or lost < kept[-1].lost:
            kept.append(tried)
    return kept
