"""`edgekit run`: what a board answers for inputs of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.runner_options import runner_options

if TYPE_CHECKING:
    from edgekit.jobs.run import Guess, Ran

EPILOG = """\b
Examples:
  edgekit run build --on local --input cat.jpg
  edgekit run build --on ssh://pi@raspberrypi.local --input photos --variant int8
  edgekit run build --on ssh://pi --input sample.npy --save answers.npz
"""
IN_FULL = 10  # inputs; of more only the best class is told, a line each
FIRST = 6  # values of a tensor
IN_JSON = 10_000  # values of one sample's output


@click.command(name="run", epilog=EPILOG)
@click.argument("build", type=click.Path(path_type=Path))
@click.option(
    "--on",
    "on",
    required=True,
    multiple=True,
    metavar="DEVICE",
    help="local, ssh://[user@]host[:port], adb:SERIAL, or a board of yours (edgekit boards).",
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    required=True,
    metavar="FILE",
    help="A picture, .npy, .npz, .wav, or a folder of pictures; as often as you like.",
)
@click.option("--variant", metavar="NAME", help="Which; the fastest measured one, or INT8.")
@click.option(
    "--save",
    metavar="FILE.npz",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Keep the outputs as the artifact gives them, an array an output.",
)
@click.option("--threads", type=click.IntRange(min=1), help="[as many as the board's profile says]")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=1),
    default=600.0,
    help="For one launch. [600]",
)
@runner_options("python, native (needs no Python), or app (on a phone). [the first that runs it]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the outputs' values.")
def command(
    build: Path,
    on: tuple[str, ...],
    inputs: tuple[str, ...],
    save: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run inputs of your own through a build on a board, and show what it answers.

    The build's preprocessing is applied here, the rest happens there. Several samples in one file
    are run one by one.
    """
    from edgekit.cli.output import DeviceProgress
    from edgekit.core.build import load_build
    from edgekit.core.errors import UsageError
    from edgekit.core.files import check_file
    from edgekit.jobs.run import run
    from edgekit.reports.words import plain

    if len(on) > 1:  # profile takes several: the last one must not go for all
        raise UsageError("run takes one board", hint="give one --on")
    if save is not None:  # before anything is run
        check_file(save, hint="give --save the name of a file that can be written")
    opened = load_build(build)
    with DeviceProgress() as progress:
        ran = run(opened, on=on[0], inputs=inputs, say=progress.say, progress=progress, **options)
    for note in ran.notes:
        click.echo(plain(f"note: {note}"), err=True)
    if save is not None:
        from edgekit.verify.check_set import save_columns

        save_columns(save, {name: list(array) for name, array in ran.stored.items()})
    if as_json:
        import json

        click.echo(json.dumps(_document(ran), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(ran)
    if save is not None:
        click.echo(f"outputs: {save}", err=as_json)


def _show(ran: Ran) -> None:
    from edgekit.reports.words import plain

    runtime = f"{ran.hello['runtime']} {ran.hello['runtime_version']}"
    board = ran.hello.get("board") or ran.hello.get("cpu") or ran.device
    emulated = ", emulated" if "emulated" in ran.hello else ""
    click.echo(plain(f"{ran.variant} on {board}{emulated} ({ran.device}), {runtime}"))
    if ran.best and len(ran.names) > IN_FULL:
        from edgekit.cli.output import table

        click.echo()
        table(
            ["Input", "Best", "Score"],
            (
                [plain(name), plain(_class(best[0])), _score(ran, best[0])]
                for name, best in zip(ran.names, ran.best, strict=True)
            ),
        )
        return
    for index, name in enumerate(ran.names):
        click.echo()
        click.echo(click.style(plain(name), bold=True))
        if ran.best:
            scores = [_score(ran, guess) for guess in ran.best[index]]
            width = max(map(len, scores))
            for guess, score in zip(ran.best[index], scores, strict=True):
                click.echo(plain(f"  {score:>{width}}  {_class(guess)}"))
            continue
        for output, array in ran.real.items():
            click.echo(plain(f"  {output} {_tensor(array[index])}"))


def _class(guess: Guess) -> str:
    return guess.label or f"class {guess.number}"


def _score(ran: Ran, guess: Guess) -> str:
    from edgekit.reports.words import digits

    return f"{100 * guess.score:.2f} %" if ran.shares else digits(guess.score, 4)


def _tensor(array: Any) -> str:
    """Type, shape and first values."""
    from edgekit.reports.words import digits

    values = [
        digits(float(value), 4) if array.dtype.kind == "f" else str(value)
        for value in array.ravel()[:FIRST]
    ]
    more = ", …" if array.size > FIRST else ""
    shape = "×".join(map(str, array.shape)) or "a single number"
    return f"{array.dtype} {shape}: {', '.join(values)}{more}"


def _document(ran: Ran) -> dict[str, Any]:
    """Values that are not finite are null; so are outputs of more than `IN_JSON` values."""
    return {
        "variant": ran.variant,
        "device": ran.device,
        "hello": dict(ran.hello),
        "notes": list(ran.notes),
        "inputs": [
            {
                "input": name,
                "best": [
                    {"class": each.number, "label": each.label or None, "score": each.score}
                    for each in (ran.best[index] if ran.best else ())
                ],
                "outputs": {
                    output: {
                        "dtype": str(array.dtype),
                        "shape": list(array.shape[1:]),
                        "values": _values(array[index]),
                    }
                    for output, array in ran.real.items()
                },
            }
            for index, name in enumerate(ran.names)
        ],
    }


def _values(array: Any) -> Any:
    import numpy as np

    if array.size > IN_JSON:
        return None
    if array.dtype.kind != "f":
        return array.tolist()
    wide = array.astype(np.float64).astype(object)
    wide[~np.isfinite(array)] = None
    return wide.tolist()
