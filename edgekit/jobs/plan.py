"""The plan: what was asked for, found possible before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.compress import check_passes, technique
from edgekit.core.errors import ModelError, PlanError, UnknownNameError, UsageError
from edgekit.core.fold import fold
from edgekit.core.model import InputForm, Layout, Model, ModelOptions
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.profile import DeviceProfile, Runtime, load_profile
from edgekit.core.quantize import choices_for, refusal
from edgekit.core.recipe import KINDS, USUAL_DELEGATE, Budget, Calibration, Recipe, load_recipe
from edgekit.core.registry import refuse_file
from edgekit.data import look, open_data
from edgekit.export.delegates import DELEGATES
from edgekit.jobs.latency import check_timed
from edgekit.sources import SOURCES
from edgekit.verify.metrics import metric_named
from edgekit.work.protocols import Delegate, Source
from edgekit.work.requirements import missing
from edgekit.work.steps import Step


@dataclass(frozen=True)
class Wish:
    """What the user asked for, as typed; a search asks for recipes of its own as variants."""

    model: str
    profile: str
    variants: Sequence[str | Recipe] = ()
    calibration: str | None = None
    evaluation: str | None = None
    training: str | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    layout: Layout = ""
    raw_pixels: bool = False
    labels: tuple[str, ...] = ()
    max_drop: float | None = None
    metric: str | None = None
    samples: Calibration | None = None
    options: ModelOptions = field(default_factory=ModelOptions)
    runtime: str | None = None


@dataclass(frozen=True)
class Plan:
    """A wish that was found possible, before any work."""

    wish: Wish
    profile: DeviceProfile
    recipes: tuple[Recipe, ...]
    runtimes: tuple[Runtime, ...]  # one a recipe: what shall open it on the board
    source: Source
    model: Model
    preprocessing: Preprocessing  # what is left of the wish's, the rest is in the artifact
    calibration: Step | None
    evaluation: Step | None
    training: Step | None = None
    choice: Calibration = field(default_factory=Calibration)  # of the calibration samples
    targets: bool = False  # see `_targets`
    opener: str = ""  # how the source gives a model that passes can change; see `LiveModel`

    def runtime(self, recipe: Recipe) -> Runtime:
        """What shall open that recipe's artifact on the board."""
        return self.runtimes[self.recipes.index(recipe)]

    @property
    def default_output(self) -> Path:
        return Path(f"{self.model.name}-{self.profile.name}.build")


def make_plan(wish: Wish, like: Plan | None = None) -> Plan:
    """Check all that can be known without running anything heavy.

    Args:
        like: a plan for the same model and data with other variants: what it has opened, whose
            content is part of the plan, is not read again.

    Raises:
        UsageError: a name or a value is not right as written.
        ModelError: the model cannot be used.
        DataError: there is no such data.
        PlanError: this board cannot run what was asked, or calibration data is missing.
    """
    profile = load_profile(wish.profile)
    only = profile.runtime_named(wish.runtime) if wish.runtime else None
    recipes = tuple(
        _for_board(_recipe(name, wish), profile) for name in wish.variants or profile.variants
    )
    doubles = {r.name for r in recipes if [x.name for x in recipes].count(r.name) > 1}
    if doubles:
        raise UsageError(f"the variant {sorted(doubles)[0]!r} is named twice")
    for recipe in recipes:
        _check_name(recipe)
    runtimes = tuple(_runtime(recipe, profile, only) for recipe in recipes)
    for recipe in recipes:
        _check_delegate(recipe, profile)
        _check_ranges(recipe, wish.options)
    twice = {name for name in wish.labels if wish.labels.count(name) > 1}
    if twice:
        raise UsageError(f"the label {min(twice)!r} is given twice")
    source, model, preprocessing = (
        open_model(wish) if like is None else (like.source, like.model, like.preprocessing)
    )
    opener = _check_passes(recipes, wish, source, model)
    needy = [recipe.name for recipe in recipes if recipe.needs_calibration]
    if needy and wish.calibration is None:
        rest = [f"--variant {r.name}" for r in recipes if not r.needs_calibration]
        raise PlanError(
            f"{' and '.join(needy)} cannot be made without calibration data",
            hint="give typical inputs with --calibration FILE"
            + (f", or leave out what needs them: {' '.join(rest)}" if rest else ""),
        )
    targets = _targets(recipes)
    measured = [r.budget.metric for r in recipes if r.budget.metric != Budget().metric]
    if measured and wish.calibration is None and wish.evaluation is None:
        raise PlanError(
            f"the metric {measured[0]} needs data with labels or targets",
            hint="give it with --evaluate FILE",
        )
    choice = _one_choice([recipe for recipe in recipes if recipe.needs_calibration])
    if like is not None and not needy:
        choice = like.choice  # which samples nobody calibrates with is all the same

    def data(kind: str, reference: str | None, chosen: Calibration | None) -> Step | None:
        known: Step | None = getattr(like, kind, None)
        if like is not None and known is not None and reference is not None:
            same = getattr(like.wish, kind) == reference and like.targets == targets
            if same and (chosen is None or like.choice == chosen):
                return known
        return _data(reference, preprocessing, wish, chosen, targets)

    return Plan(
        wish=wish,
        profile=profile,
        recipes=recipes,
        runtimes=runtimes,
        source=source,
        model=model,
        preprocessing=preprocessing,
        calibration=data("calibration", wish.calibration, choice),
        evaluation=data("evaluation", wish.evaluation, None),
        training=data("training", wish.training, None),
        choice=choice,
        targets=targets,
        opener=opener,
    )


