"""What in the JSON of a program of torch.export would run code as torch reads it.

torch.export.load looks operators up by dotted names below ``torch``, ``math`` and ``operator``
(which reach as far as ``torch.os.system``), has sympy evaluate sizes as Python, imports modules for
some kinds of containers, and compiles Python source out of the names in the graph. So every string
has to be one of a kind that is known to be harmless; what a file says beyond that is code.

Read from torch 2.13: torch/_export/serde/serialize.py, torch/export/pt2_archive/_package.py,
torch/utils/_pytree.py and torch/fx/graph.py.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

# Operators that compute and nothing else. Not aten.from_file, which reads and writes files.
_OPERATOR = re.compile(
    r"torch\.ops\.(?:aten|prims|quantized_decomposed|torchvision|torchao)\."
    r"(?!from_file)(?:[A-Za-z]\w*|_[a-z]\w*|__(?:i?and|i?or|i?xor|i?lshift|i?rshift)__)\.[A-Za-z]\w*|"
    r"torch\.ops\.higher_order\.(?:cond|while_loop|scan|associative_scan|map_impl|invoke_subgraph|"
    r"wrap_with_set_grad_enabled|wrap_with_autocast|flex_attention)|"
    r"_operator\.(?:add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_|"
    r"lshift|rshift|getitem)|"
    r"math\.[a-z]\w*|torch\.(?:_)?sym_[a-z]\w*"
)
_SYMPY = frozenset(
    # sympy's own, and those of torch.utils._sympy.functions
    [
        *("Abs", "Add", "And", "Ceiling", "Eq", "Ge", "Gt", "Le", "Lt", "Max", "Min", "Mod", "Mul"),
        *("Ne", "Not", "Or", "Piecewise", "Pow", "Rational", "ceiling", "floor"),
        *("CeilDiv", "CeilToInt", "CleanDiv", "FloatPow", "FloatTrueDiv", "FloorDiv", "FloorToInt"),
        *("Identity", "IntTrueDiv", "IsNonOverlappingAndDenseIndicator", "LShift", "RShift"),
        *("ModularIndexing", "PowByNatural", "PythonMod", "RoundDecimal", "RoundToInt", "ToFloat"),
        *("TruncToFloat", "TruncToInt", "Where", "Equality", "Unequality", "LessThan"),
        *("GreaterThan", "StrictLessThan", "StrictGreaterThan"),
    ]
)
# These take text: a name or a number. The others would evaluate it.
_SYMPY_TEXT = re.compile(r"\w+|[\d.+\-eE]+")
_SYMPY_ATOMS = frozenset({"Symbol", "Integer", "Float"})
_PYTHON = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Name, ast.Load, ast.Tuple,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
_CONTAINERS = (
    None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict",
    "collections.namedtuple", "torch.Size",
)  # fmt: skip
# These become names in Python source.
_NAMES = ("name", "as_name", "forward_arg_names")
_IDENTIFIER = re.compile(r"(?:[^\W\d]\w*)?")
_DOTTED = re.compile(r"[\w.@]*")
_LABEL = re.compile(r"[\w.\-/ ]*")  # may stand in the list of parameters, but cannot end it
# Text that is only shown, or handed to an operator as the string that it is.
_NOTES = frozenset(
    {"stack_trace", "nn_module_stack", "torch_fn", "source_fn_stack", "custom", "from_node"}
)
_VALUES = frozenset({"as_string", "as_strings", "torch_version"})
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
EXPRESSION_LIMIT = 10_000
SHOWN = 60


def code_in_program(program: Any) -> Iterator[str]:
    """What is not plain in ``models/model.json``, each in words.

    `guards_code` is Python source too; it is never run here (`torch_worker` drops it).
    """
    stack: list[tuple[str, Any]] = [("", program)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, str):
            yield from _in_text(key, value)
        elif isinstance(value, list):
            stack.extend((key, part) for part in reversed(value))
        elif isinstance(value, dict):
            for name, part in reversed(value.items()):
                if key == "metadata" and name in _NOTES and isinstance(part, str):
                    if _CONTROL.search(part):
                        yield f"{name} {_shown(part)}"
                    continue
                if name == "guards_code":
                    continue
                if name in ("custom_obj_values", "custom_obj", "as_custom_obj") and part:
                    yield f"object of {_shown(json.dumps(part))}"
                    continue
                if not _DOTTED.fullmatch(name):
                    yield f"name {_shown(name)}"
                stack.append((name, part))


def _in_text(key: str, text: str) -> Iterator[str]:
    if key in ("target", "as_operator"):
        if not _OPERATOR.fullmatch(text):
            yield f"operator {_shown(text)}"
    elif key == "expr_str":
        if not _is_size(text):
            yield f"expression {_shown(text)}"
    elif key in ("in_spec", "out_spec"):
        yield from _in_container(key, text)
    elif key in _VALUES:
        return
    elif not (_IDENTIFIER if key in _NAMES else _DOTTED).fullmatch(text):
        yield f"{key} {_shown(text)}"


def _is_size(text: str) -> bool:
    """Whether sympy, which has Python evaluate `text`, can only compute a number from it."""
    if len(text) > EXPRESSION_LIMIT:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            if name in _SYMPY_ATOMS:
                if not _is_atom(node):
                    return False
                continue
            if name not in _SYMPY or node.keywords:
                return False
            stack.extend(node.args)
        elif isinstance(node, ast.Constant):
            if not isinstance(node.value, int | float):
                return False
        elif isinstance(node, _PYTHON):
            stack.extend(ast.iter_child_nodes(node))
        else:
            return False
    return True


def _is_atom(call: ast.Call) -> bool:
    """``Symbol('s0', integer=True)``, ``Integer(3)``, ``Float('0.5', precision=53)``."""
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    if call.args and isinstance(call.args[0], ast.UnaryOp):  # Integer(-1)
        values[0] = call.args[0].operand
    return bool(call.args) and all(
        isinstance(value, ast.Constant)
        and (
            isinstance(value.value, int | float)
            or (isinstance(value.value, str) and _SYMPY_TEXT.fullmatch(value.value) is not None)
        )
        for value in values
    )


def _in_container(key: str, text: str) -> Iterator[str]:
    """What is not plain in the description of how inputs or outputs are nested."""
    try:
        stack = [json.loads(text)[1]]
        while stack:
            part = stack.pop()
            kind, context = part["type"], part["context"]
            labels = json.loads(context) if isinstance(context, str) and context else context
            if kind not in _CONTAINERS:
                yield f"container {_shown(str(kind))}"
            elif not _are_labels(labels, strict=key == "in_spec"):
                yield f"keys {_shown(str(context))}"
            stack.extend(part["children_spec"])
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        yield f"{key} {_shown(text)}"


def _are_labels(labels: Any, *, strict: bool) -> bool:
    if labels is None or isinstance(labels, str):
        return labels is None or _DOTTED.fullmatch(labels) is not None
    if not isinstance(labels, list):
        return False
    return all(
        isinstance(label, int)
        or (
            isinstance(label, str)
            and not _CONTROL.search(label)
            and (not strict or _LABEL.fullmatch(label) is not None)
        )
        for label in labels
    )


def listed_payloads(config: Any) -> Iterator[tuple[str, str]]:
    """Each entry of a list of weights or constants: what is not plain about it or "", its file."""
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        yield "a list of weights that is none", ""
        return
    for name, entry in entries.items():
        file = entry.get("path_name") if isinstance(entry, dict) else None
        if not isinstance(file, str) or not _DOTTED.fullmatch(file) or not _DOTTED.fullmatch(name):
            yield f"weight {_shown(name)}", ""
        elif entry.get("use_pickle") is not False:
            yield f"pickled weight {_shown(name)}", file
        else:
            yield "", file


def _shown(text: str) -> str:
    line = repr(text)
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
