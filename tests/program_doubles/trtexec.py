"""A double of NVIDIA's trtexec: what it prints and writes, of an engine that doubles its input.

Older editions (OLD) write the times of the warm-up, too, and do not tell the context's memory. With
the profiler none writes times.
https://github.com/NVIDIA/TensorRT/blob/main/samples/trtexec/trtexec.cpp
"""

import array
import json
import sys
from pathlib import Path

VERSION = "100300"
BIAS = 0.0
OLD = False
WARM_MS, LATENCY_MS = 20.0, 2.5

words = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
TAIL = f"TensorRT.trtexec [TensorRT v{VERSION}] # trtexec"


def info(text, level="I"):
    print(f"[11/29/2026-12:00:00] [{level}] {text}")


print("&&&& RUNNING " + TAIL)
if "help" in words:
    sys.exit(0)
if "onnx" in words:
    with open(words["onnx"], "rb") as file:
        if file.read().startswith(b"refuse"):
            info("Error[4]: Static dimension mismatch while setting input shape.", "E")
            info("Engine set up failed", "E")
            print("&&&& FAILED " + TAIL)
            sys.exit(1)
    with open(words["saveEngine"], "w") as engine:
        engine.write("engine of " + words["onnx"])
    info("Engine built in 10.7204 sec.")
    info("Skipped inference phase since --buildOnly is added.")
    print("&&&& PASSED " + TAIL)
    sys.exit(0)
with open(words["loadEngine"]) as engine:
    assert engine.read().startswith("engine of")
info("[TRT] Loaded engine size: 101 MiB")
info("Engine deserialized in 0.0125 sec.")
info("[TRT] [MemUsageChange] TensorRT-managed allocation in IExecutionContext creation: CPU +0, "
     "GPU +8, now: CPU 0, GPU 106 (MiB)")  # fmt: skip
info("Setting persistentCacheLimit to 0 bytes.")
if not OLD:
    info("Created execution context with device memory size: 7.84766 MiB")
info("Starting inference")
warmup_ms = float(words.get("warmUp", 200))
warm = int(warmup_ms / WARM_MS)
count = int(words.get("iterations", 10))
count = max(count, int(1000 * float(words.get("duration", 3)) / LATENCY_MS))
if "exportOutput" in words:
    name, _, path = words["loadInputs"].partition(":")
    values = [2 * value + BIAS for value in array.array("f", Path(path).read_bytes())]
    with open(words["exportOutput"], "w") as file:
        form = '[\n { "name" : "y"\n , "dimensions" : "1x%d"\n , "values" : [ %s ]\n }\n]'
        file.write(form % (len(values), ", ".join(map(str, values))))
if "exportProfile" in words:
    with open(words["exportProfile"], "w") as file:
        json.dump([{"count": 20}, {"name": "conv1 + relu", "timeMs": 30.0, "averageMs": 1.5},
                   {"name": "fc", "timeMs": 10.0, "averageMs": 0.5}], file)  # fmt: skip
    info("The e2e network timing is not reported since it is inaccurate due to the extra "
         "synchronizations when the profiler is enabled.")  # fmt: skip
else:
    info(f"Warmup completed {warm} queries over {warmup_ms:g} ms")
    info(f"Timing trace has {count} queries over {count * LATENCY_MS / 1e3:g} s")
    entries = [(i * WARM_MS, WARM_MS) for i in range(warm)] if OLD else []
    entries += [(warmup_ms + i * LATENCY_MS, LATENCY_MS + 0.01 * (i % 5)) for i in range(count)]
    if "exportTimes" in words:
        with open(words["exportTimes"], "w") as file:
            json.dump([{"startComputeMs": begun, "computeMs": 2.0, "latencyMs": latency}
                       for begun, latency in entries], file)  # fmt: skip
    info("=== Performance summary ===")
    info("Throughput: %g qps" % (1e3 / LATENCY_MS))
    info("Explanations of the performance metrics are printed in the verbose logs.")
print("&&&& PASSED " + TAIL)
