"""The plan: what was asked for, found possible before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.core.errors import ModelError, PlanError, UsageError
from edgekit.core.model import Model, ModelOptions
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.profile import DeviceProfile, Runtime, load_profile
from edgekit.core.recipe import Budget, Calibration, Recipe, load_recipe
from edgekit.core.registry import refuse_file
from edgekit.data import open_data
from edgekit.sources import SOURCES
from edgekit.work.protocols import Source
from edgekit.work.steps import Step


@dataclass(frozen=True)
class Wish:
    """What the user asked for, as typed."""

    model: str
    profile: str
    variants: Sequence[str] = ()
    calibration: str | None = None
    evaluation: str | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    labels: tuple[str, ...] = ()
    max_drop: float | None = None
    samples: Calibration | None = None
    options: ModelOptions = field(default_factory=ModelOptions)
    runtime: str | None = None


@dataclass(frozen=True)
class Plan:
    """A wish that was found possible, before any work."""

    wish: Wish
    profile: DeviceProfile
    runtime: Runtime
    recipes: tuple[Recipe, ...]
    source: Source
    model: Model
    calibration: Step | None
    evaluation: Step | None

    @property
    def default_output(self) -> Path:
        return Path(f"{self.model.name}-{self.profile.name}.build")


def make_plan(wish: Wish) -> Plan:
    """Check all that can be known without running anything heavy.

    Raises:
        UsageError: a name or a value is not right as written.
        ModelError: the model cannot be used.
        DataError: there is no such data.
        PlanError: this board cannot run what was asked, or calibration data is missing.
    """
    profile = load_profile(wish.profile)
    runtime = profile.runtime_named(wish.runtime) if wish.runtime else profile.runtime
    recipes = tuple(_recipe(name, wish) for name in wish.variants or profile.variants)
    doubles = {r.name for r in recipes if [x.name for x in recipes].count(r.name) > 1}
    if doubles:
        raise UsageError(f"the variant {sorted(doubles)[0]!r} is named twice")
    for recipe in recipes:
        if recipe.variant not in runtime.variants:
            others = [r.name for r in profile.runtimes if recipe.variant in r.variants]
            raise PlanError(
                f"{recipe.name}: {runtime.name} {runtime.version} on {profile.name} does not run "
                f"{recipe.variant}; it runs {', '.join(runtime.variants)}",
                hint=f"--runtime {others[0]} does" if others else "name others with --variant",
            )
    twice = {name for name in wish.labels if wish.labels.count(name) > 1}
    if twice:
        raise UsageError(f"the label {min(twice)!r} is given twice")
    source, model = open_model(wish)
    needy = [recipe.name for recipe in recipes if recipe.needs_calibration]
    if needy and wish.calibration is None:
        rest = [f"--variant {r.name}" for r in recipes if not r.needs_calibration]
        raise PlanError(
            f"{' and '.join(needy)} cannot be made without calibration data",
            hint="give typical inputs with --calibration FILE"
            + (f", or leave out what needs them: {' '.join(rest)}" if rest else ""),
        )
    choice = _one_choice([recipe for recipe in recipes if recipe.needs_calibration])
    return Plan(
        wish=wish,
        profile=profile,
        runtime=runtime,
        recipes=recipes,
        source=source,
        model=model,
        calibration=_data(wish.calibration, wish, choice),
        evaluation=_data(wish.evaluation, wish, None),
    )


def _one_choice(recipes: Sequence[Recipe]) -> Calibration:
    """The samples that all of the recipes ask for; ranges are collected once for all.

    Raises:
        PlanError: they ask for different ones.
    """
    for recipe in recipes[1:]:
        if recipe.calibration != recipes[0].calibration:
            raise PlanError(
                f"{recipes[0].name} and {recipe.name} ask for different calibration samples",
                hint="convert them one after the other, or give --samples, --choice and --seed, "
                "which hold for all",
            )
    return recipes[0].calibration if recipes else Calibration()


def _data(reference: str | None, wish: Wish, choice: Calibration | None) -> Step | None:
    if reference is None:
        return None
    return open_data(reference, preprocessing=wish.preprocessing, choice=choice, labels=wish.labels)


def open_model(wish: Wish) -> tuple[Source, Model]:
    """The source that reads the model of `wish`, and the model's handle.

    Raises:
        UsageError: a function is named by its file.
        ModelError: there is nothing there, or no source knows that kind of file.
    """
    reference = wish.model
    if not Path(reference).exists():
        refuse_file(reference)
    for name in SOURCES:
        source: Source = SOURCES[name]()
        if source.accepts(reference):
            return source, source.open(reference, wish.options)
    if not Path(reference).exists():
        raise ModelError(
            f"there is no file or folder {reference!r}",
            hint="a model is a file, a folder, or package.module:function",
        )
    raise ModelError(
        f"{reference!r} is not a kind of model that edgekit reads: "
        ".keras, .h5, a SavedModel folder, or package.module:function"
    )


def _recipe(name: str, wish: Wish) -> Recipe:
    recipe = load_recipe(name)
    if wish.max_drop is not None:
        changed = {**recipe.budget.to_json(), "max_drop": wish.max_drop}
        budget = Budget.from_json(changed, where="the budget")
        recipe = recipe.model_copy(update={"budget": budget})
    if wish.samples is not None:
        said = wish.samples.model_dump(exclude_unset=True)  # the rest stays as the recipe has it
        calibration = recipe.calibration.model_copy(update=said)
        recipe = recipe.model_copy(update={"calibration": calibration})
    return recipe
