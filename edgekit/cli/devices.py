"""`edgekit devices`: the kinds of board."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

import click

from edgekit.core.errors import UnknownNameError
from edgekit.core.profile import (
    HOST,
    Accelerator,
    DeviceProfile,
    Measuring,
    all_profiles,
    load_profile,
    user_profiles_dir,
)

# What a kind of operating system stands for, in the order of the list.
GROUPS = {
    "linux": "Linux boards and computers",
    "android": "Android phones",
    "ios": "iPhones, by files only",
    "bare-metal": "Microcontrollers with an NPU, by files only",
}
WIDEST = 120


# name: (where, the line shown in `edgekit devices --help`)
SUBCOMMANDS = {
    "scan": ("edgekit.cli.devices_scan:command", "Look for boards on USB and the network."),
    "probe": ("edgekit.cli.devices_probe:command", "Say what the board at TARGET is."),
    "prepare": ("edgekit.cli.devices_prepare:command", "Install a runtime on the board at TARGET."),
}


class KindsAndBoards(click.Group):
    """Sub-commands that are imported on use; any other word is the name of a kind of board."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in SUBCOMMANDS:
            from edgekit.core.registry import resolve

            command: click.Command = resolve(SUBCOMMANDS[name][0])
            return command
        show = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
        more = click.Argument(["more"], nargs=-1, metavar="")
        return click.Command(
            name,
            params=[show, more],
            callback=lambda as_json, more: _tell(name, as_json, more),
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in SUBCOMMANDS.items()])


@click.group(
    name="devices",
    cls=KindsAndBoards,
    invoke_without_command=True,
    subcommand_metavar="[NAME | scan | probe TARGET | prepare TARGET]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the kinds of board; find, probe and prepare your own.

    With NAME, tell all that is known of that one: what runs there, and its accelerators. The
    commands find boards that you have, say what they are, and install a runtime on them.
    """
    if ctx.invoked_subcommand is not None:
        return
    profiles = all_profiles()
    if as_json:
        _print_json([profile.to_json() for profile in profiles])
        return
    _list(profiles)
    click.echo("\nedgekit devices NAME tells all of one.")
    click.echo(f"Your own boards: a TOML file of the same form in {user_profiles_dir()}")


def _tell(name: str, as_json: bool, more: tuple[str, ...]) -> None:
    if more:  # a kind of board takes none: it was to be a command
        raise UnknownNameError("command of edgekit devices", name, SUBCOMMANDS)
    parent = click.get_current_context().parent
    before = parent is not None and parent.params["as_json"]  # edgekit devices --json NAME
    profile = load_profile(name)
    if as_json or before:
        _print_json(profile.to_json())
    else:
        _show(profile)


def _list(profiles: Iterable[DeviceProfile]) -> None:
    profiles = sorted(profiles, key=lambda profile: (profile.name != HOST, _natural(profile.name)))
    names = max(len(profile.name) for profile in profiles)
    titles = max(len(profile.title) for profile in profiles if profile.name != HOST)
    columns = _columns()
    for number, (system, title) in enumerate(GROUPS.items()):
        click.echo(("\n" if number else "") + click.style(title, bold=True))
        for profile in profiles:
            if profile.os != system:
                continue
            first = f"  {profile.name:<{names}}  {profile.title:<{titles}}"
            rest = [", ".join(dict.fromkeys(a.delegate for a in profile.accelerators)) or "CPU"]
            if columns >= WIDEST:  # there is room for it
                rest.append(_processor(profile))
            click.echo(f"{first}  {rest[0]:<21}  {''.join(rest[1:])}".rstrip())


def _show(profile: DeviceProfile) -> None:
    memory = f"from {profile.memory_mb} MiB" if profile.memory_mb else "not stated"
    lines = [
        ("name", profile.name),
        ("board", profile.title),
        ("page", profile.page or "none: probed"),
        ("system", f"{profile.os}, {profile.arch}"),
        ("chip", profile.soc or "not stated"),
        ("processor", " + ".join(_clusters(profile)) or "not stated"),
        ("memory", memory),
        ("reached by", _reached_by(profile)),
        ("threads", str(profile.threads)),
        ("variants", ", ".join(profile.variants) + " (unless --variant names others)"),
    ]  # fmt: skip
    for runtime in profile.runtimes:
        glibc = f", glibc {runtime.min_glibc} or newer" if runtime.min_glibc else ""
        lines.append(("runtime", f"{runtime.name} {runtime.version}{glibc}"))
        lines.append(("", f"runs {', '.join(runtime.variants)}"))
    for accelerator in profile.accelerators:
        lines.append(("accelerator", _accelerator(accelerator)))
        if accelerator.options:
            options = ", ".join(f"{key} = {value}" for key, value in accelerator.options.items())
            lines.append(("", options))
    lines += _measured(profile.measure)
    if profile.notes:
        lines.append(("notes", profile.notes.strip()))
    for key, value in lines:
        for number, line in enumerate(_wrapped(value, _columns() - 13)):
            click.echo(f"{'' if number else key:<13}{line}")


def _measured(measuring: Measuring) -> list[tuple[str, str]]:
    waits = f"cooled down for {measuring.cooldown_seconds:g} s at most"
    if measuring.zones:
        waits += f" (by {' or '.join(measuring.zones)})"
    if measuring.pause_seconds:
        waits += f", paused for {measuring.pause_seconds:g} s at least"
    power = " or ".join(measuring.power) or "not told by the board"
    return [
        ("energy", power + (f": {measuring.covers}" if measuring.covers else "")),
        ("measured", f"{waits}, before each launch"),
    ]


def _reached_by(profile: DeviceProfile) -> str:
    from edgekit.devices import TRANSPORTS

    if profile.transport == "none":
        return "nothing: files are brought there"
    if profile.transport not in TRANSPORTS:
        return f"{profile.transport}, which edgekit does not speak yet: files are brought there"
    return profile.transport


def _accelerator(accelerator: Accelerator) -> str:
    share = (
        "all multiply-adds" if accelerator.share == 1
        else f"{accelerator.share:.0%} of the multiply-adds" if accelerator.share
        else "whatever it can"
    )  # fmt: skip
    return f"{accelerator.delegate} ({', '.join(accelerator.formats)}): has to take {share}"


def _clusters(profile: DeviceProfile) -> list[str]:
    return [
        f"{c.cores} × {c.model}" + (f" {c.max_mhz / 1000:.1f} GHz" if c.max_mhz else "")
        for c in profile.cpu
    ]


def _processor(profile: DeviceProfile) -> str:
    """In a few words: the clusters if there is one kind, else the chip and how many cores."""
    clusters = _clusters(profile)
    if len(clusters) == 1:
        return clusters[0]
    cores = sum(cluster.cores for cluster in profile.cpu)
    return ", ".join(
        part for part in (profile.soc or profile.arch, f"{cores} cores" if cores else "") if part
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """So that pixel-9 stands before pixel-10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _columns() -> int:
    """Where nobody looks (a pipe, a file), lines are not broken: they are for grep."""
    import shutil
    import sys

    return min(shutil.get_terminal_size().columns, WIDEST) if sys.stdout.isatty() else 1000


def _wrapped(text: str, room: int) -> list[str]:
    return textwrap.wrap(text, max(room, 20), break_long_words=False, break_on_hyphens=False) or [
        ""
    ]


def _print_json(data: object) -> None:
    import json

    click.echo(json.dumps(data, indent=2, ensure_ascii=False))
