"""What a metric is: rows of numbers of samples, and a value of weighted rows. See `metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from edgekit.core.dataset import ArrayFacts, DataSet
from edgekit.core.errors import DataError
from edgekit.core.tensor import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Reals = NDArray[np.float64]

NO_TARGETS = "give targets under labels in the .npz, or as (inputs, targets) from a function"
OWN = "package.module:function as metric takes any outputs and targets"
# Of a source that has no error at all any error is infinitely many percent; JSON has no infinity.
MOST_PERCENT = 1e6


class Metric:
    """One metric, made for the outputs of a model and the targets of a data set.

    Attributes:
        title: for people.
        targets: ``classes`` where labels are class numbers, ``values`` where they stay as given.
        larger_is_better: false for errors.
        unit: of a drop: percentage ``points`` of a share, or ``percent`` of the source's value.
        outputs: names of the model's outputs that it reads.
        single: whether a single score stands for no and yes; above `threshold` it is a yes.

    Raises:
        DataError: the targets do not fit the metric, or no output of the model does.
    """

    name: str
    outputs: tuple[str, ...]
    title: str
    targets: ClassVar[Literal["classes", "values"]] = "values"
    larger_is_better: ClassVar[bool] = True
    unit: ClassVar[Literal["points", "percent"]] = "points"
    fitting: ClassVar[str] = ""  # in words, what output fits

    def __init__(self, name: str, signature: Signature, data: DataSet) -> None:
        self.name, self.single, self.threshold = name, False, 0.0
        if self.targets == "classes":
            self.outputs = (self._scores(signature, data),)
            return
        if data.target is None:
            raise DataError(f"the metric {name} needs targets", hint=NO_TARGETS)
        self._check(data.target)
        fit = [spec for spec in signature.outputs if self._fits(spec, data.target.shape)]
        if len(fit) != 1:
            raise DataError(no_output(self, signature, data.target, fit), hint=OWN)
        self.outputs = (fit[0].name,)
        self._bind(fit[0], data)

    def _scores(self, signature: Signature, data: DataSet) -> str:
        output, classes = signature.score_output(), signature.class_count()
        if data.label_range is None:
            raise DataError(f"the metric {self.name} needs class labels", hint=NO_TARGETS)
        if output is None or classes is None:
            raise DataError(
                f"the metric {self.name} needs a single output of class scores; "
                f"the model gives {listed(signature)}",
                hint=OWN,
            )
        if data.label_range[1] >= classes:
            raise DataError(
                f"a label is {data.label_range[1]}, the model's output {output.name} has classes 0 "
                f"to {classes - 1}",
                hint="labels count from 0",
            )
        self._classes(classes)
        self.single = output.shape[-1] == 1
        return output.name

    def _classes(self, classes: int) -> None:
        """For metrics that need some number of classes."""

    def _check(self, target: ArrayFacts) -> None:
        """Raise DataError where targets like these mean nothing to the metric."""

    def _fits(self, output: TensorSpec, target: tuple[int, ...]) -> bool:
        """Whether an output and targets of that shape go together."""
        raise NotImplementedError

    def _bind(self, output: TensorSpec, data: DataSet) -> None:
        """Keep what `rows` needs to know of the output that was chosen."""

    def rows(self, answers: Mapping[str, Array], targets: Array) -> Reals:
        """What is kept of each sample, (samples, numbers).

        Args:
            answers: `outputs` by name, samples along the first axis, finite.
            targets: as the data set has them.
        """
        raise NotImplementedError

    def values(self, rows: Reals, weights: Reals) -> Reals:
        """The metric for each of `weights`, (draws, samples): how often each row counts."""
        raise NotImplementedError

    def drop(self, source: Reals, value: Reals) -> Reals:
        """What is lost from `source` to `value`, in the metric's unit; negative where it gains."""
        import numpy as np

        lost = source - value if self.larger_is_better else value - source
        if self.unit == "points":
            return 100 * lost
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(lost == 0, 0.0, 100 * lost / np.abs(source))
        return np.clip(share, -MOST_PERCENT, MOST_PERCENT)


def whole(target: ArrayFacts, what: str) -> None:
    if target.dtype.startswith("float"):
        raise DataError(
            f"the targets are {target.dtype}, the metric takes {what}",
            hint="save them with y.astype('int32') if they are whole numbers",
        )


def sample_shape(spec: TensorSpec) -> tuple[int | None, ...]:
    return spec.shape[1:]


def no_output(
    metric: Metric, signature: Signature, target: ArrayFacts, fit: list[TensorSpec]
) -> str:
    if fit:
        names = " and ".join(spec.name for spec in fit)
        return f"the metric {metric.name} is of one output; {names} fit the targets"
    return (
        f"the metric {metric.name} needs an output of {metric.fitting} for targets "
        f"{sizes(target.shape)}; the model gives {listed(signature)}"
    )


def listed(signature: Signature) -> str:
    return ", ".join(f"{spec.name} {sizes(sample_shape(spec))}" for spec in signature.outputs)


def sizes(shape: tuple[int | None, ...]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape) or "of a single number"
