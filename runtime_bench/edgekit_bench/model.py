"""A model in a runtime: what `model_tflite`, `model_executorch` and `model_onnx` have in common."""

from .events import Failure, clock, one_line
from .operators import NoProfiler


class Loaded:
    """A model in a runtime, and how long it took to load (ns).

    `inputs` and `outputs` describe the tensors in order, each as a dict with "name" (the one that
    the user gave), "tensor" (the file's own), "shape", "dtype", "scales" and "zero_points".
    """

    def __init__(self, module, job):
        self.job = job
        started = clock()
        try:
            self.open(module)
        except Failure:
            raise
        except Exception as exc:  # ValueError, RuntimeError and others, by runtime and version
            raise Failure(
                4, "model_refused", "the runtime does not load the model: " + one_line(exc)
            )
        self.load_ns = clock() - started
        try:
            self.inputs, self.outputs = self.tensors()
        except Failure:
            raise
        except Exception as exc:  # sequences, maps, strings: nothing that numpy has a type for
            raise Failure(
                4, "model_refused", "its inputs or outputs are no tensors: " + one_line(exc)
            )

    def open(self, module):
        raise NotImplementedError

    def tensors(self):
        raise NotImplementedError

    def set_inputs(self, values):
        """Put one array in each input, in order."""
        raise NotImplementedError

    def run(self):
        """One inference; the runtime's own call and as little as can be beside it."""
        raise NotImplementedError

    def read_outputs(self):
        """Copies of the outputs, in order."""
        raise NotImplementedError

    def invoke(self):
        try:
            self.run()
        except Exception as exc:
            raise Failure(5, "run_failed", "the model fails when it runs: " + one_line(exc))

    def arena_bytes(self):
        """What the runtime has planned for the model's tensors, in bytes; a text if it does not
        tell, why.
        """
        return "edgekit reads none of this runtime"

    def profiler(self, values):
        """A call that runs the model on `values` with profiling on, and one that ends it: for a
        number of runs, the last ones, it returns what `gathered` does.
        """
        raise NoProfiler("edgekit reads no profiler of this runtime")

    def named(self, side, tensors):
        """`tensors` with the names of the job, where it gives some."""
        names = (self.job["names"] or {}).get(side)
        if names is None:
            return tensors
        if len(names) != len(tensors):
            raise Failure(
                2, "bad_job", "%d %s are named, the model has %d" % (len(names), side, len(tensors))
            )
        return [dict(tensor, name=name) for tensor, name in zip(tensors, names)]


def tensor_entry(name, shape, dtype, scales=(), zero_points=(), tensor=""):
    return {
        "name": name,
        "tensor": tensor or name,
        "shape": [int(size) for size in shape],
        "dtype": _dtype_name(dtype),
        "scales": [float(value) for value in scales],
        "zero_points": [int(value) for value in zero_points],
    }


def _dtype_name(dtype):
    import numpy as np

    return np.dtype(dtype).name
