"""What runs a model on a device. Adding one is a file with a class that implements `Runner`, and a
line.
"""

from __future__ import annotations

from edgekit.core.registry import Registry

RUNNERS = Registry(
    "runner",
    {
        "python": "edgekit.measure.runners.python:PythonRunner",
        "native": "edgekit.measure.runners.native:NativeRunner",
        "benchmark-model": "edgekit.measure.runners.benchmark_model:BenchmarkModelRunner",
        "app": "edgekit.measure.runners.app:AppRunner",
        "trtexec": "edgekit.measure.runners.trtexec:TrtexecRunner",
        "executor-runner": "edgekit.measure.runners.executor_runner:ExecutorRunner",
    },
)
