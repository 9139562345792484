"""The jobs from Python, with the commands' behaviour; where the CLI exits non-zero, these raise.

    import edgekit

    build = edgekit.convert("model.keras", board="raspberry-pi-5", calibration="train.npz")
    edgekit.profile(build, on="ssh://pi@raspberrypi.local")
    edgekit.bundle(build, output="product/model")

No global state: what is cached and where results go is decided by the environment variables
EDGEKIT_CACHE and EDGEKIT_DATA alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.core.build import Build, load_build
from edgekit.core.description import Description
from edgekit.core.errors import UsageError
from edgekit.core.measurement import MeasureSettings
from edgekit.core.model import ModelOptions
from edgekit.core.preprocess_text import read_preprocessing
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.recipe import Calibration
from edgekit.core.result import Result
from edgekit.core.sensitivity import MOST_SAMPLES, Sensitivity, TechniqueSensitivity
from edgekit.core.tuning import Objective, Tuning
from edgekit.work.steps import Progress

if TYPE_CHECKING:
    from edgekit.bundles import Bundle, Delivery, Manifest
    from edgekit.jobs.doctor import Finding
    from edgekit.jobs.plan import Wish
    from edgekit.jobs.run import Ran
    from edgekit.jobs.tuning_rounds import Watcher

__all__ = [
    "bundle",
    "convert",
    "doctor",
    "inspect",
    "load_build",
    "profile",
    "report",
    "run",
    "sensitivity",
    "technique_sensitivity",
    "tune",
    "verify_bundle",
]


def _silent(*_: object) -> None:
    """Nobody is watching."""


def convert(
    model: str | Path,
    *,
    board: str,
    variants: Sequence[str] = (),
    train: str | Path | None = None,
    calibration: str | Path | None = None,
    evaluate: str | Path | None = None,
    preprocessing: Preprocessing | str | None = None,
    labels: Iterable[str] = (),
    max_drop: float | None = None,
    metric: str | None = None,
    samples: Calibration | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    dims: Mapping[str, int | tuple[int, int]] | None = None,
    layout: Literal["", "nhwc", "nchw"] = "",
    raw_pixels: bool = False,
    weights: str | Path | None = None,
    nms: str = "",
    runtime: str | None = None,
    trust_code: bool = False,
    output: str | Path | None = None,
    replace: bool = False,
    progress: Progress = _silent,
) -> Build:
    """Convert a model into verified artifacts for a kind of board; see ``edgekit convert --help``.

    Args:
        model: a path, or ``package.module:function``.
        board: a name that ``edgekit devices`` lists, or the path of a profile file.
        variants: names or recipe files, instead of the board's usual ones.
        train, calibration, evaluate: a ``.npz`` or ``.npy`` file, a folder of images, or
            ``package.module:function``.
        preprocessing: what is done to each input before the model sees it.
        labels: names of the classes.
        max_drop: what may be lost of the metric: percentage points of a share, else percent.
        metric: what labels are measured by: ``top1``, ``top5``, ``f1``, ``miou``, ``map``, ``mse``,
            ``rmse``, ``wer``, or ``package.module:function``.
        samples: which calibration samples are used.
        shapes: sizes for inputs with open dimensions, by name, batch included.
        dims: sizes for named open dimensions; (least, largest) keeps one open in the artifacts.
        layout: of the artifact's images, where the model has the other.
        raw_pixels: the artifact takes uint8 pixels; the normalisation moves into it.
        weights: a state_dict for the PyTorch model that a function makes.
        nms: non-maximum suppression of an ONNX detector: ``outside`` leaves it to the device,
            ``inside:iou=0.5,score=0.25,most=100`` gives it outputs of fixed size.
        output: the build's folder; ``<model>-<board>.build`` if not given.
        replace: also a build of another model in `output`; an older one of this model always is.
        progress: called with each step and what happens to it, see `edgekit.work.steps.Progress`.

    Raises:
        RejectedError: a named variant, or every variant, cannot be used; the build is kept.
        EdgekitError: anything else; nothing is written.
    """
    from edgekit.jobs.convert import convert as job
    from edgekit.jobs.convert import require_usable
    from edgekit.jobs.plan import make_plan

    wish = _wish(
        model,
        board,
        variants=variants,
        train=train,
        calibration=calibration,
        evaluate=evaluate,
        preprocessing=preprocessing,
        labels=labels,
        max_drop=max_drop,
        metric=metric,
        samples=samples,
        shapes=shapes,
        dims=dims,
        layout=layout,
        raw_pixels=raw_pixels,
        weights=weights,
        nms=nms,
        runtime=runtime,
        trust_code=trust_code,
    )
    plan = make_plan(wish)
    target = Path(output) if output else plan.default_output
    build = job(plan, target, replace=replace, progress=progress)
    require_usable(build)
    return build


def _wish(
    model: str | Path,
    board: str,
    *,
    variants: Sequence[str] = (),
    train: str | Path | None = None,
    calibration: str | Path | None = None,
    evaluate: str | Path | None = None,
    preprocessing: Preprocessing | str | None = None,
    labels: Iterable[str] = (),
    max_drop: float | None = None,
    metric: str | None = None,
    samples: Calibration | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    dims: Mapping[str, int | tuple[int, int]] | None = None,
    layout: Literal["", "nhwc", "nchw"] = "",
    raw_pixels: bool = False,
    weights: str | Path | None = None,
    nms: str = "",
    runtime: str | None = None,
    trust_code: bool = False,
) -> Wish:
    """What `convert` was asked for; see there."""
    from edgekit.jobs.plan import Wish

    if isinstance(preprocessing, str):
        preprocessing = read_preprocessing(preprocessing)
    return Wish(
        model=str(model),
        profile=board,
        variants=tuple(variants),
        calibration=None if calibration is None else str(calibration),
        evaluation=None if evaluate is None else str(evaluate),
        training=None if train is None else str(train),
        preprocessing=preprocessing or Preprocessing(),
        labels=tuple(labels),
        max_drop=max_drop,
        metric=metric,
        samples=samples,
        layout=layout,
        raw_pixels=raw_pixels,
        options=ModelOptions(
            shapes=dict(shapes or {}),
            dims={name: _range(name, size) for name, size in (dims or {}).items()},
            weights=str(weights or ""),
            trusted=trust_code,
            nms=nms,
        ),
        runtime=runtime,
    )


def tune(
    model: str | Path,
    *,
    board: str,
    on: str | None = None,
    minimize: Objective = "latency",
    limits: Mapping[str, float] | None = None,
    spaces: Sequence[str] = (),
    tries: int = 40,
    minutes: float | None = None,
    holdout: str | Path | None = None,
    settings: MeasureSettings | None = None,
    python: str | None = None,
    runner: str | None = None,
    output: str | Path | None = None,
    replace: bool = False,
    watcher: Watcher | None = None,
    **given: Any,
) -> Tuning:
    """Find the recipe for a model that is best within limits; see ``edgekit tune --help``.

    Args:
        on: where candidates are measured; sizes need none.
        minimize: ``latency``, ``energy``, ``memory``, ``size`` or ``zipped``.
        limits: of any of these, by name, in ns, J and bytes.
        spaces: names or files of what may be tried, instead of the usual ones.
        tries, minutes: it ends after so many.
        holdout: data that the last few are judged on.
        settings: how these are measured.
        output: the folder; ``<model>-<board>.tuned`` if not given.
        replace: begin anew where `output` holds another search.
        watcher: who looks on, see `edgekit.jobs.tuning_rounds.Watcher`.
        given: the rest of what `convert` takes, without its variants.

    Raises:
        RejectedError: nothing that was tried fits; what was tried is kept.
        EdgekitError: anything else; the same call goes on from what was tried.
    """
    from edgekit.core.boards import target
    from edgekit.core.tuning import Limits
    from edgekit.jobs.tune import default_output
    from edgekit.jobs.tune import tune as job
    from edgekit.jobs.tuning_rounds import Search

    wish = _wish(model, board, **given)
    search = Search(
        objective=minimize,
        limits=Limits.from_json(dict(limits or {}), where="limits"),
        on=None if on is None else target(on),
        spaces=tuple(spaces),
        tries=tries,
        minutes=minutes,
        holdout=None if holdout is None else str(holdout),
        settings=settings,
        python=python,
        runner=runner,
    )
    folder = Path(output) if output else default_output(wish)
    return job(wish, search, folder, replace=replace, watcher=watcher)


def _range(name: str, size: int | tuple[int, int]) -> tuple[int, int]:
    least, largest = (size, size) if isinstance(size, int) else size
    if not 1 <= least <= largest:
        raise UsageError(
            f"dims: {name!r} cannot be {size!r}",
            hint="give a size or its range, for example dims={'seq': (16, 128)}",
        )
    return least, largest


def _opened(build: Build | str | Path) -> Build:
    return build if isinstance(build, Build) else load_build(Path(build))


def profile(
    build: Build | str | Path,
    *,
    on: str,
    variants: Sequence[str] = (),
    every: bool = False,
    settings: MeasureSettings | None = None,
    python: str | None = None,
    runtime: str | None = None,
    evaluate: str | Path | None = None,
    runner: str | None = None,
    native_program: str | Path | None = None,
    native_library: str | Path | None = None,
    power: str = "auto",
    rate_hz: float = 10.0,
) -> list[Result]:
    """Measure variants of a build on a device; see ``edgekit profile --help``.

    Args:
        build: a build, or the folder of one.
        on: ``local``, ``ssh://[user@]host[:port]``, ``adb:SERIAL``, or a board that
            ``edgekit boards`` lists.
        variants: which; if none is named the accepted one that was measured as the fastest on the
            board, or the one that a rule of thumb takes.
        every: all accepted ones instead.
        settings: how; with as many threads as the board's profile says, if not given.
        python, runtime: what to use there; what is there if not given.
        evaluate: the data that the build was judged on; the board's own answers to it are scored,
            see `edgekit.core.measurement.DeviceAccuracy`. One below its budget does not raise.
        runner: ``python``, ``native``, which needs no Python there, or ``app``, edgekit's on a
            phone; the first where there is a runtime, if not given.
        native_program, native_library: a native runner and a libLiteRt.so of your own for it.
        power: what tells the energy of an inference: ``auto`` for the best that the board has,
            ``off``, or a sensor's name; read `rate_hz` times a second.

    Raises:
        PlanError: a variant cannot run there, as an accelerator's on this computer.
        MismatchError: the board computes something else than this computer.
        DeviceError: it cannot be reached, or something went wrong there.
    """
    from edgekit.jobs.profile import profile as job

    return job(
        _opened(build),
        on=on,
        variants=variants,
        every=every,
        settings=settings,
        python=python,
        runtime=runtime,
        evaluate=None if evaluate is None else str(evaluate),
        runner=runner,
        native_program=str(native_program) if native_program else None,
        native_library=str(native_library) if native_library else None,
        power=power,
        rate_hz=rate_hz,
    )


def run(
    build: Build | str | Path,
    *,
    on: str,
    inputs: Sequence[str | Path],
    variant: str | None = None,
    python: str | None = None,
    runtime: str | None = None,
) -> Ran:
    """What a build answers on a device for inputs of one's own; see ``edgekit run --help``.

    Args:
        build: a build, or the folder of one.
        on: ``local``, ``ssh://[user@]host[:port]``, or a board that ``edgekit boards`` lists.
        inputs: pictures, folders of them, ``.npy``, ``.npz`` and ``.wav`` files.
        variant: which; the one that `profile` would take if it is not named.
        python, runtime: what to use there; what is there if not given.

    Raises:
        DataError: an input is not what the model takes.
        DeviceError: it cannot be reached, is in use, or something went wrong there.
    """
    from edgekit.jobs.run import run as job

    return job(
        _opened(build),
        on=on,
        inputs=[str(each) for each in inputs],
        variant=variant,
        python=python,
        runtime=runtime,
    )


def report(build: Build | str | Path, html: str | Path | None = None) -> dict[str, Any]:
    """What a build is worth and what was measured of it, as plain JSON types.

    Args:
        html: also write the page there.
    """
    from edgekit.jobs.results import results_of
    from edgekit.reports import report_document, write_html

    opened = _opened(build)
    results = results_of(opened)
    if html is not None:
        write_html(opened, Path(html), results)
    return report_document(opened, results)


def bundle(
    build: Build | str | Path,
    *,
    output: str | Path,
    variants: Sequence[str] = (),
    every: bool = False,
    version: str = "0.1.0",
    name: str = "",
    description: str = "",
    licence: str = "",
    maintainer: str = "",
    sign_key: str | Path | None = None,
    sign_certificate: str | Path | None = None,
    target: Literal["folder", "linux", "android", "ios"] = "folder",
    package: str = "",
    classpath: Sequence[str | Path] = (),
    asset_pack: Delivery = "",
) -> Bundle:
    """Make the folder that goes into the product; see ``edgekit bundle --help``.

    Of variants that are not named it takes what `profile` does. `package`, `classpath` and
    `asset_pack` are for Android.

    Raises:
        RejectedError: no variant was accepted, and none was named.
        OutputError: `output` cannot be written, or something else is there.
    """
    from edgekit.bundles import About, Signer
    from edgekit.jobs.bundle import bundle as job

    if sign_certificate is not None and sign_key is None:
        raise UsageError("a certificate signs nothing without its key: give sign_key, too")
    signer = None
    if sign_key is not None:
        signer = Signer(Path(sign_key), Path(sign_certificate) if sign_certificate else None)
    return job(
        _opened(build),
        Path(output),
        variants=variants,
        every=every,
        about=About(name, version, description, licence, maintainer),
        signer=signer,
        target=target,
        package=package,
        classpath=[Path(each) for each in classpath],
        asset_pack=asset_pack,
    )


def inspect(
    file: str | Path,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    trust_code: bool = False,
) -> Description:
    """What is in a model file: a ``.tflite``, ``.pte``, ``.onnx``, ``.keras``, ``.pt2``, ….

    Args:
        shapes: sizes for open dimensions of a Keras model's inputs, by name, batch included.
        trust_code: whether code inside a Keras model may run.

    Raises:
        InputError: it is of no known format, damaged or truncated.
    """
    from edgekit.jobs.inspect import inspect as job

    return job(str(file), ModelOptions(shapes=dict(shapes or {}), trusted=trust_code))


def sensitivity(
    model: str | Path,
    *,
    board: str,
    variant: str = "int8",
    calibration: str | Path | None = None,
    evaluate: str | Path | None = None,
    preprocessing: Preprocessing | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    weights: str | Path | None = None,
    trust_code: bool = False,
) -> Sensitivity:
    """What quantizing each layer alone costs; see ``edgekit sensitivity --help``.

    Raises:
        PlanError: it cannot be measured for that variant.
    """
    from edgekit.jobs.plan import Wish
    from edgekit.jobs.sensitivity import sensitivity as job

    return job(
        Wish(
            model=str(model),
            profile=board,
            variants=(variant,),
            calibration=None if calibration is None else str(calibration),
            evaluation=None if evaluate is None else str(evaluate),
            preprocessing=preprocessing or Preprocessing(),
            options=ModelOptions(
                shapes=dict(shapes or {}), weights=str(weights or ""), trusted=trust_code
            ),
        )
    )


def technique_sensitivity(
    model: str | Path,
    techniques: Sequence[str] = ("prune",),
    *,
    calibration: str | Path | None = None,
    evaluate: str | Path | None = None,
    samples: int = MOST_SAMPLES,
    preprocessing: Preprocessing | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    weights: str | Path | None = None,
    trust_code: bool = False,
) -> list[TechniqueSensitivity]:
    """What pruning, clustering, … each layer alone costs; see ``edgekit sensitivity --help``.

    Args:
        techniques: names of passes of a recipe.
        samples: that outputs are compared on, at most.

    Raises:
        UnknownNameError: there is no such technique, or it has nothing to measure.
        PlanError: the model cannot be changed.
    """
    from edgekit.jobs.plan import Wish
    from edgekit.jobs.sensitivity import technique_sensitivity as job

    return job(
        Wish(
            model=str(model),
            profile="host",
            calibration=None if calibration is None else str(calibration),
            evaluation=None if evaluate is None else str(evaluate),
            preprocessing=preprocessing or Preprocessing(),
            options=ModelOptions(
                shapes=dict(shapes or {}), weights=str(weights or ""), trusted=trust_code
            ),
        ),
        techniques,
        most=samples,
    )


def verify_bundle(
    bundle: str | Path,
    *,
    digest: str = "",
    public_key: str | Path | None = None,
    certificate_chain: Sequence[str | Path] = (),
) -> Manifest:
    """The manifest of the bundle in that folder, if the bundle is what it says.

    Args:
        digest: the manifest's SHA-256, as `edgekit bundle` printed it.
        public_key: PEM; the bundle has to be signed with its private key.
        certificate_chain: PEM files of the authorities whose certificates may have signed it.

    Raises:
        IntegrityError: a file was changed, is missing, or is there in excess; or the signature
            that was asked for is not there, or not by that key or authority.
    """
    from edgekit.bundles import Trust
    from edgekit.bundles import verify_bundle as check

    trust = Trust(
        Path(public_key) if public_key else None, tuple(Path(each) for each in certificate_chain)
    )
    manifest = check(Path(bundle), digest=digest, trust=trust).manifest
    assert manifest is not None  # it raises otherwise
    return manifest


def doctor() -> list[Finding]:
    """What this computer can convert with and run, what is missing and how to get it."""
    from edgekit.jobs.doctor import examine

    return examine()
