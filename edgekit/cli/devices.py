"""`edgekit devices`: the kinds of board."""

from __future__ import annotations

import click

from edgekit.core.profile import DeviceProfile, all_profiles, load_profile, user_profiles_dir


@click.group(name="devices", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the kinds of board that can be targeted."""
    if ctx.invoked_subcommand:
        return
    profiles = all_profiles()
    if as_json:
        _print_json([profile.to_json() for profile in profiles])
        return
    from edgekit.cli.output import table

    table(
        ["name", "board", "processor", "runtime", "variants"],
        [
            [p.name, p.title, _cpu(p) or p.arch, _runtimes(p), ", ".join(p.variants)]
            for p in profiles
        ],
    )
    click.echo("edgekit devices show NAME tells all of one.")
    click.echo(f"Your own boards: a TOML file of the same form in {user_profiles_dir()}")


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, as_json: bool) -> None:
    """Tell all that is known of the board NAME."""
    profile = load_profile(name)
    if as_json:
        _print_json(profile.to_json())
        return
    memory = f"from {profile.memory_mb} MiB" if profile.memory_mb else "not stated"
    lines = [
        ("name", profile.name),
        ("board", profile.title),
        ("page", profile.page or "none: probed"),
        ("system", f"{profile.os}, {profile.arch}"),
        ("processor", _cpu(profile) or "not stated"),
        ("memory", memory),
        ("reached by", profile.transport),
        ("threads", str(profile.threads)),
        ("variants", ", ".join(profile.variants) + " (unless --variant names others)"),
    ]
    for runtime in profile.runtimes:
        glibc = f", glibc {runtime.min_glibc} or newer" if runtime.min_glibc else ""
        lines.append(("runtime", f"{runtime.name} {runtime.version}{glibc}"))
        lines.append(("", f"runs {', '.join(runtime.variants)}"))
    if profile.notes:
        lines.append(("notes", profile.notes))
    for key, value in lines:
        click.echo(f"{key:<12}{value}")


def _cpu(profile: DeviceProfile) -> str:
    clusters = (
        f"{c.cores} × {c.model}" + (f" {c.max_mhz / 1000:.1f} GHz" if c.max_mhz else "")
        for c in profile.cpu
    )
    return " + ".join(clusters)


def _runtimes(profile: DeviceProfile) -> str:
    return ", ".join(f"{r.name} {r.version}" for r in profile.runtimes)


def _print_json(data: object) -> None:
    import json

    click.echo(json.dumps(data, indent=2, ensure_ascii=False))
