"""A .pte in ExecuTorch."""

import mmap
import os
import struct
import tempfile
import warnings

from .events import Failure, one_line
from .model import Loaded, tensor_entry
from .operators import NoProfiler, gathered


class ExecuTorchModel(Loaded):
    """A .pte in ExecuTorch's Python runtime; its method "forward". Its batch cannot be changed."""

    def open(self, module):
        import torch

        _refuse_batch(self.job)
        self.torch = torch
        _set_executorch_threads(self.job["threads"])
        self.program = module.Runtime.get().load_program(self.job["model"])
        self.method = self.program.load_method("forward")
        if self.method is None:
            raise ValueError("it has no method called forward")

    def tensors(self):
        meta = self.method.metadata
        found = []
        for side in ("inputs", "outputs"):
            count = getattr(meta, "num_%s" % side)()
            tensors = [getattr(meta, "%s_tensor_meta" % side[:-1])(index) for index in range(count)]
            described = [
                tensor_entry("%s_%d" % (side[:-1], index), each.sizes(), self._dtype(each.dtype()))
                for index, each in enumerate(tensors)
            ]
            found.append(self.named(side, described))
        return found

    def _dtype(self, number):
        """numpy's name of a type that the file gives as torch's ScalarType number."""
        names = {0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16"}
        names.update({6: "float32", 7: "float64", 11: "bool"})
        if number not in names:
            raise ValueError("a tensor has the type %r, which numpy does not have" % number)
        return names[number]

    def set_inputs(self, values):
        self.given = [self.torch.from_numpy(value.copy()) for value in values]

    def run(self):
        self.answers = self.method.execute(self.given)

    def read_outputs(self):
        return [answer.detach().numpy().copy() for answer in self.answers]

    def arena_bytes(self):
        try:
            return planned_bytes(self.job["model"], "forward")
        except (OSError, ValueError, struct.error) as exc:
            return "the file does not tell what is planned: " + one_line(exc)

    def profiler(self, values):
        from executorch.extension.pybindings import portable_lib

        try:
            from executorch.devtools import Inspector
        except ImportError as exc:
            raise NoProfiler("executorch.devtools does not load: " + one_line(exc))
        model = portable_lib._load_for_executorch(self.job["model"], enable_etdump=True)
        given = [self.torch.from_numpy(value.copy()) for value in values]

        def finish(runs):
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "run.etdump")
                model.write_etdump_result_to_file(path)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    blocks = Inspector(etdump_path=path).event_blocks
            return gathered(_executorch_calls(blocks, runs))

        return lambda: model.forward(given), finish


def planned_bytes(path, method):
    """Bytes of the buffers that a .pte's `method` has planned for its tensors.

    Read from the file, since MethodMeta tells them in C++ only: of Program the second field, of
    each ExecutionPlan there the first (name) and the ninth (non_const_buffer_sizes).
    https://github.com/pytorch/executorch/blob/v1.5.1/schema/program.fbs
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:

        def number(code, at):
            return struct.unpack_from("<" + code, data, at)[0]

        def field(table, index):
            """Where what a table's field points to begins; None if it is not there."""
            vtable = table - number("i", table)
            if number("H", vtable) < 2 * index + 6:
                return None
            offset = number("H", vtable + 4 + 2 * index)
            return table + offset + number("I", table + offset) if offset else None

        plans = field(number("I", 0), 1)
        for index in range(number("I", plans) if plans else 0):
            plan = plans + 4 + 4 * index
            plan += number("I", plan)
            name, sizes = field(plan, 0), field(plan, 8)
            if name and data[name + 4 : name + 4 + number("I", name)] == method.encode("utf-8"):
                count = number("I", sizes) if sizes else 0
                return sum(struct.unpack_from("<%dq" % count, data, sizes + 4) if count else ())
    raise ValueError("it has no method %s" % method)


def _executorch_calls(blocks, runs):
    """Calls of operators in an ETDump's block "Execute". Its times are in ms.

    A delegate tells of its own operators without saying that they are in it; kernels of ExecuTorch
    are called native_call_…; what a delegate's call took beyond its operators is told as such.
    """
    for block in blocks:
        if block.name != "Execute":
            continue
        inside = [event for event in block.events if event.is_delegated_op]
        for event in block.events:
            if event.perf_data is None:
                continue
            times = list(event.perf_data.raw)[-runs:]
            if event.is_delegated_op:
                kind = event.name.partition(" #")[0]
                for ms in times:
                    yield event.name, kind, event.delegate_backend_name or "delegate", ms * 1e6
            elif event.name.startswith("native_call_"):
                kind = event.name[len("native_call_") :]
                for ms in times:
                    yield event.name, kind, "cpu", ms * 1e6
            elif event.name == "DELEGATE_CALL" and inside:
                told = sum(sum(list(each.perf_data.raw)[-runs:]) for each in inside)
                rest = max(0.0, sum(times) - told) / len(times)
                for _ in times:
                    yield "(within the delegate)", "(not told)", "delegate", rest * 1e6


def _set_executorch_threads(count):
    """ExecuTorch takes all cores unless told otherwise; torch's own setting does not reach it."""
    from executorch.extension.pybindings import portable_lib

    portable_lib._unsafe_reset_threadpool(count)


def _refuse_batch(job):
    if job["batch"] not in (None, 1):
        raise Failure(
            4, "model_refused", "its shapes are fixed; a batch of %d is not in it" % job["batch"]
        )
