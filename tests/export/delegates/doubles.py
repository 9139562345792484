"""Doubles of makers' compilers that are not here: they take operators and say what those say.

Neither does anything useful: the one operator that they put in the place of several holds nothing.
What they print follows what the makers' programs have been seen to print.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from edgekit.export import flatbuffer

EDGETPU_VERSION = "16.0.384591198"
EDGETPU_TAKES = ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "RESHAPE")


def fused(model: Any, takes: tuple[str, ...], name: str) -> tuple[list[str], list[str]]:
    """Put a custom operator in the place of the first run of operators that `takes` names.

    Returns:
        The names of the operators that were taken, and of those that were not.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    names = [operator.name for operator in flatbuffer.operators_of(model, graph)]
    kinds = [flatbuffer.dtype(graph.tensors[op.outputs[0]]) for op in graph.operators]
    good = [n in takes and kind == "int8" for n, kind in zip(names, kinds, strict=True)]
    if not any(good):
        return [], names
    first = good.index(True)
    last = next((i for i in range(first, len(good)) if not good[i]), len(good))
    inside = graph.operators[first:last]
    made = {int(t) for op in inside for t in op.outputs}
    later = {int(t) for op in graph.operators[last:] for t in op.inputs} | set(graph.outputs)
    read = dict.fromkeys(int(t) for op in inside for t in op.inputs if t >= 0 and t not in made)
    custom = schema.OperatorT()
    custom.inputs = [t for t in read if not flatbuffer.is_constant(model, graph.tensors[t])]
    custom.outputs = sorted(made & later)
    custom.opcodeIndex = len(model.operatorCodes)
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, 32
    code.customCode, code.version = name, 1
    model.operatorCodes.append(code)
    graph.operators = [*graph.operators[:first], custom, *graph.operators[last:]]
    return names[first:last], names[:first] + names[last:]


def edgetpu_compiler() -> int:
    """What ``edgetpu_compiler`` of version 16 prints; its files have no signature."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", action="store_true")
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-o", default=".")
    parser.add_argument("-t")
    parser.add_argument("-m")
    parser.add_argument("model", nargs="?")
    given = parser.parse_args()
    print(f"Edge TPU Compiler version {EDGETPU_VERSION}")
    if given.version:
        return 0
    print(f"Started a compilation timeout timer of {given.t} seconds.")
    if given.m == "9":
        print("ERROR: :58 Model requires a newer runtime.\nCompilation child process crashed.")
        return 1
    source = Path(given.model)
    model = flatbuffer.read(source)
    taken, left = fused(model, EDGETPU_TAKES, "edgetpu-custom-op")
    model.signatureDefs = []
    out = Path(given.o) / f"{source.stem}_edgetpu.tflite"
    flatbuffer.write(model, out)
    out.with_suffix(".log").write_text("the same table")
    print(
        f"\nModel compiled successfully in 12 ms.\n\nInput model: {source}\nInput size: 4.00KiB\n"
        f"Output model: {out}\nOutput size: 28.00KiB\n"
        "On-chip memory used for caching model parameters: 2.75KiB\n"
        "On-chip memory remaining for caching model parameters: 7.73MiB\n"
        "Off-chip memory used for streaming uncached model parameters: 0.00B\n"
        f"Number of Edge TPU subgraphs: 1\nTotal number of operations: {len(taken) + len(left)}\n"
        f"Operation log: {out.with_suffix('.log')}\n"
    )
    if left:
        print(
            "Model successfully compiled but not all operations are supported by the Edge TPU.\n"
            f"Number of operations that will run on Edge TPU: {len(taken)}\n"
            f"Number of operations that will run on CPU: {len(left)}\n"
        )
    print("Operator                       Count      Status\n")
    rows = [(name, count, "Mapped to Edge TPU") for name, count in Counter(taken).items()]
    for name, count in Counter(left).items():
        known = name in EDGETPU_TAKES
        why = "More than one subgraph is not supported" if known else "Operation not supported"
        rows.append((name, count, why))
    for name, count, status in sorted(rows):
        print(f"{name:<30} {count:<10} {status}")
    print("Compilation child process completed within timeout period.\nCompilation succeeded! ")
    return 0


def apply_plugin_main() -> int:
    """What LiteRT's ``apply_plugin_main`` prints about what it hands a maker's compiler."""
    parser = argparse.ArgumentParser()
    for name in ("cmd", "model", "o", "soc_manufacturer", "soc_model", "err", "libs"):
        parser.add_argument(f"--{name}")
    given = parser.parse_args()
    if given.soc_model == "SM8350":
        print("INFO: [a.cc:1] Loading\nERROR: [qnn_manager.cc:1] Failed to load libQnnHtp.so")
        print("ERROR: [b.cc:2] ERROR: [b.cc:3]\n[LITERT_TOOLS:APPLY] Failed")
        return 1
    model = flatbuffer.read(Path(given.model))
    takes = EDGETPU_TAKES
    taken, left = fused(model, takes, "DISPATCH_OP")
    flatbuffer.write(model, Path(given.o))
    total = len(taken) + len(left)
    print(f"Selected plugin for: {given.soc_manufacturer}")
    print(
        f"INFO: [apply_plugin.cc:1] Partitioned subgraph<0>, selected {len(taken)} ops, "
        f"from a total of {total} ops. resulted in 1 partitions."
    )
    return 0
