"""Writes samples into a data set's folder as they come; memory stays flat."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from edgekit.core.dataset import SAMPLES_FILE, TARGETS_FILE, ArrayFacts, DataSet
from edgekit.core.errors import DataError
from edgekit.core.files import readable_bytes
from edgekit.core.noun import json_digest
from edgekit.core.preprocess_reference import apply
from edgekit.core.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

SPARE_BYTES = 1 << 30  # of the disk, left to others
OWN = "for other targets name what to measure: --metric rmse, miou, map, wer, …"


class Writer:
    """Takes batches and leaves a data set.

    Args:
        out: the step's folder.
        origin: what the user gave; errors begin with it.
        names: of the inputs; [""] for a single nameless one.
        preprocessing: applied to every sample.
        targets: whether labels are targets of any kind, kept as they are, and no class numbers.
    """

    def __init__(
        self,
        out: Path,
        origin: str,
        names: Iterable[str],
        preprocessing: Preprocessing,
        *,
        targets: bool = False,
    ) -> None:
        self.out, self.origin, self.preprocessing = out, origin, preprocessing
        self.names = list(names)
        self.count = 0
        self.notes: list[str] = []
        if preprocessing.operations and len(self.names) != 1:
            arrays = ", ".join(filter(None, self.names)) or f"{len(self.names)} without a name"
            raise DataError(
                f"{origin} has the arrays {arrays}; with preprocessing there can be one input only",
                hint="for a model of one input: keep one array, called like the input or x, and "
                "labels; for more, give the data prepared, without --preprocess",
            )
        self._columns = [_Column(out / f"{i}.npy", self._what(i)) for i in range(len(self.names))]
        self._samples: list[str] = []
        self._labels: list[int] = []
        self._targets = _Column(out / TARGETS_FILE, f"{origin}: labels") if targets else None

    def _what(self, index: int) -> str:
        name = self.names[index]
        return f"{self.origin}: {name}" if name else self.origin

    def add(self, batch: list[Array], labels: Array | None = None) -> None:
        """Append samples: one array an input, the samples along the first axis.

        Raises:
            DataError: another shape or type than before, NaN or infinity, or the disk is too small.
        """
        import numpy as np

        batch = [_plain(array, self._what(index)) for index, array in enumerate(batch)]
        if any(array.ndim == 0 for array in batch):
            raise DataError(f"{self.origin}: a single number has no samples; give an array")
        counts = {len(array) for array in batch}
        if len(counts) != 1:
            sizes = ", ".join(
                f"{name or 'input'} {len(array)}"
                for name, array in zip(self.names, batch, strict=True)
            )
            raise DataError(f"{self.origin}: the inputs differ in their number of samples: {sizes}")
        if self.preprocessing.operations and batch[0].dtype.kind == "f" and not self.notes:
            self.notes.append(
                f"{self.origin}: the stated preprocessing was applied to these {batch[0].dtype} "
                "values; if they were prepared already, state none"
            )
        if self.preprocessing.operations:
            batch = (
                [np.stack([self._prepared(sample) for sample in batch[0]])]
                if counts != {0}
                else batch
            )
        for column, array in zip(self._columns, batch, strict=True):
            column.append(array, self.count)
        rows = [np.ascontiguousarray(array) for array in batch]
        for index in range(counts.pop()):
            digest = hashlib.blake2b(digest_size=16)
            for array in rows:
                digest.update(array[index].tobytes())
            self._samples.append(digest.hexdigest())
        if labels is not None and self._targets is not None:
            self._targets.append(_plain(labels, f"{self.origin}: labels"), self.count)
        elif labels is not None:
            self._labels += [int(label) for label in labels]
        self.count = len(self._samples)

    def _prepared(self, sample: Array) -> Array:
        try:
            return apply(self.preprocessing, sample)
        except DataError as exc:
            raise DataError(f"{self._what(0)}: {exc.message}", hint=exc.hint) from exc

    def finish(
        self, *, choice: str, classes: tuple[str, ...] = (), notes: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Close the files; the step's result, with the data set (but for its folder) in it.

        Raises:
            DataError: there was no sample.
        """
        import numpy as np

        if self.count == 0:
            raise DataError(f"{self.origin} holds no samples")
        target = self._targets if self._targets is not None and self._targets.count else None
        columns = [*self._columns, *([target] if target else [])]
        for column in columns:
            column.close()
        (self.out / SAMPLES_FILE).write_text("\n".join(self._samples), encoding="ascii")
        labels = np.array(self._labels, dtype=np.int64)
        if self._labels:
            np.save(self.out / "labels.npy", labels)
        facts = tuple(column.facts() for column in self._columns)
        content = [
            [name, each.dtype, each.shape, column.sha256]
            for name, each, column in zip(self.names, facts, self._columns, strict=True)
        ]
        known: list[Any] = [content, self._labels]
        if target is not None:
            kind = target.facts()
            known.append([kind.dtype, kind.shape, target.sha256])
        converted = [column.note for column in columns if column.note]
        dataset = DataSet(
            folder="",
            inputs=tuple(self.names),
            count=self.count,
            digest=json_digest(known),
            origin=self.origin,
            choice=choice,
            labelled=bool(self._labels),
            classes=classes,
            facts=facts,
            label_range=(int(labels.min()), int(labels.max())) if self._labels else None,
            target=target.facts() if target else None,
            preprocessing=self.preprocessing,
            notes=(*notes, *self.notes, *converted),
        )
        return {"dataset": dataset.to_json()}


