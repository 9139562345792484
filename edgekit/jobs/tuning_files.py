"""What a search keeps in its folder: ``tries.jsonl``, and in the end recipes, figures and a page.

The first line of ``tries.jsonl`` says what was asked for; each other is a try, written when it is
done. A search that was stopped, or killed, goes on from there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from edgekit.core.errors import OutputError, UsageError
from edgekit.core.files import unwritable, write_json, write_text
from edgekit.core.recipe import Recipe, named_recipe
from edgekit.core.tuning import Tried, Tuning
from edgekit.reports.tuning import write_tuning

TRIES_FILE, TUNING_FILE, PAGE, RECIPES = "tries.jsonl", "tuning.json", "tuning.html", "recipes"
BUILD = "build"  # with the finalists


def begin(output: Path, header: Mapping[str, Any], *, replace: bool) -> None:
    """Make `output`, or see that what is there is the same search.

    Args:
        header: what has to be the same: "model" and "board" for messages, and "asked", a digest.
        replace: another search that is there goes, with all that it has left.

    Raises:
        OutputError: it is another one, and not `replace`; or it cannot be written.
    """
    file = output / TRIES_FILE
    if file.is_file():
        older = _read_header(file)
        if older == header:
            return
        if not replace:
            of = f"of {older['model']} for {older['board']}" if older else "that cannot be read"
            raise OutputError(
                f"{str(output)!r} holds another search, one {of}: another model, data, device, "
                "limit or space, or another edgekit",
                hint="choose another folder with -o, or begin anew with --replace",
            )
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(
            f"{str(output)!r} exists and is not a search; it is left alone",
            hint="choose another folder with -o",
        )
    try:
        for folder in (output / BUILD, output / RECIPES):
            if folder.exists():
                shutil.rmtree(folder)
        for name in (TUNING_FILE, PAGE):
            (output / name).unlink(missing_ok=True)
    except OSError as exc:
        raise unwritable(output, exc) from exc
    write_text(file, json.dumps(header) + "\n")


def _read_header(file: Path) -> dict[str, Any]:
    """Empty if it cannot be read."""
    try:
        with open(file, encoding="utf-8") as lines:
            header = json.loads(lines.readline())
        return dict(header) if {"model", "board", "asked"} <= set(header) else {}
    except (OSError, ValueError, TypeError):
        return {}


def read_tries(output: Path) -> list[Tried]:
    """Those of an earlier run; a last line that was cut off is left out.

    Raises:
        OutputError: the file was changed.
    """
    file = output / TRIES_FILE
    lines = file.read_text(encoding="utf-8").split("\n")
    found = []
    for line in lines[1:-1]:  # what stands after the last line break was not written to its end
        try:
            found.append(Tried.from_json(json.loads(line), where=str(file)))
        except (ValueError, UsageError) as exc:
            raise OutputError(
                f"{str(file)!r} was changed: {exc}", hint="begin anew with --replace"
            ) from exc
    if lines[-1]:
        write_text(file, "\n".join([*lines[:-1], ""]))
    return found


def keep(output: Path, tried: Tried) -> None:
    """Add a try. Raises OutputError."""
    file = output / TRIES_FILE
    try:
        with open(file, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(tried.to_json()) + "\n")
            lines.flush()
            os.fsync(lines.fileno())  # training it again costs more than waiting for the disk
    except OSError as exc:
        raise unwritable(file, exc) from exc


def write(tuning: Tuning, output: Path, recipes: Sequence[Recipe] = ()) -> None:
    """What was found, as JSON and as a page, and the recipes as files, in place of those of an
    earlier end. Raises OutputError.
    """
    shutil.rmtree(output / RECIPES, ignore_errors=True)
    for recipe in recipes:
        if recipe != named_recipe(recipe.variant):  # built-in variants need no file
            write_text(output / RECIPES / f"{recipe.name}.toml", tomli_w.dumps(_written(recipe)))
    write_json(output / TUNING_FILE, tuning.to_json())
    write_tuning(tuning, output / PAGE)


def _written(recipe: Recipe) -> dict[str, Any]:
    """What a person would write into a recipe file: without what is usual."""
    data = recipe.model_dump(
        mode="json", by_alias=True, exclude_defaults=True, exclude={"schema_version", "passes"}
    )
    if recipe.passes:
        data["passes"] = [{"pass": spec.name, **spec.parameters} for spec in recipe.passes]
    return {"schema": 1, **data}
