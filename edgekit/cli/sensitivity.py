"""`edgekit sensitivity`: which layers does quantization cost the most?"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="sensitivity")
@click.argument("model")
@click.option("--for", "profile", required=True, metavar="BOARD", help="See edgekit devices.")
@click.option(
    "--variant", metavar="NAME", default="int8", help="What to measure; a recipe file, too. [int8]"
)
@click.option("--calibration", metavar="DATA", help="Typical inputs; full INT8 needs them.")
@click.option("--evaluate", "evaluation", metavar="DATA", help="What it is measured on.")
@click.option("--preprocess", metavar="TEXT", help="What is done to each input.")
@click.option("--shape", "shapes", multiple=True, metavar="NAME=SIZES", help="Fix open dimensions.")
@click.option("--weights", metavar="FILE", help="A state_dict for a PyTorch model by a function.")
@click.option("--trust-code", is_flag=True, help="Let code inside the model run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: all that was measured.")
@click.option(
    "--html", "page", metavar="FILE", type=click.Path(path_type=Path), help="Write a page."
)
def command(
    model: str,
    profile: str,
    variant: str,
    calibration: str | None,
    evaluation: str | None,
    preprocess: str | None,
    shapes: tuple[str, ...],
    weights: str | None,
    trust_code: bool,
    as_json: bool,
    page: Path | None,
) -> None:
    """Measure what quantizing each layer alone costs.

    Each layer is quantized while all others stay in float, and run: its cost in signal-to-noise
    (and accuracy, where --evaluate has labels), and what it saves. The layers at the top are those
    to leave in float with a recipe's [quantize] float = ["NAME"].
    """
    from edgekit.cli.convert import _parse_shape
    from edgekit.cli.output import StepProgress
    from edgekit.core.model import ModelOptions
    from edgekit.core.preprocess_text import read_preprocessing
    from edgekit.core.preprocessing import Preprocessing
    from edgekit.jobs.plan import Wish
    from edgekit.jobs.sensitivity import sensitivity
    from edgekit.reports.sensitivity import print_sensitivity, write_sensitivity

    wish = Wish(
        model=model,
        profile=profile,
        variants=(variant,),
        calibration=calibration,
        evaluation=evaluation,
        preprocessing=read_preprocessing(preprocess) if preprocess else Preprocessing(),
        options=ModelOptions(
            shapes=dict(_parse_shape(text) for text in shapes),
            weights=weights or "",
            trusted=trust_code,
        ),
    )
    with StepProgress(summary=False) as progress:
        found = sensitivity(wish, progress=progress)
    if page is not None:
        write_sensitivity(found, page)
    if as_json:
        import json

        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        print_sensitivity(found)