def plan_for_model(wish: Wish, what: str) -> Plan:
    """A plan without recipes: for what is done to the model itself.

    Raises:
        UsageError, ModelError, DataError: see `make_plan`.
        PlanError: the model cannot be changed; says for `what`.
    """
    source, model, preprocessing = open_model(wish)
    return Plan(
        wish=wish,
        profile=load_profile("host"),
        recipes=(),
        runtimes=(),
        source=source,
        model=model,
        preprocessing=preprocessing,
        calibration=_data(wish.calibration, preprocessing, wish, None, False),
        evaluation=_data(wish.evaluation, preprocessing, wish, None, False),
        opener=_opener(source, model, what),
    )


def data_words(wish: Wish) -> list[str]:
    """What is in the data of `wish`, a line each, as far as that is known at once.

    For a plan that is not carried out: otherwise the first steps read it all.

    Raises:
        DataError, UsageError: see `edgekit.data.look`.
    """
    given = {
        "--train": wish.training,
        "--calibration": wish.calibration,
        "--evaluate": wish.evaluation,
    }
    return [f"{option} {name}: {look(name)}" for option, name in given.items() if name]


def _for_board(recipe: Recipe, profile: DeviceProfile) -> Recipe:
    """With what the board's accelerator is told where the recipe leaves it open."""
    accelerator = profile.accelerator(recipe)
    if accelerator is None:
        return recipe
    return recipe.model_copy(update={"options": {**accelerator.options, **recipe.options}})


def _runtime(recipe: Recipe, profile: DeviceProfile, only: Runtime | None) -> Runtime:
    """The board's runtime for that recipe's artifact: the first that runs it.

    Raises:
        PlanError: none does, or `only` does not.
    """
    readers = [r for r in profile.runtimes if recipe.format in r.formats]
    asked = [only] if only in readers else readers
    for runtime in asked:
        if runtime is not None and (_runs(recipe, runtime) or _as_it_is(recipe)):
            return runtime
    others = [r.name for r in readers if _runs(recipe, r)]
    known = [r for r in asked if r is not None]
    if not known:
        formats = sorted({name for r in profile.runtimes for name in r.formats})
        raise PlanError(
            f"{recipe.name}: {profile.name} has no runtime for {recipe.format} files; "
            f"it has them for {', '.join(formats)}",
            hint=f"edgekit devices {profile.name} lists what runs there",
        )
    four = " with 4-bit weights" if _has_4_bits(recipe) and recipe.kind != "int4" else ""
    runs = ", ".join(dict.fromkeys(name for r in known for name in r.variants))
    raise PlanError(
        f"{recipe.name}: {' and '.join(f'{r.name} {r.version}' for r in known)} on {profile.name} "
        f"{'does' if len(known) == 1 else 'do'} not run {recipe.variant}"
        f"{four}, but {runs}",
        hint=f"--runtime {others[0]} does" if others else "name others with --variant",
    )


