"""`edgekit compare`: two measurements against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgekit.cli.units import Share

if TYPE_CHECKING:
    from edgekit.core.result import Result
    from edgekit.jobs.compare import Compared

EPILOG = """\b
Examples:
  edgekit compare build:float32 build:int8
  edgekit compare last-week this-week --fail-above 3%
  edgekit compare 12 17
"""


@click.command(name="compare", epilog=EPILOG)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option(
    "--fail-above",
    type=Share(),
    metavar="SHARE",
    help="Exit with 6 if B is slower than A by more than that beyond doubt.",
)
@click.option("--anyway", is_flag=True, help="Compare even what is invalid.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(first: str, second: str, fail_above: float | None, anyway: bool, as_json: bool) -> None:
    """Tell whether one measurement is faster than another.

    A and B are numbers of measurements (edgekit report shows them), BUILD, or BUILD:VARIANT.
    Variants that one call of edgekit profile measured took turns and are compared in pairs, which
    tells the most.
    """
    from edgekit.core.errors import RejectedError
    from edgekit.jobs.compare import compare_results

    found = compare_results(first, second, anyway=anyway)
    if as_json:
        import json

        click.echo(json.dumps(found.to_json(), indent=2))
    else:
        _show(found)
    ratio = found.rows["median"].ratio
    if fail_above is not None and ratio.low is not None and ratio.low > 1 + fail_above:
        raise RejectedError(
            f"B is slower than A by {ratio.value - 1:.1%}, at least {ratio.low - 1:.1%}; "
            f"{fail_above:.1%} is allowed"
        )


def _show(found: Compared) -> None:
    from edgekit.cli.output import table
    from edgekit.core.files import readable_bytes
    from edgekit.reports.words import digits, plain, told

    for letter, result in (("A", found.a), ("B", found.b)):
        click.echo(plain(f"{letter}: {_named(result)}"))
    a, b = found.a.summary, found.b.summary
    times = {
        "median": (a.median_ns, b.median_ns),
        "p90": (a.p90_ns, b.p90_ns),
        "load": (a.load_ns, b.load_ns),
        "first": (a.first_ns, b.first_ns),
    }
    rows = []
    for name, row in found.rows.items():
        low, high = row.ratio.low, row.ratio.high
        assert low is not None
        assert high is not None
        rows.append(
            [
                name,
                *(told(estimate) for estimate in times[name]),
                digits(row.ratio.value),
                f"{digits(low)}–{digits(high)}",
                row.verdict,
            ]
        )
    sizes = {
        "memory": (a.peak_rss_bytes, b.peak_rss_bytes),
        "size": tuple(r.measurement.artifact_size_bytes for r in (found.a, found.b)),
    }
    for name, (x, y) in sizes.items():
        if x and y:
            rows.append([name, readable_bytes(x), readable_bytes(y), digits(y / x), "", ""])
    table(["", "A", "B", "B/A", "95 %", "B is"], rows)
    click.echo("A, B: means over launches; B/A of times: the ratio of the geometric means")
    click.echo(_verdict(found))
    if not found.rows["median"].paired:
        click.echo(
            "not measured in turns: measuring both in one edgekit profile tells more and rules out "
            "what changed in between"
        )
    if found.differences:
        click.echo(plain(f"also different: {'; '.join(found.differences)}"))
    for letter, result in (("A", found.a), ("B", found.b)):
        for finding in result.summary.findings:
            click.echo(plain(f"! {letter}: {finding}"))


def _named(result: Result) -> str:
    taken = result.measurement
    return (
        f"measurement {result.id}, {taken.variant} of {taken.build_name} on {taken.device} "
        f"({taken.settings.threads} threads, {len(taken.launches)} launches, {taken.created})"
    )


def _verdict(found: Compared) -> str:
    from edgekit.reports.words import digits

    row = found.rows["median"]
    if row.verdict == "no difference":
        return f"no difference was found; one of {row.detectable:.1%} or more would have shown"
    if row.ratio.value < 1:
        return f"B is faster: it takes {1 - row.ratio.value:.1%} less time"
    if row.ratio.value >= 2:
        return f"B is slower: it takes {digits(row.ratio.value)} times as long"
    return f"B is slower: it takes {row.ratio.value - 1:.1%} more time"
