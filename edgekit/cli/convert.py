"""`edgekit convert`: a model in, a build out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli.wish_options import read_wish, wish_options
from edgekit.core.recipe import KINDS

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
@wish_options
@click.option(
    "-o", "--output", metavar="DIR", type=click.Path(path_type=Path), help="[MODEL-BOARD.build]"
)
@click.option("--replace", is_flag=True, help="Also a build of another model in DIR.")
@click.option("--plan", "plan_only", is_flag=True, help="Check and show the plan; do nothing.")
def command(
    model: str,
    profile: str,
    variants: tuple[str, ...],
    output: Path | None,
    replace: bool,
    plan_only: bool,
    **given: Any,
) -> None:
    """Convert MODEL into verified artifacts for a kind of board.

    Every artifact is compared with the model, and opened by the board's own runtime. Exit code 6
    says that a variant named here, or every variant, is over its budget or does not load.
    """
    from edgekit.cli.output import StepProgress
    from edgekit.jobs.convert import check_output, convert, require_usable
    from edgekit.jobs.plan import data_words, make_plan
    from edgekit.reports.words import moment, plain

    wish = read_wish(model, profile, variants, given)
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
