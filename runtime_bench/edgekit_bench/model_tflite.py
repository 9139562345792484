"""A .tflite in ai-edge-litert, tflite-runtime or TensorFlow."""

import os
import sys

from .model import Loaded, tensor_entry


class TFLiteModel(Loaded):
    """A .tflite in an Interpreter."""

    def open(self, module):
        self.module = module
        self.interpreter = module.Interpreter(
            model_path=self.job["model"], num_threads=self.job["threads"]
        )
        batch = self.job["batch"]
        if batch is not None:
            for detail in self.interpreter.get_input_details():
                shape = [int(size) for size in detail["shape"]]
                if shape and shape[0] != batch:
                    self.interpreter.resize_tensor_input(
                        detail["index"], [batch] + shape[1:], strict=False
                    )
        self.interpreter.allocate_tensors()
        self.run = self.interpreter.invoke

    def tensors(self):
        found = []
        for side in ("inputs", "outputs"):
            names = self._signature_names(side)
            details = getattr(self.interpreter, "get_%s_details" % side[:-1])()
            setattr(self, "_%s" % side, [detail["index"] for detail in details])
            found.append(
                [
                    tensor_entry(
                        names.get(detail["index"], detail["name"]),
                        detail["shape"],
                        detail["dtype"],
                        detail["quantization_parameters"]["scales"],
                        detail["quantization_parameters"]["zero_points"],
                        tensor=detail["name"],
                    )
                    for detail in details
                ]
            )
        return found

    def _signature_names(self, side):
        """Tensor index to the name that the model's only signature gives it."""
        listing = getattr(self.interpreter, "_get_full_signature_list", None)
        signatures = listing() if listing else {}
        if len(signatures) != 1:
            return {}
        (only,) = signatures.values()
        return {index: name for name, index in only[side].items()}

    def set_inputs(self, values):
        for index, value in zip(self._inputs, values):
            self.interpreter.set_tensor(index, value)

    def read_outputs(self):
        return [self.interpreter.get_tensor(index) for index in self._outputs]

    def arena_bytes(self):
        return "TFLite and LiteRT tell it neither in Python nor in C"

    def profiler(self, values):
        from .litert_profiler import LiteRtLibrary

        folder = os.path.dirname(sys.modules[self.module.__name__].__file__)
        library = LiteRtLibrary(os.path.join(folder, "libLiteRt.so"))
        by_name = {each["name"]: value for each, value in zip(self.inputs, values)}
        return library.profiler(self.job["model"], self.job["threads"], by_name)
