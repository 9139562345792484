"""`edgekit convert`: a model in, a build out."""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.core.errors import UsageError
from edgekit.core.recipe import KINDS, Calibration

EPILOG = f"""\b
MODEL
  .keras, .h5, a SavedModel folder
  .pt2, or package.module:function that returns a PyTorch model and example
  inputs, with --weights if they lie apart; or one that returns a Keras model
  .onnx
  .tflite
\b
Variants: [FORMAT-][DELEGATE-]NUMBERS, or a recipe file (.toml)
  FORMAT    nothing for TFLite, pte for ExecuTorch, onnx
  DELEGATE  nothing for the CPU, or what edgekit doctor lists for the format
  NUMBERS   {", ".join(KINDS)}
  as in int8, gpu-float16, pte-int8, pte-vulkan-float16, onnx-float32
\b
Data (--train, --calibration, --evaluate)
  a .npz or .npy file, a folder of images (a folder a class gives labels),
  or package.module:function
\b
Examples:
  edgekit convert model.keras --for raspberry-pi-5 --calibration train.npz
  edgekit convert model.onnx --for host --variant float16 --variant pte-float32
  edgekit convert nets:classifier --weights best.pt --for pixel-9 \\
      --variant gpu-float16 --variant pte-vulkan-float16 --evaluate test.npz
"""


@click.command(name="convert", epilog=EPILOG)
@click.argument("model")
@click.option("--for", "profile", required=True, metavar="BOARD", help="See edgekit devices.")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    metavar="NAME",
    help="Instead of the board's usual ones.",
)
@click.option(
    "--train", "training", metavar="DATA", help="Samples with labels, for a recipe's passes."
)
@click.option("--calibration", metavar="DATA", help="Typical inputs; full INT8 needs them.")
@click.option(
    "--evaluate",
    "evaluation",
    metavar="DATA",
    help="Held-out inputs, with labels if there are some.",
)
@click.option(
    "--preprocess", metavar="TEXT", help="What is done to each input, or a .toml file that says so."
)
@click.option(
    "--labels",
    metavar="FILE",
    help="Names of the classes, one a line, in the model's order.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    metavar="POINTS",
    help="Of the metric, that may be lost: percentage points of a share, else percent. [1.0]",
)
@click.option(
    "--metric",
    metavar="NAME",
    help="What labels are measured by: top1, top5, f1, miou, map, box_map, mse, rmse, wer, or "
    "package.module:function. [top1]",
)
@click.option("--samples", type=click.IntRange(min=1), help="Calibration samples to use. [100]")
@click.option(
    "--choice", type=click.Choice(["spread", "first", "random"]), help="Which ones. [spread]"
)
@click.option("--seed", type=int, help="For --choice random. [0]")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=SIZES",
    help="Fix open dimensions: image=1,224,224,3",
)
@click.option(
    "--dim",
    "dims",
    multiple=True,
    metavar="NAME=SIZE",
    help="Fix a named open dimension: seq=128; or keep it open: seq=16..128",
)
@click.option(
    "--layout",
    type=click.Choice(["nhwc", "nchw"]),
    help="Of the artifact's images, where the model has the other.",
)
@click.option(
    "--raw-pixels",
    is_flag=True,
    help="The artifact takes uint8 pixels; --preprocess's normalize moves into it.",
)
@click.option(
    "--weights",
    metavar="FILE",
    help="A state_dict (.pt, .safetensors) for the PyTorch model that a function makes.",
)
@click.option(
    "--nms",
    metavar="WHERE",
    help="A detector's non-maximum suppression (ONNX models): outside leaves it to the device; "
    "inside:iou=0.5,score=0.25,most=100 gives it outputs of fixed size.",
)
@click.option("--runtime", metavar="NAME", help="One of the board's runtimes; its first otherwise.")
@click.option(
    "--trust-code",
    is_flag=True,
    help="Let code inside the model run (Lambda layers, custom objects, pickles).",
)
@click.option(
    "-o", "--output", metavar="DIR", type=click.Path(path_type=Path), help="[MODEL-BOARD.build]"
)
@click.option("--replace", is_flag=True, help="Also a build of another model in DIR.")
@click.option("--plan", "plan_only", is_flag=True, help="Check and show the plan; do nothing.")
def command(
    model: str,
    profile: str,
    variants: tuple[str, ...],
    training: str | None,
    calibration: str | None,
    evaluation: str | None,
    preprocess: str | None,
    labels: str | None,
    max_drop: float | None,
    metric: str | None,
    samples: int | None,
    choice: str | None,
    seed: int | None,
    shapes: tuple[str, ...],
    dims: tuple[str, ...],
    layout: str | None,
    raw_pixels: bool,
    weights: str | None,
    nms: str | None,
    runtime: str | None,
    trust_code: bool,
    output: Path | None,
    replace: bool,
    plan_only: bool,
) -> None:
    """Convert MODEL into verified artifacts for a kind of board.

    Every artifact is compared with the model, and opened by the board's own runtime. Exit code 6
    says that a variant named here, or every variant, is over its budget or does not load.
    """
    from edgekit.cli.output import StepProgress
    from edgekit.core.model import ModelOptions
    from edgekit.core.preprocess_text import read_preprocessing
    from edgekit.core.preprocessing import Preprocessing
    from edgekit.jobs.convert import check_output, convert, require_usable
    from edgekit.jobs.plan import Wish, data_words, make_plan
    from edgekit.reports.words import moment, plain

    chosen = {"samples": samples, "choice": choice, "seed": seed}
    given = {key: value for key, value in chosen.items() if value is not None}
    wish = Wish(
        model=model,
        profile=profile,
        variants=variants,
        calibration=calibration,
        evaluation=evaluation,
        training=training,
        preprocessing=read_preprocessing(preprocess) if preprocess else Preprocessing(),
        labels=_read_labels(labels) if labels else (),
        max_drop=max_drop,
        metric=metric,
        samples=Calibration.from_json(given) if given else None,
        layout=layout or "",  # type: ignore[arg-type]  # click has checked it
        raw_pixels=raw_pixels,
        options=ModelOptions(
            shapes=dict(_parse_shape(text) for text in shapes),
            dims=dict(_parse_dim(text) for text in dims),
            weights=weights or "",
            trusted=trust_code,
            nms=nms or "",
        ),
        runtime=runtime,
    )
    plan = make_plan(wish)
    target = output or plan.default_output
    runtimes = dict.fromkeys(f"{r.name} {r.version}" for r in plan.runtimes)
    click.echo(
        f"{plain(plan.model.reference)} for {plan.profile.title}, {', '.join(runtimes)}: "
        f"{', '.join(r.name for r in plan.recipes)}",
        err=True,
    )
    older = check_output(target, plan.model, replace=replace)
    if older is not None:
        whose = f"{older.model} for {older.board}" if older.model else "unreadable"
        click.echo(
            plain(f"{target}: the build of {moment(older.created)} ({whose}) is replaced"), err=True
        )
    if plan_only:
        for line in data_words(wish):
            click.echo(plain(line), err=True)
        return
    with StepProgress() as progress:
        build = convert(plan, target, replace=replace, progress=progress)
    from edgekit.cli.report import show

    show(build)
    click.echo(f"build: {plain(str(target))}")
    require_usable(build)


