"""Times in an ETDump, the file that ExecuTorch's event tracer writes; read without ExecuTorch.

What is read of it has had the same fields since ExecuTorch 0.4: a list of runs, each a list of
events, of which those of profiling have a name, a delegate's own name and two times.
https://github.com/pytorch/executorch/blob/v1.5.1/devtools/etdump/etdump_schema_flatcc.fbs
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.errors import DeviceError

_IDENTIFIER = b"ED00"
_KERNEL = "native_call_"


@dataclass(frozen=True)
class TracedEvent:
    """One event; `delegate` is what a delegate calls its own, empty for ExecuTorch's.

    `ns` are ticks of the board's clock, which are nanoseconds wherever there is an operating
    system.
    """

    name: str
    delegate: str
    ns: int


@dataclass(frozen=True)
class TracedRun:
    """What was told while `name` was done ("Execute": one inference), in the order of its end."""

    name: str
    events: tuple[TracedEvent, ...]


def read_etdump(path: Path) -> list[TracedRun]:
    """The runs in the file.

    Raises:
        DeviceError: it is no ETDump, or a broken one.
    """
    data = path.read_bytes()
    try:
        return list(_runs(data))
    except (struct.error, IndexError, ValueError) as exc:
        raise DeviceError(
            f"the ETDump of {len(data)} bytes cannot be read: {exc}",
            hint="one that begins like another file, or ends too early, was not written to its end",
        ) from exc


def inferences(runs: Sequence[TracedRun]) -> list[int]:
    """ns of each inference, in order."""
    return [
        sum(event.ns for event in run.events if event.name == "Method::execute")
        for run in runs
        if run.name == "Execute" and any(event.name == "Method::execute" for event in run.events)
    ]


def operators(runs: Sequence[TracedRun], skip: int) -> dict[str, Any]:
    """The keys of an "operators" event of all inferences but the first `skip`.

    The entries are those of ``_executorch_calls`` in ``edgekit_bench/model_executorch.py``.
    """
    executed = [run for run in runs if run.name == "Execute"][skip:]
    found: dict[tuple[str, str], dict[str, Any]] = {}

    def add(name: str, kind: str, where: str, ns: int, calls: int = 1) -> None:
        new = {"name": name, "kind": kind, "where": where, "calls": 0, "ns": 0}
        entry = found.setdefault((name, where), new)
        entry["calls"] += calls
        entry["ns"] += ns

    within = delegate_calls = 0
    for run in executed:
        for event in run.events:
            if event.delegate:
                add(event.delegate, event.delegate.partition(" #")[0], "delegate", event.ns)
                within -= event.ns
            elif event.name.startswith(_KERNEL):
                add(event.name, event.name[len(_KERNEL) :], "cpu", event.ns)
            elif event.name == "DELEGATE_CALL":
                delegate_calls += 1
                within += event.ns
    if delegate_calls:  # of a delegate that tells nothing of its own this is all
        add("(within the delegate)", "(not told)", "delegate", max(0, within), delegate_calls)
    if not found:
        return {"unavailable": "the ETDump tells of no operator"}
    total = sum(inferences(executed))
    return {"runs": len(executed), "total_ns": total, "operators": list(found.values())}


# ---------------------------------------------------------------------------------------------
# A flatbuffer, as far as it is needed


def _runs(data: bytes) -> Iterator[TracedRun]:
    start = 4 if data[8:12] == _IDENTIFIER else 0  # with its size before it, or without
    if data[start + 4 : start + 8] != _IDENTIFIER:
        raise ValueError(f"it begins with {data[:12].hex(' ') or 'nothing'}, not with ED00")
    table = _Table(data, start + _number(data, "I", start))
    left = len(data) // 4  # each event takes at least its offset, unless lists overlap
    for run in table.tables(1):
        events = []
        for event in run.tables(3):
            left -= 1
            if left < 0:
                raise ValueError("it tells of more events than it has room for")
            if (profiled := event.table(0)) is not None:
                events.append(_event(profiled))
        yield TracedRun(run.text(0), tuple(events))


def _event(table: _Table) -> TracedEvent:
    number, start, end = table.number(3, "i", -1), table.number(6, "Q", 0), table.number(7, "Q", 0)
    if end < start:
        raise ValueError(f"an event ends at {end}, before its start at {start}")
    delegate = table.text(4) or ("" if number == -1 else str(number))
    return TracedEvent(table.text(0), delegate, end - start)


@dataclass(frozen=True)
class _Table:
    data: bytes
    at: int

    def _field(self, index: int) -> int | None:
        """Where a field begins; None if the table has it not."""
        vtable = self.at - _number(self.data, "i", self.at)
        if _number(self.data, "H", vtable) < 2 * index + 6:
            return None
        offset = _number(self.data, "H", vtable + 4 + 2 * index)
        return self.at + offset if offset else None

    def _target(self, index: int) -> int | None:
        at = self._field(index)
        return None if at is None else at + _number(self.data, "I", at)

    def number(self, index: int, code: str, default: int) -> int:
        at = self._field(index)
        return default if at is None else _number(self.data, code, at)

    def text(self, index: int) -> str:
        at = self._target(index)
        if at is None:
            return ""
        size = _number(self.data, "I", at)
        if at + 4 + size > len(self.data):
            raise ValueError("a text goes beyond its end")
        return self.data[at + 4 : at + 4 + size].decode("utf-8", "replace")

    def table(self, index: int) -> _Table | None:
        at = self._target(index)
        return None if at is None else _Table(self.data, at)

    def tables(self, index: int) -> Iterator[_Table]:
        at = self._target(index)
        for place in range(_number(self.data, "I", at) if at is not None else 0):
            entry = (at or 0) + 4 + 4 * place
            yield _Table(self.data, entry + _number(self.data, "I", entry))


def _number(data: bytes, code: str, at: int) -> int:
    if at < 0:  # which would count from the end
        raise ValueError("it points before its beginning")
    return int(struct.unpack_from("<" + code, data, at)[0])
