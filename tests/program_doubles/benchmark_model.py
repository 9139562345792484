"""A double of TFLite's benchmark_model: what it prints, of inferences that are not computed.

Its peak of memory is that of this process. The editions: 2019 printed the times in another order;
since 2021 each line has its severity, the median, and the peak is told if it is asked for.
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/lite/tools/benchmark/benchmark_model.cc
"""

import resource
import sys

EDITION = 2021
RUN_US = 33_100
FIRST_US, INIT_US, WARM_US = 49_060, 855, 45_000

words = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])


def info(text):
    print("INFO: " * (EDITION >= 2021) + text)


def kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def runs(count, seconds, us):
    """As many as both ask for, but none that begins after --max_secs."""
    count = max(count, int(seconds * 1e6 / us))
    return (
        min(count, int(float(words["max_secs"]) * 1e6 / us) + 1) if "max_secs" in words else count
    )


def stat(count, first, us):
    info(
        f"Running benchmark for at least {count} iterations and at least 0.5 seconds but terminate "
        "if exceeding 150 seconds."
    )
    more = f" p5={us} median={us} p95={us + 900}" if EDITION >= 2021 else ""
    told = f"min={us} max={first} avg={us + 109.4:g} std=450{more}"
    info(f"count={count} first={first} curr={us} {told}\n")


info("STARTING!")
info(f"Graph: [{words['graph']}]")
info(f"#threads used for CPU inference: [{words['num_threads']}]")
start = kib()
with open(words["graph"], "rb") as file:
    model = file.read()
if model.startswith(b"refuse"):
    sys.stdout.flush()
    sys.stderr.write(
        "ERROR: Didn't find op for builtin opcode 'CONV_2D' version '99'.\n"
        "ERROR: Registration failed.\nERROR: Failed to construct interpreter\n"
        "ERROR: Benchmarking failed.\n"
    )
    sys.exit(1)
info(f"Loaded model {words['graph']}")
weights = bytearray(32 << 20)
weights[::4096] = bytes([1]) * (len(weights) // 4096)
init = kib()
info(f"Initialized session in {INIT_US / 1e3:g}ms.")
warm = runs(int(words["warmup_runs"]), float(words["warmup_min_secs"]), WARM_US)
stat(warm, FIRST_US, WARM_US)
count = runs(int(words["num_runs"]), float(words["min_secs"]), RUN_US)
stat(count, RUN_US, RUN_US)
mean = f"{RUN_US + 109.4:g}"
if EDITION < 2020:
    info(f"Average inference timings in us: Warmup: {WARM_US}, Init: {INIT_US}, no stats: {mean}")
else:
    info(
        f"Inference timings in us: Init: {INIT_US}, First inference: {FIRST_US}, "
        f"Warmup (avg): {WARM_US}, Inference (avg): {mean}"
    )
    info(
        "Note: as the benchmark tool itself affects memory footprint, the following is only "
        "APPROXIMATE to the actual memory footprint of the model at runtime. Take the "
        "information at your discretion."
    )
    grown = f"init={(init - start) / 1024:g} overall={(kib() - start) / 1024:g}"
    info(f"Memory footprint delta from the start of the tool (MB): {grown}")
if EDITION >= 2021 and words.get("report_peak_memory_footprint") == "true":
    info(f"Overall peak memory footprint (MB) via periodic monitoring: {kib() / 1024:g}")
    info("Memory status at the end of exeution:")
    info(f"- VmRSS              : {kib() >> 10} MB")
if words.get("enable_op_profiling") == "true":
    info("Operator-wise Profiling Info for Regular Benchmark Runs:")
    print(
        "============================== Run Order ==============================\n"
        "\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]"
        "\t[times called]\t[Name]\n"
        "\t                 CONV_2D\t   10.117\t   10.101\t 30.461%\t 30.461%\t     0.000"
        "\t        1\t[net/conv/Relu]:0\n"
        "\t                     ADD\t    1.000\t    0.500\t  3.000%\t 33.461%\t     0.000"
        "\t        2\t[net/add]:1\n"
        "\t   TfLiteXNNPackDelegate\t   23.100\t   22.059\t 66.539%\t100.000%\t     0.000"
        "\t        1\t[net/out]:7\n"
        "\n"
        "============================== Top by Computation Time =============================="
        "\n\nDelegate internal: \n"
        "============================== Run Order ==============================\n"
        "\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]"
        "\t[times called]\t[Name]\n"
        "\t   Fully Connected (NC, F32)\t   22.000\t   22.000\t100.000%\t100.000%\t     0.000"
        "\t        1\tDelegate/Fully Connected (NC, F32):0\n"
    )
