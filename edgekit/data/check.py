"""Whether data, and the names of classes, are what a model takes. Opens no arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgekit.core.dataset import ArrayFacts, DataSet
from edgekit.core.errors import DataError, UsageError
from edgekit.core.recipe import Calibration
from edgekit.core.tensor import Signature, TensorSpec

FEW = 10  # with fewer samples, ranges hang on the chance of each
USUAL = Calibration().samples

_INTEGERS = {
    "bool": (0, 1),
    "uint8": (0, 2**8 - 1),
    "int8": (-(2**7), 2**7 - 1),
    "uint16": (0, 2**16 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "uint32": (0, 2**32 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint64": (0, 2**64 - 1),
    "int64": (-(2**63), 2**63 - 1),
}


def check_data(
    dataset: DataSet,
    signature: Signature,
    *,
    what: str = "the data",
    fit: Callable[[Signature, DataSet], object] | None = None,
) -> tuple[str, ...]:
    """Check `dataset` against the model's `signature`.

    Args:
        dataset: from `read_data`.
        signature: the source model's, every dimension fixed.
        what: how the user named it, for the message ("--calibration").
        fit: raises DataError where its labels are not what they are measured by.

    Returns:
        What is done with the data that the user may not expect, in words.

    Raises:
        DataError: names, shapes, types or labels do not fit.
    """
    notes = list(dataset.notes)
    for spec, index in zip(signature.inputs, dataset.order(signature), strict=True):
        facts = dataset.facts[index]
        _check_shape(facts, spec, f"{what} {dataset.origin}", dataset)
        note = check_dtype(facts, spec, f"{what} {dataset.origin}")
        notes += [note] if note else []
    if dataset.label_range is not None:
        output = signature.score_output()
        if output is None:
            notes.append(f"the labels are not used: {_no_scores(signature)}")
        else:
            _check_labels(dataset, output, signature.class_count(), what)
    if fit is not None:
        try:
            fit(signature, dataset)
        except DataError as exc:
            raise DataError(f"{what} {dataset.origin}: {exc.message}", hint=exc.hint) from exc
    return tuple(notes)


def _check_shape(facts: ArrayFacts, spec: TensorSpec, what: str, dataset: DataSet) -> None:
    wanted = spec.shape[1:]
    if len(wanted) == len(facts.shape) and all(
        w in (None, s) for w, s in zip(wanted, facts.shape, strict=True)
    ):
        return
    raise DataError(
        f"{what}: a sample is {_sizes(facts.shape)}, "
        f"the model's input {spec.name} takes {_sizes(wanted)}",
        hint=_shape_hint(facts, wanted, dataset),
    )


def _shape_hint(facts: ArrayFacts, wanted: tuple[int | None, ...], dataset: DataSet) -> str:
    have = facts.shape
    if len(have) == len(wanted) == 3:
        if (have[1], have[2], have[0]) == wanted:
            return "channels come first here: give (height, width, channels), transpose(0, 2, 3, 1)"
        if (have[2], have[0], have[1]) == wanted:
            return "the model takes channels first: add layout=CHW to --preprocess"
        if facts.dtype == "uint8" and have[2] == wanted[2]:
            return f"add resize={wanted[0]}x{wanted[1]} to --preprocess"
        if facts.dtype == "uint8" and have[:2] == wanted[:2] and (have[2], wanted[2]) == (3, 1):
            return "the model takes one channel: add color=gray to --preprocess"
    if (*have, 1) == wanted:
        return "the channel axis is missing: x[..., None]"
    if have[:1] == (1,) and have[1:] == wanted:
        return "each sample has a batch axis of its own: x[:, 0]"
    if have == wanted[1:]:
        return "this looks like a single sample: the first axis must be the samples, x[None]"
    if _product(have) == _product(wanted):
        return f"the number of values is right: x.reshape({', '.join(map(str, (-1, *wanted)))})"
    if dataset.preprocessing.operations:
        return "this is the shape after --preprocess"
    return "the first axis of an array is the samples, the rest must be the model's"


def _product(shape: tuple[int | None, ...]) -> int:
    total = 1
    for size in shape:
        total *= size or 0
    return total


def check_dtype(facts: ArrayFacts, spec: TensorSpec, what: str) -> str:
    """What the conversion of type means for the user, in words; nothing if nothing."""
    if facts.dtype == spec.dtype:
        return ""
    if spec.dtype.startswith("float"):
        if facts.dtype == "uint8":
            return (
                f"{spec.name}: uint8 ({facts.minimum:g} to {facts.maximum:g}) is given to the "
                f"model as {spec.dtype}, not scaled"
            )
        return f"{spec.name}: {facts.dtype} is given to the model as {spec.dtype}"
    if facts.dtype.startswith("float") and spec.quantization is not None:
        return f"{spec.name}: real numbers are quantized to {spec.dtype} with the model's own scale"
    if facts.dtype.startswith("float"):
        raise DataError(
            f"{what} is {facts.dtype}, the model's input {spec.name} takes {spec.dtype}; "
            "fractions are never cut off silently",
            hint=f"save it with x.astype('{spec.dtype}') if it holds whole numbers",
        )
    low, high = _INTEGERS[spec.dtype]
    if facts.minimum < low or facts.maximum > high:
        raise DataError(
            f"{what} holds {facts.minimum:g} to {facts.maximum:g}, "
            f"the model's input {spec.name} takes {spec.dtype}, {low} to {high}"
        )
    return f"{spec.name}: {facts.dtype} is given to the model as {spec.dtype}"


def check_labels(labels: Sequence[str], signature: Signature) -> tuple[str, ...]:
    """Check the names of the classes against the model's `signature`.

    Returns:
        What is not done with them that the user may expect, in words.

    Raises:
        UsageError: there are more or fewer names than classes.
    """
    output = signature.score_output()
    if not labels:
        return ()
    if output is None:
        return (f"the names are kept, but not used for scores: {_no_scores(signature)}",)
    classes = signature.class_count()
    if classes is not None and len(labels) != classes:
        names = "1 name" if len(labels) == 1 else f"{len(labels)} names"
        single = " (a single score: no and yes)" if output.shape[-1] == 1 else ""
        raise UsageError(
            f"--labels has {names}, the model's output {output.name} has {classes} classes{single}",
            hint="give one name a class, in the model's order",
        )
    return ()


def _no_scores(signature: Signature) -> str:
    given = ", ".join(f"{spec.name} {_sizes(spec.shape[1:])}" for spec in signature.outputs)
    return f"the model has no single output of class scores (it gives {given})"


def sample_notes(dataset: DataSet, *, ranges: bool) -> tuple[str, ...]:
    """What makes the samples of little worth, in words; nothing if nothing.

    Args:
        dataset: from `read_data`.
        ranges: whether INT8 ranges are taken from them.
    """
    notes = []
    count = f"{dataset.count} sample{'' if dataset.count == 1 else 's'}"
    if ranges and dataset.count < FEW:
        notes.append(f"{count}; INT8 ranges need about {USUAL} typical ones")
    elif not ranges and dataset.count == 1:
        notes.append(f"{count}; one answer says little of how well the model does")
    if dataset.count > 1 and len(set(dataset.sample_digests())) == 1:
        notes.append("all samples are equal")
    for name, facts in zip(dataset.inputs, dataset.facts, strict=True):
        if facts.minimum == facts.maximum and _product(facts.shape) * dataset.count > 1:
            whose = f"{name}: " if name else ""
            notes.append(f"{whose}every value is {facts.minimum:g}")
    return tuple(notes)


def _check_labels(dataset: DataSet, output: TensorSpec, classes: int | None, what: str) -> None:
    assert dataset.label_range is not None
    _, highest = dataset.label_range
    if classes is not None and highest >= classes:
        raise DataError(
            f"{what} {dataset.origin}: a label is {highest}, "
            f"the model's output {output.name} has classes 0 to {classes - 1}",
            hint="labels count from 0",
        )


def _sizes(shape: tuple[int | None, ...]) -> str:
    return "×".join("?" if size is None else str(size) for size in shape) or "a single number"
