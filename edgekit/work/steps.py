"""Work as a graph of steps. A step is done once for the same content and found again after that.

A step names a function ``module:function`` that a worker process calls as
``function(out, **arguments)``: it writes files into the folder `out` and returns a small JSON
object. The folder is then kept under the step's key, a digest of everything the result depends
on, so a second run of the same thing finds it and does not even start the worker.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import edgekit.core
from edgekit import __version__
from edgekit.core.errors import ConversionError, EdgekitError, WorkerError
from edgekit.core.files import sha256_file
from edgekit.core.noun import json_digest
from edgekit.work.cache import Cache, Entry
from edgekit.work.pool import KINDS, Pool
from edgekit.work.toolchains import find_toolchain, pinned_versions

_CORE = Path(edgekit.core.__file__).parent


@dataclass(frozen=True, eq=False)
class Step:
    """One piece of work.

    Attributes:
        title: for people ("int8: quantize").
        function: ``module:function``, run in a worker process.
        worker: kind of that process, a name in `edgekit.work.pool.KINDS`.
        arguments: keyword arguments; plain JSON types.
        identity: what of the arguments decides the result. Paths do not belong here, the digests
            of what they lead to do. The arguments themselves, if not given.
        needs: steps whose folders are handed over as keyword arguments (as path strings).
        tools: packages whose versions the result depends on, as that kind of worker has them.
        otherwise: another way to the same thing, taken if this one fails with an error of the
            conversion. Whatever needs this step then needs that one, under another key; the
            failure is remembered, and `Done.instead_of` tells it.
    """

    title: str
    function: str
    worker: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] | None = None
    needs: Mapping[str, Step] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    otherwise: Step | None = None

    @cached_property
    def key(self) -> str:
        """Hex digest of all that the result depends on, edgekit's own code included."""
        identity = self.arguments if self.identity is None else self.identity
        toolchain = KINDS[self.worker].toolchain
        return json_digest(
            {
                "edgekit": __version__,
                "function": self.function,
                "code": [_code_digest(function.partition(":")[0]) for function in self._code],
                "identity": dict(identity),
                "needs": {name: step.key for name, step in self.needs.items()},
                "tools": tool_versions(self.tools, self.worker)
                | ({"toolchain": find_toolchain(toolchain).digest} if toolchain else {}),
            }
        )

    @property
    def _code(self) -> tuple[str, ...]:
        """The functions whose code decides the result: its own, and what loads its model."""
        model = self.arguments.get("model")
        loader = model.get("loader") if isinstance(model, Mapping) else None
        return (self.function, loader) if loader else (self.function,)


@dataclass(frozen=True)
class Done:
    """A finished step: its folder, what its function returned, and what it cost this time.

    `instead_of` holds the errors of the ways that were tried first, here or in what it needs.
    `made_seconds` and `made_peak_bytes` are what it and all it needs have cost when they were made,
    whenever that was; the peak is of the resident memory of one worker process.
    """

    folder: Path
    result: dict[str, Any]
    cached: bool
    seconds: float
    instead_of: tuple[EdgekitError, ...] = ()
    costs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def made_seconds(self) -> float:
        return float(sum(cost["seconds"] for cost in self.costs.values()))

    @property
    def made_peak_bytes(self) -> int | None:
        peaks = (cost["peak_bytes"] for cost in self.costs.values())
        return max((peak for peak in peaks if peak), default=None)

    @classmethod
    def of(cls, entry: Entry, *, cached: bool, seconds: float) -> Done:
        """What was kept of a step; its costs stand beside its result there."""
        result = dict(entry.result)
        costs = result.pop(_COSTS, {})
        return cls(entry.folder, result, cached, seconds, costs=costs)


Outcome = Done | EdgekitError
# Told a step and "start", "done", "cached", "failed", "skipped" (what it needs has failed) or
# "otherwise" (its other way is taken), or "says …", its own words while it runs.
Progress = Callable[[Step, str], None]

_COSTS = "costs"  # in a kept result: what it and each step that it needs have cost, by key
_FAILED = "failed"  # in a kept result: the error of a step that has another way


