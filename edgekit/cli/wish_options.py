"""Options that say which model, and with what data it is made and judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edgekit.core.errors import UsageError

if TYPE_CHECKING:
    from edgekit.jobs.plan import Wish

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--train", "training", metavar="DATA", help="Samples with labels, for a recipe's passes."
    ),
    click.option("--calibration", metavar="DATA", help="Typical inputs; full INT8 needs them."),
    click.option(
        "--evaluate",
        "evaluation",
        metavar="DATA",
        help="Held-out inputs, with labels if there are some.",
    ),
    click.option(
        "--preprocess",
        metavar="TEXT",
        help="What is done to each input, or a .toml file that says so.",
    ),
    click.option(
        "--labels",
        metavar="FILE",
        help="Names of the classes, one a line, in the model's order.",
    ),
    click.option(
        "--max-drop",
        type=click.FloatRange(min=0),
        metavar="POINTS",
        help="Of the metric, that may be lost: percentage points of a share, else percent. [1.0]",
    ),
    click.option(
        "--metric",
        metavar="NAME",
        help="What labels are measured by: top1, top5, f1, miou, map, box_map, mse, rmse, wer, or "
        "package.module:function. [top1]",
    ),
    click.option("--samples", type=click.IntRange(min=1), help="Calibration samples to use. [100]"),
    click.option(
        "--choice", type=click.Choice(["spread", "first", "random"]), help="Which ones. [spread]"
    ),
    click.option("--seed", type=int, help="For --choice random. [0]"),
    click.option(
        "--shape",
        "shapes",
        multiple=True,
        metavar="NAME=SIZES",
        help="Fix open dimensions: image=1,224,224,3",
    ),
    click.option(
        "--dim",
        "dims",
        multiple=True,
        metavar="NAME=SIZE",
        help="Fix a named open dimension: seq=128; or keep it open: seq=16..128",
    ),
    click.option(
        "--layout",
        type=click.Choice(["nhwc", "nchw"]),
        help="Of the artifact's images, where the model has the other.",
    ),
    click.option(
        "--raw-pixels",
        is_flag=True,
        help="The artifact takes uint8 pixels; --preprocess's normalize moves into it.",
    ),
    click.option(
        "--weights",
        metavar="FILE",
        help="A state_dict (.pt, .safetensors) for the PyTorch model that a function makes.",
    ),
    click.option(
        "--nms",
        metavar="WHERE",
        help="A detector's non-maximum suppression (ONNX models): outside leaves it to the device; "
        "inside:iou=0.5,score=0.25,most=100 gives it outputs of fixed size.",
    ),
    click.option(
        "--runtime", metavar="NAME", help="One of the board's runtimes; its first otherwise."
    ),
    click.option(
        "--trust-code",
        is_flag=True,
        help="Let code inside the model run (Lambda layers, custom objects, pickles).",
    ),
)


def wish_options(command: Command) -> Command:
    """All of `OPTIONS`; what they are given goes to `read_wish`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def read_wish(model: str, profile: str, variants: Sequence[str], given: dict[str, Any]) -> Wish:
    """What was asked for.

    Args:
        given: the values of `OPTIONS`, by name.

    Raises:
        UsageError: one is not right as written.
    """
    from edgekit.core.model import ModelOptions
    from edgekit.core.preprocess_text import read_preprocessing
    from edgekit.core.preprocessing import Preprocessing
    from edgekit.core.recipe import Calibration
    from edgekit.jobs.plan import Wish

    names = ("samples", "choice", "seed")
    chosen = {name: given[name] for name in names if given[name] is not None}
    preprocess, labels = given["preprocess"], given["labels"]
    return Wish(
        model=model,
        profile=profile,
        variants=tuple(variants),
        calibration=given["calibration"],
        evaluation=given["evaluation"],
        training=given["training"],
        preprocessing=read_preprocessing(preprocess) if preprocess else Preprocessing(),
        labels=_read_labels(labels) if labels else (),
        max_drop=given["max_drop"],
        metric=given["metric"],
        samples=Calibration.from_json(chosen) if chosen else None,
        layout=given["layout"] or "",
        raw_pixels=given["raw_pixels"],
        options=ModelOptions(
            shapes=dict(parse_shape(text) for text in given["shapes"]),
            dims=dict(_parse_dim(text) for text in given["dims"]),
            weights=given["weights"] or "",
            trusted=given["trust_code"],
            nms=given["nms"] or "",
        ),
        runtime=given["runtime"],
    )


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
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
