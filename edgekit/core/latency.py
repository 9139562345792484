"""The time of a changed model beside that of the model before."""

from __future__ import annotations

from edgekit.core.noun import Noun


class Timing(Noun):
    """Two artifacts, timed in turns on one device.

    Attributes:
        before_milliseconds, milliseconds: of one inference: medians over launches.
        share: the median over pairs of launches, one right after the other, of their ratio.
        where: in words ("on this computer").
    """

    before_milliseconds: float
    milliseconds: float
    share: float
    where: str

    @property
    def text(self) -> str:
        """As people read it."""
        return (
            f"{self.milliseconds:.3g} ms {self.where}, {self.share:.2f} of the "
            f"{self.before_milliseconds:.3g} ms before"
        )
