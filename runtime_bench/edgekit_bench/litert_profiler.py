"""LiteRT's profiler, which its C library has."""

import ctypes
import os
import re

from .operators import NoProfiler
from .runtimes import version_of


class LiteRtLibrary:
    """LiteRT's C library, which has the profiler that its Python API lacks.

    No header comes with it; what is used is declared here as version 2.3 has it.
    https://github.com/google-ai-edge/LiteRT/tree/main/litert/c
    """

    VERSIONS = ("2.3.",)
    CPU, WRITE = 1, 1

    def __init__(self, path):
        version = version_of("ai-edge-litert")
        if not version.startswith(self.VERSIONS):
            raise NoProfiler(
                "its profiler is read from ai-edge-litert 2.3; this runtime is another"
                + (" (%s)" % version if version != "unknown" else "")
            )
        if not os.path.isfile(path):
            raise NoProfiler("there is no libLiteRt.so beside this runtime")
        self.library = ctypes.CDLL(path)
        self.free = ctypes.CDLL(None).free
        self.copy = ctypes.CDLL(None).strdup
        self.copy.restype, self.copy.argtypes = ctypes.c_void_p, [ctypes.c_char_p]

    def call(self, name, *arguments):
        status = getattr(self.library, "LiteRt" + name)(*arguments)
        if status:
            raise ValueError("LiteRt%s gives status %d" % (name, status))

    def made(self, name, *arguments):
        """The handle that a function writes to its last argument."""
        found = ctypes.c_void_p()
        self.call(name, *(arguments + (ctypes.byref(found),)))
        return found

    def count(self, name, *arguments):
        found = ctypes.c_size_t()
        self.call(name, *(arguments + (ctypes.byref(found),)))
        return found.value

    def profiler(self, path, threads, values):
        environment = self.made("CreateEnvironment", 0, None)
        model = self.made("CreateModelFromFile", environment, path.encode("utf-8"))
        options = self.made("CreateOptions")
        self.call("SetOptionsHardwareAccelerators", options, self.CPU)
        self.tell(options, b"xnnpack", b"num_threads = %d\n" % threads)
        self.tell(options, b"runtime_options_string", b"enable_profiling = true\n")
        compiled = self.made("CreateCompiledModel", environment, model, options)
        if self.count("GetNumModelSignatures", model) != 1:
            raise NoProfiler("it is told of files with one signature only")
        signature = self.made("GetModelSignature", model, ctypes.c_size_t(0))
        sides = []
        for side in ("Input", "Output"):
            count = self.count("GetNumSignature%ss" % side, signature)
            made = [
                self.buffer(environment, compiled, signature, side, index, values)
                for index in range(count)
            ]
            sides += [ctypes.c_size_t(count), (ctypes.c_void_p * count)(*made)]
        profiler = self.made("CompiledModelGetProfiler", compiled)
        started = []

        def run():
            # The first call is a warm-up, before the profiler listens.
            self.call("RunCompiledModel", compiled, ctypes.c_size_t(0), *sides)
            if not started:
                self.call("StartProfiler", profiler)
                started.append(True)

        def finish(runs):
            self.call("StopProfiler", profiler)
            text = ctypes.c_char_p()
            self.call("GetProfileSummary", profiler, compiled, ctypes.byref(text))
            return litert_operators(text.value.decode("utf-8", "replace"))

        return run, finish

    def tell(self, options, kind, text):
        free = ctypes.cast(self.free, ctypes.c_void_p)
        made = self.made("CreateOpaqueOptions", kind, ctypes.c_void_p(self.copy(text)), free)
        self.call("AddOpaqueOptions", options, made)

    def buffer(self, environment, compiled, signature, side, index, values):
        """A buffer for one input or output; an input gets the value of its name."""
        number, kind = ctypes.c_size_t(index), (ctypes.c_uint8 * 256)()
        tensor = self.made("GetSignature%sTensorByIndex" % side, signature, number)
        self.call("GetRankedTensorType", tensor, kind)
        wants = self.made(
            "GetCompiledModel%sBufferRequirements" % side, compiled, ctypes.c_size_t(0), number
        )
        made = self.made("CreateManagedTensorBufferFromRequirements", environment, kind, wants)
        if side == "Input":
            name = ctypes.c_char_p()
            self.call("GetSignatureInputName", signature, number, ctypes.byref(name))
            data = values[name.value.decode("utf-8")].tobytes()
            if self.count("GetTensorBufferPackedSize", made) != len(data):
                raise NoProfiler("it is told of a batch of 1 only")
            place = ctypes.c_void_p()
            self.call("LockTensorBuffer", made, ctypes.byref(place), self.WRITE)
            ctypes.memmove(place, data, len(data))
            self.call("UnlockTensorBuffer", made)
        return made.value


def litert_operators(text):
    """What `gathered` gives, out of the profiler's table "Run Order".

    Its columns are [node type], [start], [first], [avg ms], [%], [cdf%], [mem KB], [times called]
    and [Name]. The share is the finest of its numbers; the whole, in µs, stands behind
    "Timings (microseconds): … curr=".
    """
    row = re.compile(
        r"^\s*(?P<kind>\S.*?)\s+[\d.]+\s+[\d.]+\s+[\d.]+\s+(?P<share>[\d.]+)%\s+[\d.]+%\s+"
        r"[\d.]+\s+(?P<calls>\d+)\s+(?P<name>\S.*)$"
    )
    whole = re.search(r"Timings \(microseconds\):.*?\bcurr=(\d+)", text)
    table = text.partition("Run Order")[2].partition("\n\n")[0]
    found = []
    for line in table.splitlines() if whole else ():
        match = row.match(line)
        if match:
            kind = match.group("kind")
            delegated = kind.startswith("Delegate/")
            found.append(
                {
                    "name": match.group("name"),
                    "kind": kind[len("Delegate/") :] if delegated else kind,
                    "where": "xnnpack" if delegated else "cpu",
                    "calls": int(match.group("calls")),
                    "ns": int(round(10 * float(match.group("share")) * int(whole.group(1)))),
                }
            )
    if not found:
        raise NoProfiler("its profiler's table is of another form")
    return found
