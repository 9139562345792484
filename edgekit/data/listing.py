"""The images in a folder, by name alone; nothing is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgekit.core.errors import DataError
from edgekit.core.noun import Noun
from edgekit.core.recipe import Calibration
from edgekit.data.choose import choose

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")
SHOWN = 10  # names in one message


class Listing(Noun):
    """Chosen files, relative to the folder, and for each the index of its class if there are some.

    `classes` are in the order of their numbers; `notes` say in words how they got them, and what
    was left out.
    """

    files: tuple[str, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]
    choice: str
    notes: tuple[str, ...]


def list_images(folder: Path, choice: Calibration | None, labels: Sequence[str] = ()) -> Listing:
    """The images of a flat folder, or of its sub-folders, one a class.

    A class has the number that its name has in `labels`; without any, the folders are numbered in
    the alphabetical order of their names, and a note says so.

    Hidden files are passed over. Links are followed to regular files and folders; anything else
    that has an image's suffix (a device, a pipe, a dangling link) is an error.

    Raises:
        DataError: no images, images beside folders, an empty class, a folder that is called like
            no label, or an unreadable folder.
    """
    flat, others = _images_in(folder)
    subfolders = sorted(
        entry.name for entry in _scan(folder) if entry.is_dir() and not entry.name.startswith(".")
    )
    if flat and subfolders:
        raise DataError(
            f"{str(folder)!r} holds both images ({flat[0]}) and folders ({subfolders[0]})",
            hint="put every image into the folder of its class, or all into one folder",
        )
    files = flat
    numbers: list[int] | None = None
    notes: list[str] = []
    classes = tuple(labels) if subfolders and labels else tuple(subfolders)
    if subfolders:
        files, numbers = [], []
        if labels:
            _check_names(folder, subfolders, labels)
        else:
            order = [f"{index}={name}" for index, name in enumerate(subfolders)]
            notes.append(
                f"classes are numbered in alphabetical order of their folders: {_listed(order)}; "
                "if the model has another order give --labels"
            )
        for name in subfolders:
            inside, more = _images_in(folder / name)
            if not inside:
                raise DataError(f"the class folder {str(folder / name)!r} holds no images")
            files += [f"{name}/{file}" for file in inside]
            numbers += [classes.index(name)] * len(inside)
            others += more
    if not files:
        raise DataError(
            f"{str(folder)!r} holds no images", hint=f"images end in {', '.join(SUFFIXES)}"
        )
    if others:
        notes.append(f"{others} files that are no images were left out")
    indices, words = choose(len(files), choice)
    return Listing(
        files=tuple(files[i] for i in indices),
        labels=tuple(numbers[i] for i in indices) if numbers else None,
        classes=classes,
        choice=words,
        notes=tuple(notes),
    )


def _check_names(folder: Path, subfolders: Sequence[str], labels: Sequence[str]) -> None:
    unknown = [name for name in subfolders if name not in labels]
    if unknown:
        one = len(unknown) == 1
        raise DataError(
            f"{str(folder)!r}: the folder{'' if one else 's'} {_listed(unknown)} "
            f"{'is' if one else 'are'} called like none of --labels: {_listed(labels)}",
            hint="a sub-folder is a class and is called exactly like its label",
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown}, … ({len(names)} in all)"


def _images_in(folder: Path) -> tuple[list[str], int]:
    """Names of the images right in `folder`, sorted, and the number of other files."""
    images, others = [], 0
    for entry in _scan(folder):
        if entry.name.startswith(".") or entry.is_dir():
            continue
        if not entry.name.lower().endswith(SUFFIXES):
            others += 1
        elif entry.is_file():
            images.append(entry.name)
        else:
            raise DataError(f"{entry.path!r} is not a regular file, nor a link to one")
    return sorted(images), others


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError as exc:
        raise DataError(f"cannot read the folder {str(folder)!r}: {exc.strerror}") from exc
    for entry in found:
        try:
            entry.name.encode()
        except UnicodeEncodeError as exc:
            shown = os.fsencode(entry.name).decode(errors="replace")
            raise DataError(
                f"{str(folder)!r} holds {shown!r}, a name that is not UTF-8 text", hint="rename it"
            ) from exc
    return found
