"""`edgekit toolchain`: converters in environments of their own."""

from __future__ import annotations

import click


@click.group(name="toolchain")
def command() -> None:
    """Add or remove a toolchain that needs an environment of its own.

    Some converters pin versions that others cannot live with. Each of them is installed apart, in
    edgekit's cache folder, with exact versions, and only when you ask for it.
    """


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(as_json: bool) -> None:
    """List the toolchains, and which are installed."""
    from edgekit.core.files import readable_bytes
    from edgekit.jobs.toolchain import states

    found = states()
    if as_json:
        import json

        entries = [
            {
                "name": state.toolchain.name,
                "title": state.toolchain.title,
                "page": state.toolchain.page,
                "installed": state.installed,
                "size_bytes": state.size_bytes,
                "lock": str(state.toolchain.lock),
                "folder": str(state.toolchain.folder),
            }
            for state in found
        ]
        click.echo(json.dumps(entries, indent=2))
        return
    from edgekit.cli.output import table

    table(
        ["name", "toolchain", "installed", "size"],
        [
            [
                state.toolchain.name,
                state.toolchain.title,
                "yes" if state.installed else "no",
                readable_bytes(state.size_bytes),
            ]
            for state in found
        ],
    )


@command.command()
@click.argument("name")
def add(name: str) -> None:
    """Install the toolchain NAME.

    pip brings the packages from where it is set up to. ExecuTorch's need torch, of which pip's
    usual index has the large build for CUDA; with PIP_EXTRA_INDEX_URL set to
    https://download.pytorch.org/whl/cpu the small one is taken, which is enough.
    """
    import time

    from edgekit.cli.output import ToolchainProgress
    from edgekit.jobs.toolchain import add_toolchain

    started = time.monotonic()
    with ToolchainProgress() as progress:
        added = add_toolchain(name, progress)
    took = f" in {time.monotonic() - started:.0f} s" if added else " already"
    click.echo(f"{name}: installed{took}")


@command.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove the toolchain NAME; what it made is kept."""
    from edgekit.core.files import readable_bytes
    from edgekit.jobs.toolchain import remove_toolchain

    freed = remove_toolchain(name)
    click.echo(f"{name}: removed, {readable_bytes(freed)} freed")
