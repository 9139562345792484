"""Techniques that can be told a time to reach in place of how much shall go."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from edgekit.compress.latency import TimeTarget
from edgekit.compress.technique import Technique
from edgekit.core.boards import LOCAL


class TimedTechnique(Technique):
    """One with ``target = "latency"``: a share of the time before, or a time, on a device.

    Attributes:
        target: "latency" finds out how much has to go for a time: `share` of the time before, or
            `milliseconds`, of one inference `on` a device.
        amounts: fields that say how much goes, which such a target stands in the place of.
    """

    target: Literal["latency"] | None = None
    share: float | None = Field(default=None, gt=0, lt=1)
    milliseconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    on: str = LOCAL

    amounts: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        times = {"share", "milliseconds"} & self.model_fields_set
        if self.target is None and times | ({"on"} & self.model_fields_set):
            raise ValueError('share, milliseconds and on go with target = "latency"')
        if self.target is not None and len(times) != 1:
            raise ValueError(
                'target = "latency" needs share = 0.5 (of the time before) or milliseconds = 3.0'
                + (", not both" if times else "")
            )
        said = [name for name in self.amounts if name in self.model_fields_set]
        if self.target is not None and said:
            raise ValueError(f'target = "latency" finds out how much goes: leave {said[0]} out')
        return self

    @property
    def timed(self) -> TimeTarget | None:
        """See `Technique.timed`."""
        if self.target is None:
            return None
        return TimeTarget(self.share, self.milliseconds, self.on)

    def untimed(self, **fields: object) -> Self:
        """It with `fields` in the place of the time."""
        kept = self.model_dump(mode="json", exclude_unset=True)
        for name in ("target", "share", "milliseconds", "on"):
            kept.pop(name, None)
        return self.from_json({**kept, **fields})
