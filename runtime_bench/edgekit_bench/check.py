"""What comes out of the model: whether it is finite, and the file with all of it."""

from .events import Failure, emit, one_line
from .inputs import batch_of, batches


def not_finite(loaded, values):
    """For each float output that has NaN or infinity: name and how many."""
    import numpy as np

    found = []
    for detail, value in zip(loaded.outputs, values):
        if value.dtype.kind != "f":
            continue
        bad = int(value.size - np.isfinite(value).sum())
        if bad:
            found.append({"name": detail["name"], "not_finite": bad, "of": int(value.size)})
    return found


def check(loaded, rows, path):
    """Run every sample and write all outputs, one row a sample, into the .npz at `path`."""
    import numpy as np

    collected = [[] for _ in loaded.outputs]
    bad = {}
    _, size = batch_of(loaded, rows)
    for values, new in batches(loaded, rows):
        loaded.set_inputs(values)
        loaded.invoke()
        results = loaded.read_outputs()
        for problem in not_finite(loaded, results):
            known = bad.setdefault(problem["name"], dict(problem, not_finite=0, of=0))
            known["not_finite"] += problem["not_finite"]
            known["of"] += problem["of"]
        for place, result in zip(collected, results):
            if result.shape and result.shape[0] == size and size > 1:
                place.extend(result[:new])
            elif result.shape and result.shape[0] == 1:
                place.append(result[0])
            else:
                place.append(result)
    arrays = {
        "out:" + detail["name"]: np.stack(place) for detail, place in zip(loaded.outputs, collected)
    }
    try:
        with open(path, "wb") as file:
            np.savez(file, **arrays)
    except OSError as exc:
        raise Failure(5, "cannot_write", "cannot write the outputs: %s" % one_line(exc))
    emit("check", samples=len(rows[0]), path=path, finite=not bad, not_finite=list(bad.values()))