def _runs(recipe: Recipe, runtime: Runtime) -> bool:
    """Whether a profile lists it; where 4-bit weights run is told by int4 being listed."""
    fits = "int4" in runtime.variants or not _has_4_bits(recipe)
    return recipe.variant in runtime.variants and fits


def _has_4_bits(recipe: Recipe) -> bool:
    return recipe.weight_bits == 4 or "int4" in recipe.quantize.numbers.values()


def _as_it_is(recipe: Recipe) -> bool:
    """Whether the model is taken as the artifact; only loading it tells what it needs."""
    usual = recipe.delegate == USUAL_DELEGATE[recipe.format]
    return recipe.quantization == "original" and usual


def _check_name(recipe: Recipe) -> None:
    """Raise UnknownNameError if there is no such delegate."""
    names = [name for name in DELEGATES if name.startswith(f"{recipe.format}/")]
    if f"{recipe.format}/{recipe.delegate}" not in names:
        known = [name.partition("/")[2] for name in names]
        raise UnknownNameError(f"delegate for {recipe.format}", recipe.delegate, known)


def _check_delegate(recipe: Recipe, profile: DeviceProfile) -> None:
    """The delegate computes in these numbers, and its compiler is here.

    Raises:
        PlanError: one of these is not so.
    """
    delegate: Delegate = DELEGATES[f"{recipe.format}/{recipe.delegate}"]()
    if recipe.quantization not in delegate.quantizations and recipe.quantization != "original":
        kinds = [k for k, (q, _, _) in KINDS.items() if q in delegate.quantizations]
        raise PlanError(
            f"{recipe.name}: {delegate.title} does not compute in {recipe.kind}; "
            f"it does in {', '.join(kinds)}",
            hint="name one of these in the variant",
        )
    known = choices_for(delegate.choices, recipe.quantization)
    if reason := refusal(recipe.quantize, recipe.weight_bits, known):
        raise PlanError(
            f"{recipe.name}: {delegate.title} in {recipe.kind} {reason}",
            hint="change [quantize] in the recipe",
        )
    # One that has a compiler of each maker's needs only that of the chip it is for.
    required = getattr(delegate, "required", None)
    for requirement in required(recipe) if required else delegate.requirements:
        reason = missing(requirement)
        if reason:
            raise PlanError(
                f"{recipe.name}: {delegate.title} needs {requirement}: {reason}",
                hint=requirement.how,
            )


def _check_passes(recipes: Sequence[Recipe], wish: Wish, source: Source, model: Model) -> str:
    """How the source gives a model that passes can change; empty where no recipe has passes.

    Raises:
        UsageError: a pass is not right as written, or nothing would use the training data.
        PlanError: this model cannot be changed, a pass cannot follow another, data is missing.
    """
    changed = [recipe for recipe in recipes if recipe.passes]
    if not changed:
        if wish.training is not None:
            raise UsageError(
                "--train is for recipes with [[passes]]; none of these has any",
                hint="name such a recipe with --variant FILE.toml",
            )
        return ""
    way = _opener(source, model, changed[0].name)
    for recipe in changed:
        check_passes(recipe, model.framework)
        for spec in recipe.passes:
            check_timed(recipe, technique(spec, recipe.name), spec.name)
        trained = [s.name for s in recipe.passes if technique(s, recipe.name).trains]
        if trained and wish.training is None:
            raise PlanError(
                f"{recipe.name}: {trained[0]} trains, and there is nothing to train on",
                hint="give samples with labels with --train DATA, or write epochs = 0 in the pass",
            )
        selecting = [s.name for s in recipe.passes if technique(s, recipe.name).selects]
        if selecting and wish.training is None:
            raise PlanError(
                f"{recipe.name}: {selecting[0]} finds out on training samples what each layer gets",
                hint="give samples with labels with --train DATA, or say it yourself",
            )
        if wish.evaluation is None:
            raise PlanError(
                f"{recipe.name}: what its passes cost is told by samples that they were not "
                "trained on",
                hint="give some, with labels, with --evaluate DATA",
            )
    return way