def _parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, sizes = text.partition("=")
    try:
        numbers = tuple(int(size) for size in sizes.replace("x", ",").split(","))
    except ValueError:
        numbers = ()
    if not equals or not name or not numbers or min(numbers) < 1:
        raise UsageError(
            f"--shape {text!r} is not of the form NAME=SIZES", hint="for example image=1,224,224,3"
        )
    return name, numbers


def _parse_dim(text: str) -> tuple[str, tuple[int, int]]:
    name, _, size = text.partition("=")
    least, dots, largest = size.partition("..")
    if not dots:
        largest = least
    numbers = [int(each) for each in (least, largest) if each.isascii() and each.isdecimal()]
    if not name or len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1]:
        raise UsageError(
            f"--dim {text!r} is not of the form NAME=SIZE or NAME=LEAST..LARGEST",
            hint="for example --dim seq=128, or --dim seq=16..128",
        )
    return name, (numbers[0], numbers[1])


def _read_labels(path: str) -> tuple[str, ...]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise UsageError(f"cannot read the labels in {path!r}: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"the labels in {path!r} are not UTF-8 text") from exc
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        label = line.strip()
        if label in lines:
            raise UsageError(
                f"the labels in {path!r}: line {number}, {label!r}, is line {lines[label]} again",
                hint="every class has a name of its own",
            )
        if label:
            lines[label] = number
    if not lines:
        raise UsageError(
            f"the labels in {path!r}: there is no name in it, line 1 is empty",
            hint="write the names of the classes, one a line, in the model's order",
        )
    return tuple(lines)
