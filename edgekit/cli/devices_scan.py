"""`edgekit devices scan`: which boards are about."""

from __future__ import annotations

import click


@click.command(name="scan")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, max=60),
    default=3,
    metavar="SECONDS",
    help="How long to listen on the network. [3]",
)
@click.option(
    "--interface",
    "interfaces",
    multiple=True,
    metavar="ADDRESS",
    help="Ask only through that address of this computer. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(seconds: float, interfaces: tuple[str, ...], as_json: bool) -> None:
    """Look for boards on USB and the network.

    Asks a running adb server, your ssh configuration, and the local network (mDNS). Nothing is
    started, nothing is logged in to; whether a host of the ssh configuration is on is not asked.
    """
    from edgekit.devices.scan import scan
    from edgekit.reports.words import plain

    places = scan(seconds, interfaces=interfaces)
    if as_json:
        import dataclasses
        import json

        data = [dataclasses.asdict(place) for place in places]
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
        return
    seen = [each for place in places for each in place.seen]
    rows = [(plain(each.address or "-"), plain(each.what)) for each in seen]
    address, what = (
        (max(map(len, column)) for column in zip(*rows, strict=True)) if rows else (0, 0)
    )
    for each, (first, second) in zip(seen, rows, strict=True):
        do = f"; first {plain(each.first)}" if each.first else ""
        click.echo(f"{first:<{address}}  {second:<{what}}  {each.where}{do}")
    for place in places:
        if place.note:
            click.echo(plain(f"{place.place}: {place.note}"), err=bool(seen))
    if seen:
        click.echo("edgekit devices probe ADDRESS tells what one is.", err=True)
    else:
        click.echo("No board was found. One that is on the network can be named all the same: "
                   "ssh://[user@]host[:port]")  # fmt: skip
