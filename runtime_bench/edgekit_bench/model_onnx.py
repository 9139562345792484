"""An .onnx in ONNX Runtime."""

import json
import os
import tempfile

from .model import Loaded, tensor_entry
from .operators import gathered


class OnnxModel(Loaded):
    """An .onnx in ONNX Runtime on the CPU."""

    DTYPES = {"float": "float32", "float16": "float16", "double": "float64"}

    def open(self, module):
        self.module = module
        self.session = module.InferenceSession(
            self.job["model"], self._options(), providers=["CPUExecutionProvider"]
        )

    def _options(self):
        options = self.module.SessionOptions()
        options.intra_op_num_threads = self.job["threads"]
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return options

    def tensors(self):
        found = []
        for side in ("inputs", "outputs"):
            found.append(
                [self._described(each) for each in getattr(self.session, "get_%s" % side)()]
            )
        self.output_order = [each["name"] for each in found[1]]
        return found

    def _described(self, value):
        """Sizes that the file leaves open, the batch apart, are those of the inputs given."""
        found = tensor_entry(value.name, self._shape(value.shape), self._dtype(value.type))
        opened = [i for i, size in enumerate(value.shape) if i and not isinstance(size, int)]
        return dict(found, open=opened) if opened else found

    def _shape(self, sizes):
        return [
            size if isinstance(size, int) else (self.job["batch"] or 1) if index == 0 else 1
            for index, size in enumerate(sizes)
        ]

    def _dtype(self, text):
        inner = text[len("tensor(") : -1]
        return self.DTYPES.get(inner, inner)

    def set_inputs(self, values):
        self.given = {each["name"]: value for each, value in zip(self.inputs, values)}

    def run(self):
        self.answers = self.session.run(self.output_order, self.given)

    def read_outputs(self):
        return list(self.answers)

    def profiler(self, values):
        folder = tempfile.TemporaryDirectory()
        options = self._options()
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder.name, "run")
        session = self.module.InferenceSession(
            self.job["model"], options, providers=["CPUExecutionProvider"]
        )
        given = {each["name"]: value for each, value in zip(self.inputs, values)}

        def finish(runs):
            with folder, open(session.end_profiling(), encoding="utf-8") as file:
                return gathered(_onnx_calls(json.load(file), runs))

        return lambda: session.run(self.output_order, given), finish


def _onnx_calls(events, runs):
    """Calls of nodes in a trace of ONNX Runtime, in µs; of the last `runs` runs."""
    begins = [event["ts"] for event in events if event.get("name") == "model_run"][-runs:]
    for event in events:
        kernel = str(event.get("name", "")).endswith("_kernel_time")
        if event.get("cat") == "Node" and kernel and event["ts"] >= begins[0]:
            details = event["args"]
            where = details.get("provider", "cpu").replace("ExecutionProvider", "").lower()
            name = event["name"][: -len("_kernel_time")]
            yield name, details.get("op_name", "?"), where, event["dur"] * 1000
