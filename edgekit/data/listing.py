"""The images in a folder, by name alone; nothing is opened."""

from __future__ import annotations

import os
from pathlib import Path

from edgekit.core.errors import DataError
from edgekit.core.noun import Noun
from edgekit.core.recipe import Calibration
from edgekit.data.choose import choose

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp")


class Listing(Noun):
    """Chosen files, relative to the folder, and for each the index of its class if there are some.

    `notes` say in words what was left out.
    """

    files: tuple[str, ...]
    labels: tuple[int, ...] | None
    classes: tuple[str, ...]
    choice: str
    notes: tuple[str, ...]


def list_images(folder: Path, choice: Calibration | None) -> Listing:
    """The images of a flat folder, or of its sub-folders, one a class in the names' order.

    Hidden files are passed over. Links are followed to regular files and folders; anything else
    that has an image's suffix (a device, a pipe, a dangling link) is an error.

    Raises:
        DataError: no images, images beside folders, an empty class, or an unreadable folder.
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
    files, labels = flat, None
    if subfolders:
        files, labels = [], []
        for index, name in enumerate(subfolders):
            inside, more = _images_in(folder / name)
            if not inside:
                raise DataError(f"the class folder {str(folder / name)!r} holds no images")
            files += [f"{name}/{file}" for file in inside]
            labels += [index] * len(inside)
            others += more
    if not files:
        raise DataError(
            f"{str(folder)!r} holds no images", hint=f"images end in {', '.join(SUFFIXES)}"
        )
    indices, words = choose(len(files), choice)
    return Listing(
        files=tuple(files[i] for i in indices),
        labels=tuple(labels[i] for i in indices) if labels else None,
        classes=tuple(subfolders),
        choice=words,
        notes=(f"{others} files that are no images were left out",) if others else (),
    )


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
            return list(entries)
    except OSError as exc:
        raise DataError(f"cannot read the folder {str(folder)!r}: {exc.strerror}") from exc
