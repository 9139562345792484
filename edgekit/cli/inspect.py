"""`edgekit inspect`: what is in a model file?"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="inspect")
@click.argument("file")
@click.option("--all", "every", is_flag=True, help="Every operator, layer and line, however many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: all that is known.")
@click.option("--trust-code", is_flag=True, help="Let code run that is inside a Keras model.")
def command(file: str, every: bool, as_json: bool, trust_code: bool) -> None:
    """Show what is in a model file.

    FILE is a .tflite, .pte, .onnx, .keras, .h5 or .pt2 file, or a SavedModel folder. Shown are its
    inputs and outputs, its operators and where they run, its size, its arithmetic and what it says
    of itself. Nothing in it is run; a second look at the same file is remembered.
    """
    from edgekit.cli.output import StepProgress
    from edgekit.jobs.inspect import inspect
    from edgekit.reports.inspection import inspection_document, print_inspection

    name = Path(file).name or file
    with StepProgress(summary=False) as progress:
        description = inspect(file, trust_code=trust_code, progress=progress)
    if as_json:
        import json

        click.echo(json.dumps(inspection_document(description, name), indent=2))
    else:
        print_inspection(description, name, every=every)
