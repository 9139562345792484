"""Which runner is taken where none is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from edgekit.core.errors import PlanError, RuntimeMissingError, UsageError
from edgekit.core.protocols import Device
from edgekit.core.recipe import USUAL_DELEGATE, Format
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners import RUNNERS, benchmark_model, executor_runner
from edgekit.measure.runners.native import refuse_unsuited
from edgekit.measure.runners.python import find_runtime
from edgekit.measure.subject import Subject

# Runners that people put there by hand, and what looks for them.
_PROGRAMS: dict[str, Callable[[Device], bool]] = {
    "benchmark-model": benchmark_model.has_program,
    "executor-runner": executor_runner.has_program,
}


@dataclass(frozen=True)
class RunnerChoice:
    """A name in `RUNNERS`, and why it was taken; "" where the user said so."""

    name: str
    why: str


def with_runners(
    device: Device,
    subjects: Mapping[str, Subject],
    wish: RunnerWish,
    named: str | None,
    say: Callable[[str], None],
) -> dict[str, Subject]:
    """`subjects` with the runner that each of them gets on `device`; `say` is told why.

    Raises as `choose_runner`.
    """
    chosen: dict[tuple[Format, str], RunnerChoice] = {}
    found = {}
    for name, subject in subjects.items():
        kind = subject.file_format, subject.delegate
        if kind not in chosen:
            chosen[kind] = choose_runner(device, *kind, wish, named)
            if chosen[kind].why:
                say(f"{chosen[kind].name} runner for {name}: {chosen[kind].why}")
        found[name] = replace(subject, runner=chosen[kind].name)
    return found


def choose_runner(
    device: Device,
    file_format: Format,
    delegate: str,
    wish: RunnerWish,
    named: str | None = None,
) -> RunnerChoice:
    """The runner for files of `file_format` that `delegate` computes ("": the usual one) on
    `device` (open).

    The Python runner where a Python there has a runtime; else the native one, if it reads the
    format and can run there; else TFLite's benchmark_model or ExecuTorch's executor_runner, if the
    device has it; else the Python runner, which says what to install. What only another runner
    runs, gets that one.

    Raises:
        UnknownNameError: there is no runner called `named`.
        UsageError: `named` contradicts the wish.
        PlanError: it does not run such files, or none does.
    """
    for_native = wish.native_program or wish.native_library
    delegate = delegate or USUAL_DELEGATE[file_format]
    able = [name for name in RUNNERS if delegate in RUNNERS[name].runs.get(file_format, ())]
    if named is not None:
        RUNNERS[named]
        if named not in able:
            raise PlanError(
                f"the runner {named} does not run {file_format} files for {delegate}",
                hint=f"it is run by: {', '.join(able)}" if able else "",
            )
        if (named == "python" and for_native) or (named == "native" and wish.python):
            raise UsageError(
                f"--runner {named} takes no "
                + ("--native-program and --native-library" if for_native else "--python"),
                hint="leave out one of them",
            )
        if named == "app" and (wish.python or wish.runtime or wish.native_library):
            raise UsageError(
                "--runner app takes no --python, --runtime and --native-library: its runtimes are "
                "those in the app",
                hint="leave out one of them",
            )
        return RunnerChoice(named, "")
    able = [name for name in able if name != "app"]  # only where it is asked for
    if not able:
        raise PlanError(f"no runner of edgekit runs {file_format} files for {delegate}")
    if "python" not in able:
        return RunnerChoice(able[0], f"it runs {delegate}")
    if for_native:
        return RunnerChoice("native", "")
    if wish.python or wish.runtime:
        return RunnerChoice("python", "")
    found = find_runtime(device, file_format)
    if found is not None:
        python, runtime = found
        return RunnerChoice("python", f"{python} has {runtime}")
    missing = f"no Python there has a runtime that reads {file_format}"
    if "native" in able:
        try:
            refuse_unsuited(device, wish, file_format)
        except RuntimeMissingError as exc:
            missing += f", and for the native one {exc.message}"
        else:
            return RunnerChoice("native", missing)
    for name, has_program in _PROGRAMS.items():
        if name in able and has_program(device):
            return RunnerChoice(name, missing)
    return RunnerChoice("python", missing)
