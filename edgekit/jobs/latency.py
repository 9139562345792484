"""Passes with a time as their target: candidates are made, exported as the recipe says, and timed.

What was timed is kept in the cache: the same command finds the same share again, and trains nothing
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgekit import __version__
from edgekit.compress import most_step, pass_step, spec_of
from edgekit.compress.latency import TimeTarget, Words, search
from edgekit.compress.technique import Technique
from edgekit.core.boards import LOCAL, target
from edgekit.core.compression import PassSpec
from edgekit.core.dataset import DataSet
from edgekit.core.errors import PlanError
from edgekit.core.latency import Timing
from edgekit.core.measurement import MeasureSettings
from edgekit.core.model import Model
from edgekit.core.noun import json_digest
from edgekit.core.recipe import USUAL_DELEGATE, Recipe
from edgekit.core.tensor import Signature
from edgekit.devices import open_device
from edgekit.export import EXPORTERS
from edgekit.jobs.hold import held
from edgekit.measure.choice import with_runners
from edgekit.measure.runner import RunnerWish
from edgekit.measure.subject import Subject
from edgekit.measure.turns import in_turns
from edgekit.work.cache import Cache
from edgekit.work.steps import Done, Step

# Of each of the two, with one thread: a launch that starts Python and a runtime takes a second.
SETTINGS = MeasureSettings(launches=5, runs=20, min_seconds=0.2, warmup_seconds=0.2)

# Runs one step and gives what came of it; raises its error.
Run = Callable[[Step], Done]


def check_timed(recipe: Recipe, found: Technique, name: str) -> None:
    """What can be known before any work of a pass that is to reach a time.

    Raises:
        PlanError: what the recipe makes is not timed here.
        UsageError, UnknownNameError: the device's address is none, or no board is called that.
    """
    if found.timed is None:
        return
    open_device(target(found.timed.on).address)
    if recipe.delegate != USUAL_DELEGATE[recipe.format]:
        raise PlanError(
            f"{recipe.name}: {name} is to reach a time, which is measured on CPUs only; the recipe "
            f"is for {recipe.delegate}",
            hint="say how much shall go instead of a time",
        )


class Stopwatch:
    """Finds the share that a pass of `recipe` has to remove for a time, and says what was measured.

    Args:
        run: see `Run`.
        calibration: for what the recipe makes of the candidates.
        pass_arguments: of `edgekit.compress.pass_step`: opener and origin.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: Run,
        cache: Cache,
        calibration: DataSet | None,
        **pass_arguments: Any,
    ) -> None:
        settled = {"passes": (), "quantize": recipe.quantize.settled()}
        self._recipe, self._made = recipe, recipe.model_copy(update=settled)
        self._run, self._cache, self._calibration = run, cache, calibration
        self._pass: dict[str, Any] = pass_arguments

    def find(
        self, found: Technique, name: str, model: Model, before: Sequence[PassSpec]
    ) -> tuple[PassSpec, list[str]]:
        """The pass with the share that it has to remove, and what was measured, in words.

        Args:
            found: the technique, whose `timed` is not None.
            model, before: what it is to change, and the passes that made it.

        Raises:
            UsageError: the time cannot be reached.
            EdgekitError: whatever making or timing a candidate raises.
        """
        wanted = found.timed
        assert wanted is not None
        said = self._run(most_step(found, name, model=model, **self._pass))

        def timed(share: float) -> Timing:
            step = pass_step(
                spec_of(name, found.candidate(share)),
                self._recipe,
                model=model,
                before=before,
                data=None,
                teacher=None,
                **self._pass,
            )
            return self.time(wanted, model, model_of(self._run(step)))

        words = Words(name, found.goes, found.eased_by)
        best = search(wanted, said.result["most"], timed, words)
        spec = spec_of(name, found.removing(best.remove))
        return spec, [
            f"{wanted.text}: {spec.text} is the least of {best.tries} candidates that reach it: "
            f"{best.timing.text}{', before training' if found.trains else ''}"
        ]

    def time(self, wanted: TimeTarget, before: Model, after: Model) -> Timing:
        """Both models, exported as the recipe says, on the device."""
        subjects = {"before": self._subject(before), "after": self._subject(after)}
        board = target(wanted.on)
        local = board.address == LOCAL
        where = "on this computer" if local else f"on {wanted.on}"
        key = json_digest(
            {
                "what": "two artifacts in turns",
                "edgekit": __version__,
                "files": [subject.sha256 for subject in subjects.values()],
                "on": board.address,
                "settings": SETTINGS.to_json(),
            }
        )

        wish = RunnerWish(python=board.python, runtime=board.runtime)

        def make(_: Path) -> dict[str, Any]:
            with held(board) as (device, lease):
                there = with_runners(device, subjects, wish, None, lambda _: None)
                found = in_turns(
                    device, there["before"], there["after"], SETTINGS, where=where, wish=wish
                )
                lease.check()
            return found.to_json()

        entry, _ = self._cache.get_or_make(key, make)
        return Timing.from_json(entry.result)

    def _subject(self, model: Model) -> Subject:
        exporter = EXPORTERS[self._recipe.format]()
        done = self._run(exporter.step(model, self._made, self._calibration))
        signature = Signature.from_json(done.result["signature"])
        return Subject(
            path=done.folder / done.result["files"][0],
            sha256=done.result["sha256"],
            quantization=self._recipe.quantization,
            build_name=model.name,
            variant=self._recipe.name,
            file_format=self._recipe.format,
            names=(
                tuple(spec.name for spec in signature.inputs),
                tuple(spec.name for spec in signature.outputs),
            ),
        )


def model_of(done: Done) -> Model:
    """What a pass has made."""
    model = Model.from_json(done.result["model"])
    return model.model_copy(update={"path": str(done.folder / model.path)})


def reached(wanted: TimeTarget, timing: Timing) -> str:
    """What the trained model takes, as a sentence for the report."""
    part = wanted.part(timing)
    over = f", {100 * (part - 1):.0f} % above {wanted.text}" if part > 1 else ""
    return f"after training it takes {timing.text}{over}"