def tool_versions(packages: Iterable[str], worker: str = "plain") -> dict[str, str]:
    """Versions by package name, as workers of that kind have them; "absent" for what is not there.

    A toolchain's are those of its lock, whether it is installed or not.
    """
    toolchain = KINDS[worker].toolchain
    if toolchain:
        pinned = pinned_versions(toolchain)
        return {name: pinned.get(name, "absent") for name in sorted(packages)}
    return {name: _version(name) for name in sorted(packages)}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


@cache
def _code_digest(module: str) -> str:
    """Over all of the part of edgekit that the module lies in (``edgekit.export``), and core: a
    change in a helper of the step's is another step. Elsewhere over the module's folder.
    """
    parts = module.split(".")
    name = ".".join(parts[:2]) if parts[0] == "edgekit" else module
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ValueError(f"no module called {name}")
    folder = Path(spec.origin).parent
    files = {*folder.rglob("*.py"), *_CORE.rglob("*.py")}
    return json_digest(sorted([path.name, sha256_file(path)] for path in files))


def run_steps(
    wanted: Iterable[Step], *, pool: Pool, cache: Cache, progress: Progress = lambda *_: None
) -> dict[Step, Outcome]:
    """Do the wanted steps and what they need; independent ones side by side.

    A step that fails takes only those down that need it; they get its error as their outcome.
    Only what is wanted is looked for in the cache first, so needs of a known step are not redone.
    """
    return _Run(pool, cache, progress).run(list(wanted))


