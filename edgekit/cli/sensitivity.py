"""`edgekit sensitivity`: which layers does quantization, or pruning, cost the most?"""

from __future__ import annotations

from pathlib import Path

import click

QUANTIZE = "quantize"  # what is measured where no technique is named


@click.command(name="sensitivity")
@click.argument("model")
@click.option(
    "--for", "profile", metavar="BOARD", help="See edgekit devices; for quantization alone."
)
@click.option(
    "--technique",
    "techniques",
    multiple=True,
    metavar="NAME",
    help="quantize, prune, cluster, …; as often as you like. [quantize]",
)
@click.option(
    "--variant", metavar="NAME", default="int8", help="What to measure; a recipe file, too. [int8]"
)
@click.option("--calibration", metavar="DATA", help="Typical inputs; full INT8 needs them.")
@click.option("--evaluate", "evaluation", metavar="DATA", help="What it is measured on.")
@click.option(
    "--samples", "most", type=click.IntRange(min=1), metavar="N", help="At most so many. [128]"
)
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
    profile: str | None,
    techniques: tuple[str, ...],
    variant: str,
    calibration: str | None,
    evaluation: str | None,
    most: int | None,
    preprocess: str | None,
    shapes: tuple[str, ...],
    weights: str | None,
    trust_code: bool,
    as_json: bool,
    page: Path | None,
) -> None:
    """Measure what changing each layer alone costs.

    Each layer is quantized while all others stay in float, and run: its cost in signal-to-noise
    (and accuracy, where --evaluate has labels), and what it saves. The layers at the top are those
    to leave in float with a recipe's [quantize] float = ["NAME"].

    With --technique prune, cluster or another one, each layer alone is pruned or clustered at
    several strengths, and nothing is trained: the layers at the top are those to spare with the
    pass's exclude = ["NAME"].
    """
    from edgekit.cli.output import StepProgress
    from edgekit.cli.wish_options import parse_shape
    from edgekit.core.model import ModelOptions
    from edgekit.core.preprocess_text import read_preprocessing
    from edgekit.core.preprocessing import Preprocessing
    from edgekit.core.sensitivity import MOST_SAMPLES, Sensitivity, TechniqueSensitivity
    from edgekit.jobs.plan import Wish
    from edgekit.jobs.sensitivity import sensitivity, technique_sensitivity
    from edgekit.reports.sensitivity import print_sensitivity, write_sensitivity
    from edgekit.reports.techniques import print_technique

    others = [name for name in dict.fromkeys(techniques) if name != QUANTIZE]
    quantizes = QUANTIZE in techniques or not techniques
    if quantizes and profile is None:
        raise click.UsageError("Missing option '--for': quantization is measured for a board.")
    wish = Wish(
        model=model,
        profile=profile or "host",
        variants=(variant,),
        calibration=calibration,
        evaluation=evaluation,
        preprocessing=read_preprocessing(preprocess) if preprocess else Preprocessing(),
        options=ModelOptions(
            shapes=dict(parse_shape(text) for text in shapes),
            weights=weights or "",
            trusted=trust_code,
        ),
    )
    most = most or MOST_SAMPLES
    found: list[Sensitivity | TechniqueSensitivity] = []
    with StepProgress(summary=False) as progress:
        if others:
            found += technique_sensitivity(wish, others, most=most, progress=progress)
        if quantizes:
            found.insert(0, sensitivity(wish, most=most, progress=progress))
    if page is not None:
        write_sensitivity(found, page)
    if as_json:
        import json

        said = {
            e.technique if isinstance(e, TechniqueSensitivity) else QUANTIZE: e.to_json()
            for e in found
        }
        click.echo(json.dumps(said if techniques else said[QUANTIZE], indent=2))
        return
    for each in found:
        if isinstance(each, TechniqueSensitivity):
            print_technique(each)
        else:
            print_sensitivity(each)
