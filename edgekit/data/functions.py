"""Data from the user's own function. Runs in a worker.

The function takes no arguments. It returns everything at once, or yields batches; either way an
item is one of these, every array with the samples along its first axis:

    array                       the only input
    [array, array, …]           a list: the inputs in the model's order
    {"name": array, …}          the inputs by name; labels may be under labels, label or y
    (inputs,)                   a tuple: inputs in one of the forms above …
    (inputs, labels)            … and class numbers or one-hot rows, or other targets
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import DataError, EdgekitError
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.recipe import Calibration
from edgekit.core.registry import resolve_own
from edgekit.data.arrays import LABEL_KEYS, NAMELESS_KEYS
from edgekit.data.choose import choose
from edgekit.data.writer import Writer, check_finite, class_labels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Batch = tuple[list[str], list[Array], Array | None]

POSITION = "\0"  # begins the name of an input that has none but its place in a list
MAX_SAMPLES = 1_000_000  # an endless generator is found out
FORMS = "give an array, a list of arrays, a dict of arrays, or a tuple (inputs, labels)"


def read(out: Path, origin: str, preprocessing: Any, choice: Any, targets: bool) -> dict[str, Any]:
    """What the function gives, as a data set.

    Args:
        targets: whether labels are kept as they are, not as class numbers.

    Raises:
        UsageError: there is no such function.
        DataError: it raised, or gave something else than the forms above.
    """
    calibration = Calibration.from_json(choice) if choice else None
    batches = _batches(origin, targets)
    names, arrays, labels = next(batches, ([], [], None))
    if not names:
        raise DataError(f"{origin} gave no samples")
    plain = ["" if name.startswith(POSITION) else name for name in names]
    writer = Writer(out, origin, plain, Preprocessing.from_json(preprocessing), targets=targets)
    rest = itertools.chain([(names, arrays, labels)], batches)
    if calibration is None:
        for _, arrays, labels in rest:
            _check_end(writer.count, origin)
            writer.add(arrays, labels)
        return writer.finish(choice=f"all {writer.count}")
    if calibration.choice == "first":
        for _, arrays, labels in rest:
            left = calibration.samples - writer.count
            writer.add([a[:left] for a in arrays], None if labels is None else labels[:left])
            if writer.count >= calibration.samples:
                break
        return writer.finish(choice=f"the first {writer.count}")
    return _chosen(rest, writer, calibration)


def _chosen(batches: Iterator[Batch], writer: Writer, choice: Calibration) -> dict[str, Any]:
    """Keep all samples in memory, as the choice depends on how many there are."""
    samples: list[tuple[list[Array], Array | None]] = []
    for _, arrays, labels in batches:
        for array in arrays if labels is None else [*arrays, labels]:
            check_finite(array, len(samples), writer.origin)
        for index in range(len(arrays[0])):
            row = slice(index, index + 1)
            samples.append(([a[row] for a in arrays], None if labels is None else labels[row]))
        _check_end(len(samples), writer.origin)
    indices, words = choose(len(samples), choice)
    for index in indices:
        writer.add(*samples[index])
    return writer.finish(choice=words)


def _check_end(count: int, origin: str) -> None:
    if count > MAX_SAMPLES:
        raise DataError(
            f"{origin} gave more than {MAX_SAMPLES:,} samples and did not end",
            hint="let it end, or take the first ones with --choice first --samples N",
        )


def _batches(origin: str, targets: bool) -> Iterator[Batch]:
    """Names, one array an input, and labels if there are some; alike in every batch."""
    first: tuple[list[str], bool] | None = None
    for item in _items(origin):
        inputs, own = _parts(item, origin)
        kind = (list(inputs), own is not None)
        if first is None:
            first = kind
        elif kind != first:
            raise DataError(f"{origin} gave {_said(*first)} first and {_said(*kind)} later")
        counts = [len(array) for array in inputs.values()]
        labels = own if own is None or targets else class_labels(own, f"{origin}: labels")
        counts += [] if labels is None else [len(labels)]
        if len(set(counts)) != 1:
            raise DataError(
                f"{origin}: inputs and labels differ in their number of samples: "
                f"{', '.join(map(str, counts))}"
            )
        yield list(inputs), list(inputs.values()), labels


def _items(origin: str) -> Iterator[Any]:
    """What the function returns or yields; whatever it raises becomes a DataError."""
    function = resolve_own(origin)
    if not callable(function):
        raise DataError(f"{origin} is a {type(function).__name__}, not a function")
    try:
        given = function()
        whole = isinstance(given, Mapping | tuple | list) or hasattr(given, "__array__")
        if not whole and not isinstance(given, Iterable):
            raise DataError(f"{origin} gave a {type(given).__name__}", hint=FORMS)
        yield from [given] if whole else given
    except EdgekitError:
        raise
    except Exception as exc:  # the user's own code: whatever it raises is said as such
        raise DataError(f"{origin} raised {type(exc).__name__}: {exc}") from exc


def _parts(item: Any, origin: str) -> tuple[dict[str, Array], Any]:
    """The inputs by name ("" and positions' numbers where there is none), and the labels."""
    labels = None
    if isinstance(item, tuple):
        if len(item) not in (1, 2):
            raise DataError(f"{origin} gave a tuple of {len(item)}", hint=FORMS)
        labels = item[1] if len(item) == 2 else None
        item = item[0]
    if isinstance(item, Mapping):
        inputs = {str(name): value for name, value in item.items() if name not in LABEL_KEYS}
        for key in LABEL_KEYS:
            if key in item:
                if labels is not None:
                    raise DataError(f"{origin} gave labels twice", hint=FORMS)
                labels = item[key]
        if len(inputs) == 1 and next(iter(inputs)) in NAMELESS_KEYS:
            inputs = {"": next(iter(inputs.values()))}
    elif isinstance(item, list):
        inputs = {f"{POSITION}{index}": value for index, value in enumerate(item)}
    else:
        inputs = {"": item}
    if not inputs:
        raise DataError(f"{origin} gave no inputs", hint=FORMS)
    arrays = {name: _array(value, origin) for name, value in inputs.items()}
    return arrays, None if labels is None else _array(labels, origin)


def _array(value: Any, origin: str) -> Array:
    import numpy as np

    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as exc:
        raise DataError(f"{origin} gave a {type(value).__name__}", hint=FORMS) from exc
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise DataError(
            f"{origin} gave a {type(value).__name__} of {array.dtype}, shape {array.shape}",
            hint=FORMS,
        )
    return array


def _said(names: list[str], labelled: bool) -> str:
    named = names[0] != "" and not names[0].startswith(POSITION)
    inputs = ", ".join(names) if named else f"{len(names)} inputs"
    return f"{inputs} and labels" if labelled else inputs
