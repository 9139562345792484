"""The quantization of a file in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Numbers:
    """Collects which types of numbers a graph computes with.

    Weights count in bytes, activations by operators; what only converts between types, and what
    only computes sizes and places, is for the caller to leave out.
    """

    weights: Counter[tuple[str, str]] = field(default_factory=Counter)
    activations: Counter[str] = field(default_factory=Counter)
    dynamic: bool = False

    def weight(self, dtype: str, size_bytes: int, scales: int = 0, *, block: int = 0) -> None:
        """A constant of `scales` scales; in blocks of `block` numbers if each has one."""
        how = f"in blocks of {block}" if block else "per channel" if scales > 1 else ""
        self.weights[dtype, how or ("per tensor" if scales else "")] += size_bytes

    def activation(self, dtype: str) -> None:
        self.activations[dtype] += 1

    def __str__(self) -> str:
        """ "int8 weights per channel, int8 activations"; empty where all is float32."""
        held = [pair for pair, _ in self.weights.most_common()]
        computed = [dtype for dtype, _ in self.activations.most_common()]
        if {dtype for dtype, _ in held} | set(computed) <= {"float32"}:
            return ""
        parts = []
        if held:
            parts.append(f"{_weights(held)}")
        if computed:
            parts.append(f"{_and(computed)} activations")
        if self.dynamic:
            parts.append("quantized as they come (dynamic)")
        return ", ".join(parts)


def _weights(held: list[tuple[str, str]]) -> str:
    if len(held) == 1:
        dtype, how = held[0]
        return f"{dtype} weights {how}".rstrip()
    return f"{_and([f'{dtype} ({how})' if how else dtype for dtype, how in held])} weights"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