class _Column:
    """One input, or the targets, on the way to disk: a `.npy` file whose header is written last."""

    def __init__(self, path: Path, what: str) -> None:
        self.path, self.what = path, what
        self.note = ""
        self._file: BinaryIO | None = None
        self._shape: tuple[int, ...] = ()
        self._dtype = ""
        self.count = 0
        self._low, self._high = float("inf"), float("-inf")
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def append(self, array: Array, first: int) -> None:
        import numpy as np

        if array.dtype == np.float64:
            array = self._narrowed(array, first)
        if self._file is None:
            self._open(array)
        self._same_kind(array, first)
        if array.size == 0 and array.shape[0] > 0:
            raise DataError(f"{self.what}: its samples are empty ({_sizes(array.shape[1:])})")
        check_finite(array, first, self.what)
        if array.size:
            self._low = min(self._low, float(array.min()))
            self._high = max(self._high, float(array.max()))
        data = np.ascontiguousarray(array).tobytes()
        assert self._file is not None
        free = shutil.disk_usage(self.path.parent).free
        if len(data) + SPARE_BYTES > free:
            raise DataError(
                f"{self.what}: the prepared samples do not fit on the disk "
                f"({readable_bytes(free)} free after {first} samples)",
                hint="use fewer samples, or set EDGEKIT_CACHE to a larger disk",
            )
        self._file.write(data)
        self._hash.update(data)
        self.count += array.shape[0]

    def _narrowed(self, array: Array, first: int) -> Array:
        import numpy as np

        check_finite(array, first, self.what)
        with np.errstate(over="ignore"):  # infinity is what is looked for next
            narrow: Array = array.astype(np.float32)
        if not np.isfinite(narrow).all():
            raise DataError(
                f"{self.what}: a value is too large for float32", hint="scale the data first"
            )
        self.note = f"{self.what}: float64 was stored as float32"
        return narrow

    def _open(self, array: Array) -> None:
        self._shape, self._dtype = array.shape[1:], array.dtype.name
        self._file = open(self.path, "wb")  # noqa: SIM115 - closed in close()
        self._write_header()

    def _write_header(self) -> None:
        """numpy leaves room in the header for a longer first axis, so it can be rewritten."""
        import numpy as np
        from numpy.lib.format import write_array_header_1_0

        assert self._file is not None
        header = {
            "descr": np.dtype(self._dtype).str,
            "fortran_order": False,
            "shape": (self.count, *self._shape),
        }
        before = self._file.seek(0, os.SEEK_CUR)
        write_array_header_1_0(self._file, header)
        self._header_bytes = self._file.tell() - before

    def _same_kind(self, array: Array, first: int) -> None:
        if array.shape[1:] != self._shape:
            raise DataError(
                f"{self.what}: sample {first} is {_sizes(array.shape[1:])}, "
                f"those before it are {_sizes(self._shape)}",
                hint="images of different sizes need preprocessing, such as resize=224x224",
            )
        if array.dtype.name != self._dtype:
            raise DataError(
                f"{self.what}: sample {first} is {array.dtype.name}, "
                f"those before it are {self._dtype}"
            )

    def close(self) -> None:
        assert self._file is not None
        expected = self._header_bytes
        self._file.seek(0)
        self._write_header()
        assert self._header_bytes == expected
        self._file.close()

    def facts(self) -> ArrayFacts:
        return ArrayFacts(
            shape=self._shape, dtype=self._dtype, minimum=self._low, maximum=self._high
        )


def _plain(array: Array, what: str) -> Array:
    """`array` in this machine's byte order, if it holds plain numbers."""
    import numpy as np

    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise DataError(
            f"{what} holds {array.dtype}, not numbers that a model takes",
            hint="use float32, uint8 or another plain number type",
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("="))


def check_finite(array: Array, first: int, what: str) -> None:
    """Raise DataError if `array` (samples, …), whose first sample is `first`, is not finite."""
    import numpy as np

    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    bad = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=1)))
    kind = "NaN" if np.isnan(array[bad]).any() else "infinity"
    raise DataError(
        f"{what}: sample {first + bad} holds {kind}; only finite numbers are allowed",
        hint="take that sample out, or repair what made it",
    )


def class_labels(labels: Array, what: str) -> Array:
    """Integer labels with shape (n,), from integers or one-hot rows.

    Raises:
        DataError: neither of the two, or a label below zero.
    """
    import numpy as np

    labels = _plain(labels, what)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        if not (((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise DataError(
                f"{what} is {_sizes(labels.shape)} but not one-hot",
                hint="give class numbers with shape (samples,), or rows of zeros with a single 1; "
                f"{OWN}",
            )
        numbers: Array = labels.argmax(axis=1)
        return numbers
    if labels.ndim != 1:
        raise DataError(
            f"{what} has shape {_sizes(labels.shape)}; class numbers have shape (samples,)",
            hint=OWN,
        )
    if labels.dtype.kind == "f":
        if not (np.isfinite(labels).all() and (labels == np.rint(labels)).all()):
            raise DataError(
                f"{what} holds fractions; labels are class numbers 0, 1, 2, …", hint=OWN
            )
        if labels.size and abs(labels).max() > 2**31:
            raise DataError(f"{what} holds {labels.max():g}; labels are class numbers 0, 1, 2, …")
    if labels.size and labels.min() < 0:
        raise DataError(f"{what} holds {labels.min():g}; labels are class numbers 0, 1, 2, …")
    return labels.astype(np.int64)


def _sizes(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a single number"
