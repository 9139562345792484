"""A set of samples on disk: one `.npy` file an input, and labels or targets if there are some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import DataError
from edgekit.core.noun import Noun
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.tensor import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


SAMPLES_FILE = "samples.txt"  # one digest a sample
TARGETS_FILE = "targets.npy"


class ArrayFacts(Noun):
    """What is known of one array without opening it; `shape` is one sample's."""

    shape: tuple[int, ...]
    dtype: str
    minimum: float
    maximum: float


class DataSet(Noun):
    """Samples as a model takes them, one row a sample (without the batch dimension).

    The arrays have the type that the user gave (float64 is stored as float32); `rows` gives them
    in the type that a signature asks for.

    Attributes:
        folder: holds ``<index>.npy`` for each input, in order, ``labels.npy`` if `labelled`,
            ``targets.npy`` if there is a `target`, and ``samples.txt``, one digest a sample.
        inputs: the names of the inputs; the name of a single nameless array is "".
        count: number of samples.
        digest: SHA-256 over the arrays' names, types, shapes and bytes.
        origin: what the user gave.
        choice: in words, which samples of the origin these are.
        classes: names of the classes where the origin has some (the folders of images).
        facts: one entry an input.
        label_range: the smallest and the largest label.
        target: what is known of the targets that are no class labels (masks, values, sequences),
            with one sample's shape.
        preprocessing: what was done to every sample.
        notes: in words, what was done to the data beyond that.
    """

    folder: str
    inputs: tuple[str, ...]
    count: int
    digest: str
    origin: str
    choice: str
    labelled: bool = False
    classes: tuple[str, ...] = ()
    facts: tuple[ArrayFacts, ...] = ()
    label_range: tuple[int, int] | None = None
    target: ArrayFacts | None = None
    preprocessing: Preprocessing = Preprocessing()
    notes: tuple[str, ...] = ()

    def arrays(self) -> list[NDArray[np.generic]]:
        """The inputs, memory-mapped, each with shape (count, …)."""
        import numpy as np

        return [
            np.load(Path(self.folder) / f"{index}.npy", mmap_mode="r", allow_pickle=False)
            for index in range(len(self.inputs))
        ]

    def labels(self) -> NDArray[np.generic] | None:
        """Integer class labels with shape (count,), or None."""
        import numpy as np

        if not self.labelled:
            return None
        labels: NDArray[np.generic] = np.load(Path(self.folder) / "labels.npy", allow_pickle=False)
        return labels

    def targets(self) -> NDArray[np.generic] | None:
        """What the answers are held against, samples along the first axis: targets, memory-mapped,
        or class labels, or None.
        """
        import numpy as np

        if self.target is None:
            return self.labels()
        found: NDArray[np.generic] = np.load(
            Path(self.folder) / TARGETS_FILE, mmap_mode="r", allow_pickle=False
        )
        return found

    def sample_digests(self) -> list[str]:
        """One digest a sample, over the bytes of all its inputs."""
        return (Path(self.folder) / SAMPLES_FILE).read_text(encoding="ascii").split()

    def order(self, signature: Signature) -> list[int]:
        """For each input of `signature`, the index of its array: by name, else by position.

        Raises:
            DataError: names do not fit, or there are more or fewer arrays than inputs.
        """
        wanted = [spec.name for spec in signature.inputs]
        if set(self.inputs) == set(wanted):
            return [self.inputs.index(name) for name in wanted]
        if not any(self.inputs) and len(self.inputs) == len(wanted):
            return list(range(len(wanted)))
        keys = ", ".join(f"{name}=…" for name in wanted)
        if not any(self.inputs):
            count = len(self.inputs)
            several = f"s: {', '.join(wanted)}" if len(wanted) > 1 else f", {wanted[0]}"
            raise DataError(
                f"{self.origin} is {'one array' if count == 1 else f'{count} arrays'} without "
                f"{'a name' if count == 1 else 'names'}; "
                f"the model takes {len(wanted)} input{several}",
                hint=f"give an array an input, by name: numpy.savez('data.npz', {keys})"
                if len(wanted) > 1
                else "give one array, and the labels as labels",
            )
        have = ", ".join(name or "one without a name" for name in self.inputs)
        raise DataError(
            f"{self.origin} has the arrays {have}; the model takes {', '.join(wanted)}",
            hint="use the model's input names as keys, and labels for the labels",
        )

    def rows(self, signature: Signature, start: int, stop: int) -> dict[str, NDArray[np.generic]]:
        """Samples `start` to `stop`, by input name, in the signature's types; a small copy.

        Real numbers for an input that is quantized are quantized with its scale: rounded half to
        even, saturated.

        Raises:
            DataError: the arrays are not those of the signature.
        """
        import numpy as np

        arrays = self.arrays()
        return {
            spec.name: np.ascontiguousarray(typed(arrays[index][start:stop], spec))
            for spec, index in zip(signature.inputs, self.order(signature), strict=True)
        }


class Rows(Sequence[Any]):
    """The samples one by one, each read from disk when it is asked for.

    Args:
        form: makes what is wanted of `DataSet.rows` of one sample.
    """

    def __init__(
        self, data: DataSet, signature: Signature, form: Callable[[dict[str, Any]], Any] = dict
    ) -> None:
        self._data, self._signature, self._form = data, signature, form

    def __len__(self) -> int:
        return self._data.count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._form(self._data.rows(self._signature, index, index + 1))


def typed(array: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.generic]:
    """`array` in the type of `spec`; real numbers for a quantized tensor are quantized."""
    import numpy as np

    dtype = np.dtype(spec.dtype)
    if spec.quantization is None or dtype.kind not in "iu" or array.dtype.kind != "f":
        return array.astype(dtype)
    info = np.iinfo(dtype)
    steps = np.rint(array.astype(np.float32) / np.float32(spec.quantization.scale[0]))
    stored: NDArray[np.generic] = np.clip(
        steps.astype(np.float64) + spec.quantization.zero_point[0], info.min, info.max
    ).astype(dtype)
    return stored