def _opener(source: Source, model: Model, what: str) -> str:
    """How the source gives a model that can be changed.

    Raises:
        PlanError: it cannot; says for `what`.
    """
    opener = getattr(source, "opener", None)
    if opener is None:
        raise PlanError(
            f"{what}: passes cannot change {model.reference!r}, which is {model.framework}",
            hint="give the Keras or PyTorch model that it was made from",
        )
    way: str = opener(model)
    return way


def _check_ranges(recipe: Recipe, options: ModelOptions) -> None:
    """Raise PlanError if a dimension shall stay open and the delegate's compiler fixes sizes."""
    delegate: Delegate = DELEGATES[f"{recipe.format}/{recipe.delegate}"]()
    if not options.ranges or getattr(delegate, "open_sizes", False):
        return
    name, (least, largest) = min(options.ranges.items())
    raise PlanError(
        f"{recipe.name}: {delegate.title} takes one size of each input; --dim "
        f"{name}={least}..{largest} leaves one open",
        hint=f"give --dim {name}={largest}, or take what the CPU computes: float32, pte-float32, "
        "onnx-float32, …",
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


def _targets(recipes: Sequence[Recipe]) -> bool:
    """Whether the labels are read as targets of any kind, for the recipes' metrics; else as class
    numbers. They are read once for all.

    Raises:
        UsageError: there is no such metric.
        PlanError: some metrics need the one and some the other.
    """
    found = {metric_named(recipe.budget.metric).targets: recipe for recipe in recipes}
    if len(found) > 1:
        first, second = found["classes"], found["values"]
        raise PlanError(
            f"{first.name} is measured by {first.budget.metric}, which takes class labels, "
            f"{second.name} by {second.budget.metric}, which takes other targets",
            hint="convert them one after the other, or give --metric NAME, which holds for all",
        )
    return "values" in found


def _data(
    reference: str | None,
    preprocessing: Preprocessing,
    wish: Wish,
    choice: Calibration | None,
    targets: bool,
) -> Step | None:
    if reference is None:
        return None
    return open_data(
        reference,
        preprocessing=preprocessing,
        choice=choice,
        labels=wish.labels,
        targets=targets,
    )


# The layout of images in models of a framework, where it has one.
NATIVE_LAYOUT: dict[str, Layout] = {"keras": "nhwc", "torch": "nchw", "onnx": "nchw"}


def open_model(wish: Wish) -> tuple[Source, Model, Preprocessing]:
    """The source that reads the model of `wish`, the model's handle, and what preprocessing is left
    to do before the artifact.

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
            layout: Layout = "" if wish.layout == NATIVE_LAYOUT.get(name) else wish.layout
            left, form = fold(wish.preprocessing, layout=layout, raw_pixels=wish.raw_pixels)
            options = wish.options
            if form != InputForm():
                options = options.model_copy(update={"forms": {"": form, **options.forms}})
            return source, source.open(reference, options), left
    if not Path(reference).exists():
        raise ModelError(
            f"there is no file or folder {reference!r}",
            hint="a model is a file, a folder, or package.module:function",
        )
    raise ModelError(
        f"{reference!r} is not a kind of model that edgekit reads: "
        ".keras, .h5, a SavedModel folder, .pt2, .pt, .onnx, .tflite, or package.module:function"
    )


def _recipe(name: str | Recipe, wish: Wish) -> Recipe:
    recipe = load_recipe(name) if isinstance(name, str) else name
    said = {"max_drop": wish.max_drop, "metric": wish.metric}
    changed = {key: value for key, value in said.items() if value is not None}
    if changed:
        budget = Budget.from_json({**recipe.budget.to_json(), **changed}, where="the budget")
        recipe = recipe.model_copy(update={"budget": budget})
    if wish.samples is not None:
        given = wish.samples.model_dump(exclude_unset=True)  # the rest stays as the recipe has it
        calibration = recipe.calibration.model_copy(update=given)
        recipe = recipe.model_copy(update={"calibration": calibration})
    return recipe
