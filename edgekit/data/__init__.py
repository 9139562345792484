"""What the user gives as data becomes a `DataSet`: arrays, folders of images, functions.

    reference                   read as
    FILE.npz                    one array an input, keyed by the model's input names; a single one
                                may be called x, X, data or images; labels: labels, label or y
    FILE.npy                    the only input
    FOLDER                      images; one sub-folder a class gives labels, numbered as the names
                                of the classes are where these are known; else there are none
    package.module:function     called without arguments; see `edgekit.data.functions`

Labels are class numbers or one-hot rows; where the metric asks for other targets (values, masks,
sequences) what is given in their place is kept as it is. Images in folders have classes only.

What the user gives is raw: stated preprocessing is applied to all of it, images and arrays alike,
and the artifact carries just that. Data that was prepared already is given without stating any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.core.dataset import DataSet
from edgekit.core.errors import DataError
from edgekit.core.files import sha256_file
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.recipe import Calibration
from edgekit.core.registry import find_module, refuse_file
from edgekit.core.tensor import Signature
from edgekit.data.check import check_data, check_labels, sample_notes
from edgekit.work.steps import Done, Step

__all__ = [
    "check_data",
    "check_labels",
    "look",
    "open_data",
    "overlap",
    "random_data",
    "read_data",
    "sample_notes",
]

ALLOWED = "a .npz or .npy file, a folder of images, or package.module:function"


def open_data(
    reference: str,
    *,
    preprocessing: Preprocessing,
    choice: Calibration | None = None,
    labels: Sequence[str] = (),
    targets: bool = False,
) -> Step:
    """The step that reads `reference` into a data set; `read_data` takes it from there.

    The step is known by the content of the files, so it is not done again for the same data; a
    function is called every time, as nothing tells whether it would still give the same.

    Args:
        reference: what the user gave, in one of the forms above.
        preprocessing: what is done to every sample.
        choice: which samples; all of them if not given.
        labels: names of the model's classes, in its order; folders of images are matched to them.
        targets: whether labels are targets of any kind, kept as they are, and no class numbers.

    Raises:
        UsageError: a function is named by its file.
        DataError: nothing there, nothing of those forms, or a folder that is called like no label.
    """
    common: dict[str, Any] = {
        "origin": reference,
        "preprocessing": preprocessing.to_json(),
        "choice": choice.to_json() if choice else None,
    }
    path = Path(reference)
    if path.is_dir():
        return _images(path, common, choice, labels)
    common["targets"] = targets
    if path.is_file():
        return _arrays(path, common)
    refuse_file(reference)
    if ":" in reference and not reference.endswith((".npy", ".npz")):
        return _function(reference, common)
    what = "is not a regular file" if path.exists() else "does not exist"
    raise DataError(f"the data {reference!r} {what}", hint=f"data is {ALLOWED}")


def look(reference: str) -> str:
    """What is known of `reference` without reading it through or calling it, in words.

    For what `open_data` has accepted: the headers of arrays, and where the module of a function
    is. Of a folder of images that has seen the names of all files already.

    Raises:
        DataError: arrays that do not go together, no samples, or no whole file.
        UsageError: there is no such module.
    """
    path = Path(reference)
    if path.is_dir():
        return "images"
    if path.is_file():
        from edgekit.data.arrays import look as look_at

        return look_at(str(path.resolve()), reference)
    spec = find_module(reference)
    return f"in {spec.origin or spec.name}, not called"


def random_data(signature: Signature, *, samples: int, seed: int) -> Step:
    """The step that draws `samples` random inputs for `signature`; its origin says so."""
    return Step(
        title="random data",
        function="edgekit.data.generate:generate",
        worker="plain",
        arguments={"signature": signature.to_json(), "samples": samples, "seed": seed},
        tools=("numpy",),
    )


def read_data(done: Done) -> DataSet:
    """The data set that a finished step of `open_data` or `random_data` left."""
    return DataSet.from_json({**done.result["dataset"], "folder": str(done.folder)})


def overlap(first: DataSet, second: DataSet) -> int:
    """How many samples are in both, compared by their bytes after preprocessing."""
    return (Counter(first.sample_digests()) & Counter(second.sample_digests())).total()


def _arrays(path: Path, common: Mapping[str, Any]) -> Step:
    if path.suffix not in (".npy", ".npz"):
        raise DataError(f"the data {str(path)!r} is not {ALLOWED}")
    digest = _sha256(path)
    return Step(
        title=f"read {path.name}",
        function="edgekit.data.arrays:read",
        worker="plain",
        arguments={**common, "path": str(path.resolve()), "sha256": digest},
        identity={**common, "sha256": digest, "suffix": path.suffix},
    )


def _images(
    folder: Path, common: Mapping[str, Any], choice: Calibration | None, labels: Sequence[str]
) -> Step:
    from edgekit.data.listing import list_images

    found = list_images(folder, choice, labels)
    return Step(
        title=f"decode {len(found.files)} images",
        function="edgekit.data.images:read",
        worker="plain",
        arguments={**common, "folder": str(folder.resolve()), "listing": found.to_json()},
        identity={
            **common,
            "listing": found.to_json(),
            "sha256": [_sha256(folder / name) for name in found.files],
        },
        tools=("pillow",),
    )


def _function(reference: str, common: Mapping[str, Any]) -> Step:
    import uuid

    return Step(
        title=f"call {reference}",
        function="edgekit.data.functions:read",
        worker="plain",
        arguments=common,
        identity={"call": uuid.uuid4().hex},
    )


def _sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as exc:
        raise DataError(f"cannot read {str(path)!r}: {exc.strerror}") from exc
