"""What a runner is, and what one may ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from edgekit.core.protocols import Device
from edgekit.measure.events import Events
from edgekit.measure.subject import Subject


@dataclass(frozen=True)
class RunnerWish:
    """How a runner shall be found on a device; None leaves it to the runner.

    Attributes:
        python: the Python to use there.
        runtime: the runtime's package, as pip calls it.
        native_program: a native runner that the user built, a path here; for the app the sampler.
        native_library: a libLiteRt.so of the user's for it, a path here.
    """

    python: str | None = None
    runtime: str | None = None
    native_program: str | None = None
    native_library: str | None = None


class Runner(Protocol):
    """Runs jobs on a device: the keys of a job and the events that answer it are those of
    ``runtime_bench/edgekit_bench``, whichever runner it is. The events "load", "first" and
    "interference" may say in "unavailable" why a number in them is None.

    Attributes:
        runs: delegates by the format of the file, as recipes name them.
        checks: for how many samples it gives the model's outputs, so that they can be checked
            there; None for as many as there are.
        senses: whether it takes the job's "sensors".
    """

    name: str
    runs: ClassVar[dict[str, tuple[str, ...]]]
    checks: int | None
    senses: bool

    @classmethod
    def deploy(cls, device: Device, subject: Subject, wish: RunnerWish) -> Self:
        """Put what is needed on `device` (open), so that files like `subject` can be run.

        Raises:
            RuntimeMissingError: it cannot run there; says what to do.
        """

    def accept(self, job: Mapping[str, Any]) -> None:
        """Called before the model is sent and anything is run.

        Raises:
            RejectedError: it cannot do what `job` asks for. What only a run shows is `run`'s.
        """

    def run(self, job: Mapping[str, Any]) -> Events:
        """Run one job, a process launch of its own. See `edgekit.measure.events.collect`."""
