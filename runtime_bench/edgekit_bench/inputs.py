"""What goes into the model: the inputs given, or made-up ones."""

from .events import Failure, one_line


def synthetic_inputs(loaded):
    """Inputs of the right shape and type where none are given.

    Floats are uniform in [0, 1): zeros would let multiplications with denormals or sparse paths
    look better than they are. Quantized integers take their whole range. Other integers are 0,
    since they are mostly indices.
    """
    import numpy as np

    rng = np.random.RandomState(0)
    values = []
    for detail in loaded.inputs:
        shape, dtype = tuple(detail["shape"]), np.dtype(detail["dtype"])
        if dtype.kind == "f":
            value = rng.uniform(0, 1, shape).astype(dtype)
        elif dtype.kind in "iu" and detail["scales"]:
            info = np.iinfo(dtype)
            value = rng.randint(info.min, info.max + 1, shape, dtype=np.int64).astype(dtype)
        else:
            value = np.zeros(shape, dtype)
        values.append(value)
    return values


def given_inputs(loaded, path):
    """The arrays of the .npz at `path`, in the order of the model's inputs, one row a sample."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if not name.startswith("out:")}
    except Exception as exc:  # zipfile, ValueError, OSError
        raise Failure(2, "bad_inputs", "cannot read the inputs %r: %s" % (path, one_line(exc)))
    values = []
    for position, detail in enumerate(loaded.inputs):
        names = (detail["name"], detail["tensor"])
        keys = [prefix + name for name in names if name for prefix in ("in:", "")]
        key = next((key for key in keys if key in arrays), None)
        if key is None and len(arrays) == len(loaded.inputs) == 1:
            key = next(iter(arrays))
        if key is None:
            raise Failure(
                2,
                "bad_inputs",
                "input %d is called %s; %s holds %s"
                % (position, " or ".join(map(repr, dict.fromkeys(names))), path, sorted(arrays)),
            )
        values.append(_rows(detail, arrays[key]))
    if len({len(rows) for rows in values}) != 1 or not len(values[0]):
        raise Failure(2, "bad_inputs", "the inputs in %r are empty or not equally many" % path)
    return values


def _rows(detail, array):
    """`array` as (samples, *shape of the input for a batch of one)."""
    import numpy as np

    for axis in detail.get("open", ()):
        # Given as (samples, ...) or (samples, 1, ...): the last axes are the input's.
        if len(detail["shape"]) <= array.ndim:
            detail["shape"][axis] = array.shape[axis - len(detail["shape"])]
    shape = tuple(int(size) for size in detail["shape"])
    row = shape[1:]
    if array.dtype != np.dtype(detail["dtype"]):
        raise Failure(
            2,
            "bad_inputs",
            "input %s takes %s, not %s" % (detail["name"], detail["dtype"], array.dtype),
        )
    if array.shape[1:] == row or array.shape[1:] == shape:
        return array
    if array.shape[1:] == (1,) + row:
        return array.reshape((len(array),) + row)
    raise Failure(
        2,
        "bad_inputs",
        "input %s takes rows of shape %s, not %s" % (detail["name"], row, array.shape[1:]),
    )


def batches(loaded, rows):
    """Lists of arrays to set, and how many of their samples are new, until all rows are used.

    The last batch is filled up with the first rows again.
    """
    import numpy as np

    count = len(rows[0])
    whole, size = batch_of(loaded, rows)
    for start in range(0, count, size):
        index = np.arange(start, start + size) % count
        yield (
            [r[start] if w else np.ascontiguousarray(r[index]) for r, w in zip(rows, whole)],
            min(size, count - start),
        )


def batch_of(loaded, rows):
    """Which inputs' rows hold the whole tensor, whose first dimension is no batch then; and how
    many samples are run at once.
    """
    whole = [r.shape[1:] == tuple(d["shape"]) for d, r in zip(loaded.inputs, rows)]
    return whole, 1 if all(whole) else int(loaded.inputs[whole.index(False)]["shape"][0])
