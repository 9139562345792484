"""Whether an accelerator takes as much of an artifact as its board demands."""

from __future__ import annotations

from edgekit.core.description import Coverage, Node
from edgekit.core.profile import Accelerator

SHOWN = 6  # operators that are named
LAYERS = 3  # of each, the user's layers that are named

INTEGER_BORDER = "take the int8-io variant, whose inputs and outputs are integers"
# What would help, by the bare name of an operator that was left to the CPU.
ADVICE = {
    "QUANTIZE": INTEGER_BORDER,
    "DEQUANTIZE": INTEGER_BORDER,
    "QUANTIZE_PER_TENSOR": INTEGER_BORDER,
    "DEQUANTIZE_PER_TENSOR": INTEGER_BORDER,
    "SOFTMAX": "let the model end in logits, and take the softmax on the CPU",
    "_SOFTMAX": "let the model end in logits, and take the softmax on the CPU",
    "WHILE": "unroll the recurrent layers (unroll=True)",
    "TOPK_V2": "leave the sorting to the application",
    "NON_MAX_SUPPRESSION_V4": "leave the suppression of boxes to the application",
    "NON_MAX_SUPPRESSION_V5": "leave the suppression of boxes to the application",
}


def shortfall(
    coverage: Coverage, accelerator: Accelerator, board: str, io: str = "float"
) -> tuple[str, ...]:
    """Why the accelerator takes too little, in sentences; empty if it takes enough.

    The share is one of multiply-adds. Where all is demanded, no operator may be left either. With
    integers at the border (`io`), what converts numbers does so inside.
    """
    name = accelerator.delegate
    taken = coverage.share_of_macs(name)
    left = coverage.left(name)
    if taken >= accelerator.share and not (accelerator.share == 1 and left):
        return ()
    count = len(coverage.nodes)
    demand = "all" if accelerator.share == 1 else f"{100 * accelerator.share:.0f} %"
    reasons = [
        f"{name} takes {100 * taken:.1f} % of the multiply-adds and {count - len(left)} of {count} "
        f"operators (says {coverage.source}); {board} demands {demand}: left are {_named(left)}"
    ]
    advice = dict.fromkeys(ADVICE[_bare(n)] for n in left if _bare(n) in ADVICE)
    if io == "integer":
        advice.pop(INTEGER_BORDER, None)
    more = f"; or copy the profile and lower its share ({name})"
    reasons.append(f"what would help: {'; '.join(advice) or 'replace these in the model'}{more}")
    return tuple(reasons)


def _named(nodes: tuple[Node, ...]) -> str:
    groups: dict[str, list[Node]] = {}
    for node in nodes:
        groups.setdefault(node.operator, []).append(node)
    listed = sorted(groups.items(), key=lambda item: -sum(node.macs for node in item[1]))
    words = []
    for operator, found in listed[:SHOWN]:
        layers = list(dict.fromkeys(node.layer for node in found if node.layer))
        where = ", ".join(layers[:LAYERS]) + (", …" if len(layers) > LAYERS else "")
        times = f"{len(found)} × " if len(found) > 1 else ""
        words.append(f"{times}{operator}" + (f" (layer {where})" if where else ""))
    rest = len(listed) - SHOWN
    return ", ".join(words) + (f" and {rest} more kinds" if rest > 0 else "")


def _bare(node: Node) -> str:
    """``aten._softmax.default`` → ``_SOFTMAX``."""
    parts = [p for p in node.operator.split(".") if p not in ("aten", "default", "out", "tensor")]
    return (parts[-1] if parts else node.operator).upper()
