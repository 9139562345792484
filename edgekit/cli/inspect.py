"""`edgekit inspect`: what is in a model file?"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="inspect")
@click.argument("file")
@click.option("--all", "every", is_flag=True, help="Every operator, layer and line, however many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: all that is known.")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=SIZES",
    help="Fix open dimensions of a Keras model: image=1,224,224,3",
)
@click.option("--trust-code", is_flag=True, help="Let code run that is inside a Keras model.")
def command(
    file: str, every: bool, as_json: bool, shapes: tuple[str, ...], trust_code: bool
) -> None:
    """Show what is in a model file.

    FILE is a .tflite, .pte, .onnx, .keras, .h5 or .pt2 file, or a SavedModel folder. Shown are its
    inputs and outputs, its operators and where they run, its size, its arithmetic and what it says
    of itself. Nothing in it is run; a second look at the same file is remembered.
    """
    from edgekit.cli.output import StepProgress
    from edgekit.cli.wish_options import parse_shape
    from edgekit.core.model import ModelOptions
    from edgekit.jobs.inspect import inspect
    from edgekit.reports.inspection import inspection_document, print_inspection

    name = Path(file).name or file
    given = ModelOptions(
        shapes=dict(parse_shape(text) for text in shapes),
        trusted=trust_code,
    )
    with StepProgress(summary=False) as progress:
        description = inspect(file, given, progress=progress)
    if as_json:
        import json

        click.echo(json.dumps(inspection_document(description, name), indent=2))
    else:
        print_inspection(description, name, every=every)