class _Run:
    def __init__(self, pool: Pool, cache: Cache, progress: Progress) -> None:
        self.pool, self.cache, self.progress = pool, cache, progress
        self.outcomes: dict[str, Outcome] = {}
        self.running: dict[Future[Done], Step] = {}
        self.todo: dict[str, Step] = {}
        self.replaced: dict[str, Step] = {}  # key of a step that failed: its other way
        self.tried: dict[str, tuple[EdgekitError, ...]] = {}  # key of another way: what failed

    def run(self, wanted: list[Step]) -> dict[Step, Outcome]:
        for step in wanted:
            self._collect(step)
        self._start()
        try:
            while self.running:
                finished, _ = wait(self.running, return_when=FIRST_COMPLETED)
                for future in finished:
                    self._settle(self.running.pop(future), future)
                self._submit_ready()
        except BaseException:  # Ctrl-C above all: no worker outlives the wait for it
            self.pool.stop()
            raise
        return {step: self._outcome(step) for step in wanted}

    def _start(self) -> None:
        self.pool.warm({step.worker for step in self.todo.values()})
        self._submit_ready()

    def _current(self, step: Step) -> Step:
        """`step` with every way that failed, its own or in what it needs, replaced."""
        if not self.replaced:
            return step
        if step.key in self.replaced:
            return self._current(self.replaced[step.key])
        needs = {name: self._current(need) for name, need in step.needs.items()}
        if all(needs[name] is need for name, need in step.needs.items()):
            return step
        changed = replace(step, needs=needs)
        self.tried[changed.key] = tuple(
            error for need in needs.values() for error in self.tried.get(need.key, ())
        )
        return changed

    def _outcome(self, step: Step) -> Outcome:
        current = self._current(step)
        if current.key not in self.outcomes:  # what else it needs had failed before
            errors = (self._outcome(need) for need in current.needs.values())
            return next(error for error in errors if isinstance(error, EdgekitError))
        outcome = self.outcomes[current.key]
        tried = self.tried.get(current.key, ())
        if not tried:
            return outcome
        if isinstance(outcome, Done):
            return replace(outcome, instead_of=tried)
        before = "; ".join(error.message for error in tried)
        both = EdgekitError.from_json(outcome.to_json())
        both.message = f"{outcome.message} (tried before: {before})"
        return both

    def _collect(self, step: Step) -> None:
        step = self._current(step)
        if step.key in self.outcomes or step.key in self.todo:
            return
        found = self.cache.find(step.key)
        if found is not None:
            done = Done.of(found, cached=True, seconds=0.0)
            if not self._take_other_way(step, done):
                self.outcomes[step.key] = done
                self.progress(step, "cached")
            return
        for need in step.needs.values():
            self._collect(need)
        if self._current(step) is not step:  # one of them is known to fail
            self._collect(step)
        else:
            self.todo[step.key] = step

    def _take_other_way(self, step: Step, done: Done) -> bool:
        """Whether `done` is a remembered failure; the step's other way is collected then."""
        if step.otherwise is None or _FAILED not in done.result:
            return False
        error = EdgekitError.from_json(done.result[_FAILED])
        other = step.otherwise
        self.replaced[step.key] = other
        self.tried[other.key] = (*self.tried.get(step.key, ()), error)
        self.progress(step, "otherwise")
        waiting = list(self.todo.values())
        self.todo.clear()
        for each in (other, *waiting):
            self._collect(each)
        return True

    def _submit_ready(self) -> None:
        submitted = True
        while submitted:  # a failure may settle further steps at once
            submitted = False
            chains = self._chains()
            for key, step in sorted(self.todo.items(), key=lambda item: -chains[item[0]]):
                needs = [self.outcomes.get(need.key) for need in step.needs.values()]
                failed = next((n for n in needs if isinstance(n, EdgekitError)), None)
                if failed is not None:
                    del self.todo[key]
                    self.outcomes[key] = failed
                    self.progress(step, "skipped")
                    submitted = True
                elif all(needs):
                    del self.todo[key]
                    says = partial(self._says, step)
                    self.running[self.pool.submit(step.worker, self._work, step, says=says)] = step
                    submitted = True

    def _chains(self) -> dict[str, int]:
        """How many steps wait for each one that is to be done, one after the other.

        Those that most wait for go first: where two workers of a kind are for three steps, the one
        that starts last must not be the start of the longest chain.
        """
        found: dict[str, int] = {}

        def reach(step: Step, length: int) -> None:
            if step.key in self.todo and found.get(step.key, -1) < length:
                found[step.key] = length
                for need in step.needs.values():
                    reach(need, length + 1)

        for step in self.todo.values():
            reach(step, 0)
        return found

    def _says(self, step: Step, words: str) -> None:
        self.progress(step, f"says {words}")

    def _work(self, step: Step, call: Callable[..., dict[str, Any]]) -> Done:
        """Runs in a thread of the pool that owns one worker process, reached through `call`."""
        self.progress(step, "start")
        started = time.perf_counter()
        folders: dict[str, Any] = {}
        costs: dict[str, Any] = {}
        for name, need in step.needs.items():
            outcome = self.outcomes[need.key]
            assert isinstance(outcome, Done)
            folders[name] = str(outcome.folder)
            costs |= outcome.costs

        def make(out: Path) -> dict[str, Any]:
            try:
                result = call(step.function, out, {**step.arguments, **folders})
                own = result.pop("cost")
                return {**result, _COSTS: {**costs, step.key: own}}
            except ConversionError as exc:
                # A crash or a lack of memory may not happen again, a refusal will.
                if step.otherwise is None or isinstance(exc, WorkerError):
                    raise
                return {_FAILED: exc.to_json()}

        entry, made = self.cache.get_or_make(step.key, make)
        return Done.of(entry, cached=not made, seconds=time.perf_counter() - started)

    def _settle(self, step: Step, future: Future[Done]) -> None:
        error = future.exception()
        if error is None:
            done = future.result()
            if not self._take_other_way(step, done):
                self.outcomes[step.key] = done
                self.progress(step, "done")
        elif isinstance(error, WorkerError) and step.otherwise is not None:
            self._take_other_way(step, Done(Path(), {_FAILED: error.to_json()}, False, 0.0))
        elif isinstance(error, EdgekitError):
            self.outcomes[step.key] = error
            self.progress(step, "failed")
        elif isinstance(error, OSError):
            failure = WorkerError(f"{step.title}: {error.strerror or error}")
            failure.__cause__ = error
            self.outcomes[step.key] = failure
            self.progress(step, "failed")
        else:
            raise error
