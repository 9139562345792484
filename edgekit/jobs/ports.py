"""What a variant takes and gives in terms of the source model it was made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgekit.core.build import Variant
from edgekit.core.errors import ConversionError, DeviceError
from edgekit.core.tensor import Signature
from edgekit.verify.port import Named, matched, port

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]


class Ports:
    """How the source model's inputs become a variant's, and its outputs the source model's.

    Attributes:
        sample_bytes: of the variant's inputs and outputs for one sample.
    """

    def __init__(self, source: Signature, variant: Variant) -> None:
        assert variant.artifact is not None
        own = variant.artifact.signature
        self.inputs: Named
        self.outputs: Named
        try:
            self.inputs, self.outputs = matched(
                source,
                [port(index, spec) for index, spec in enumerate(own.inputs)],
                [port(index, spec) for index, spec in enumerate(own.outputs)],
            )
        except ConversionError as exc:
            raise ConversionError(f"{variant.recipe.name}: {exc.message}", hint=exc.hint) from exc
        self.sample_bytes = sum(
            math.prod(each.shape) * each.dtype.itemsize for _, each in (*self.inputs, *self.outputs)
        )

    def store(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The source model's inputs by name as the artifact's, by its own names."""
        return {each.name: each.store(arrays[name]) for name, each in self.inputs}

    def outputs_of(self, given: Mapping[str, Array], where: str) -> dict[str, Array]:
        """What a board gave under the names of the source model's outputs.

        Raises:
            DeviceError: they are not the artifact's outputs.
        """
        import numpy as np

        found = {}
        for name, each in self.outputs:
            array = given.get(each.name)
            if array is None and len(given) == len(self.outputs) == 1:
                array = next(iter(given.values()))
            if array is None:
                raise DeviceError(
                    f"{where} gave no output {each.name!r}, but {', '.join(map(repr, given))}"
                )
            found[name] = np.asarray(array)
        return found

    def real(self, stored: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by the source model's names as real numbers."""
        return {name: each.real(stored[name]) for name, each in self.outputs}
