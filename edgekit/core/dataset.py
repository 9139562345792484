"""A set of samples on disk: one `.npy` file an input, and the labels where there are some."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.noun import Noun

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class DataSet(Noun):
    """Samples as a model takes them, one row a sample (without the batch dimension).

    Attributes:
        folder: holds ``<index>.npy`` for each input, in order, and ``labels.npy`` if `labelled`.
        inputs: the names of the inputs; the name of a single nameless array is "".
        count: number of samples.
        digest: SHA-256 over the arrays' names, types, shapes and bytes.
        origin: what the user gave.
        choice: in words, which samples of the origin these are.
        classes: names of the classes where the origin has some (the folders of images).
    """

    folder: str
    inputs: tuple[str, ...]
    count: int
    digest: str
    origin: str
    choice: str
    labelled: bool = False
    classes: tuple[str, ...] = ()

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
