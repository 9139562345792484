"""`edgekit bundle diff`: can an app that runs the old bundle take the new one?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command(name="diff")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(old: Path, new: Path, as_json: bool) -> None:
    """Say whether an app that runs OLD can take NEW in its place.

    Both are bundles: folders or tarballs. Exit code 6 if it cannot: inputs, outputs, preprocessing
    or labels that it relies on are others, a variant is gone, or a runtime refuses the new file.
    """
    from edgekit.bundles.diff import diff_bundles, said
    from edgekit.reports.words import plain

    found = diff_bundles(old, new)
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        lines = [f"{found.old.name} {found.old.version} → {found.new.name} {found.new.version}"]
        for change in found.changes:
            lines.append(f"{'BREAKS' if change.level == 'major' else change.level:>6}  {change}")
        lines += [f"        {line}" for figures in found.figures for line in said(figures)]
        if not found.changes:
            lines.append("an app cannot tell them apart")
        elif found.fits:
            lines.append(f"an old app can take it ({found.level})")
        else:
            lines.append("an old app cannot take it as it is")
        if found.version_problem:
            lines.append(f"note: {found.version_problem}")
        for line in lines:
            click.echo(plain(line))
    if not found.fits:
        sys.exit(6)
