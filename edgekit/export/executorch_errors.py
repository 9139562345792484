"""ExecuTorch's failures as one line that names the stage, the operator and the user's layer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgekit.core.errors import ConversionError, EdgekitError
from edgekit.export.executorch_coverage import layer

HINT = "try the same numbers as TFLite or ONNX, or another delegate"

# torch.fx adds the first while it runs a graph; ExecuTorch's emitter says the second of operators
# that have no form with a given output; the verifier says the third.
_RUNNING = re.compile(r"While executing %(\w+)")
_MISSING = re.compile(r"Missing out variants: \{(.*?)\}")
_TARGET = re.compile(
    r"\b((?:aten|dim_order_ops|quantized_decomposed|torchvision)[.:]{1,2}\w+(?:\.\w+)?)"
)


@contextmanager
def stage(name: str, title: str, program: Any) -> Iterator[None]:
    """Translate whatever fails inside; `program` is asked for layers."""
    try:
        yield
    except (EdgekitError, MemoryError):
        raise
    except Exception as exc:
        raise explained(exc, name, title, program) from exc


def explained(exc: Exception, name: str, title: str, program: Any) -> ConversionError:
    """The failure of the stage called `name` ("lowering") of the delegate called `title`."""
    text = str(exc)
    operators = _operators(text)
    where = _where(text, operators, program)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    what = re.sub(r"\s+", " ", lines[0])[:250] if lines else type(exc).__name__
    parts = [f"{name} for {title} failed"]
    if operators:
        parts.append(f"at {', '.join(operators)}")
    if where:
        parts.append(f"of layer {where}")
    return ConversionError(f"{' '.join(parts)}: {what}", hint=HINT)


def _operators(text: str) -> list[str]:
    missing = _MISSING.search(text)
    found = _TARGET.findall(missing.group(1) if missing else text)
    return list(dict.fromkeys(name.replace("::", ".") for name in found))[:3]


def _where(text: str, operators: list[str], program: Any) -> str:
    nodes = list(program.graph_module.graph.nodes)
    running = _RUNNING.search(text)
    if running:
        for node in nodes:
            if node.name == running.group(1) and layer(node):
                return layer(node)
    for operator in operators:
        kind = ".".join(operator.split(".")[:2])
        for node in nodes:
            if str(node.target).startswith((kind + ".", kind.removesuffix("_copy") + ".")):
                return layer(node)
    return ""
