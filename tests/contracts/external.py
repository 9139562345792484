"""What every runner over other people's programs keeps to: how often the model is run, what is told
and why the rest is not, and what becomes of a program that fails.

A test class inherits `ExternalProgramContract`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from edgekit.core.errors import DeviceError, EdgekitError, RejectedError, RuntimeMissingError
from edgekit.core.files import sha256_file
from edgekit.core.measurement import MEMORY_KEYS, Launch, Measurement, MeasureSettings
from edgekit.devices.local import LocalDevice
from edgekit.jobs.results import to_result
from edgekit.measure.runners import RUNNERS
from edgekit.measure.session import measure, measure_together
from edgekit.measure.subject import Subject
from tests.program_doubles import FAILURES, Put, put

RUNS, WARMUP = 20, 4
SETTINGS = MeasureSettings(
    launches=2, runs=RUNS, min_seconds=0, warmup_runs=WARMUP, warmup_seconds=0, clocks="as-is"
)
NULLABLE = (
    *("load_ns", "first_ns", "peak_rss_bytes", "rss_before_load_bytes", "own_cores", "other_cores"),
)
ENDINGS = {
    "crashes": "it was killed by SIGSEGV",
    "is killed": "it was killed by SIGKILL, likely out of memory",
    "ends with 3": "it ended with 3",
}


class ExternalProgramContract:
    """Fixtures to give: `real`, the program or its double; `subject`, a model for it."""

    RUNNER: ClassVar[str]
    PROGRAM: ClassVar[str]
    TIMED: ClassVar[tuple[str, ...]]  # words of a call that is timed, with the numbers of SETTINGS
    REFUSES: ClassVar[str]  # what it says of a file that begins with "refuse"
    MORE_REFUSED: ClassVar[tuple[dict[str, Any], ...]] = ()

    @pytest.fixture
    def device(self, tmp_path: Path) -> Iterator[LocalDevice]:
        with LocalDevice(root=tmp_path / "store") as device:
            yield device

    @pytest.fixture
    def program(self, tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
        return put(tmp_path / "bin", self.PROGRAM, real)

    def measured(
        self, device: LocalDevice, subject: Subject, settings: MeasureSettings = SETTINGS
    ) -> Measurement:
        return measure(device, subject, settings, runner=self.RUNNER)

    def check_times(self, launch: Launch, said: str) -> None:
        """The times of `launch`, by what the program `said`."""
        raise NotImplementedError

    def check_memory(self, found: Measurement, said: str) -> None:
        raise NotImplementedError

    # -- what is told

    def test_runs_and_warm_up_are_counted_apart(
        self, device: LocalDevice, program: Put, subject: Subject
    ) -> None:
        found = self.measured(device, subject)
        assert len(found.launches) == 2
        assert any(set(self.TIMED) <= set(call.split()) for call in program.calls)
        for launch in found.launches:
            if launch.summarized:
                assert len(launch.samples_ns) == 1
                assert launch.warmup_ns == ()
                assert f" of {RUNS} runs" in launch.summarized
            else:
                assert len(launch.samples_ns) >= RUNS
                assert len(launch.warmup_ns) >= WARMUP
            assert launch.stopped == "enough"

    def test_times_are_in_ns(self, device: LocalDevice, program: Put, subject: Subject) -> None:
        found = self.measured(device, subject, SETTINGS.model_copy(update={"launches": 1}))
        self.check_times(found.launches[0], program.said)

    def test_memory_is_what_it_says(
        self, device: LocalDevice, program: Put, subject: Subject
    ) -> None:
        self.check_memory(self.measured(device, subject), program.said)

    def test_what_is_not_told_has_a_reason(
        self, device: LocalDevice, program: Put, subject: Subject
    ) -> None:
        found = self.measured(device, subject)
        for launch in found.launches:
            for key in NULLABLE:
                assert (getattr(launch, key) is None) == bool(launch.unavailable.get(key)), key
            assert launch.memory is not None
            for key in MEMORY_KEYS:
                is_told = getattr(launch.memory, key) is not None
                assert is_told != bool(launch.memory.unavailable.get(key)), key
        summary = to_result(found).summary
        for key in ("p90_ns", "p99_ns", "load_ns", "first_ns", "peak_rss_bytes"):
            assert (getattr(summary, key) is None) == bool(summary.unavailable.get(key)), key
        assert Measurement.from_json(found.to_json(), where="here") == found

    def test_operators_are_told_or_why_not(
        self, device: LocalDevice, program: Put, subject: Subject
    ) -> None:
        settings = SETTINGS.model_copy(update={"operators": True, "launches": 1})
        found = self.measured(device, subject, settings).operators
        assert found is not None
        assert bool(found.operators) != bool(found.unavailable)
        assert sum(each.ns for each in found.operators) <= found.total_ns

    def test_nothing_is_left_there(
        self, device: LocalDevice, program: Put, subject: Subject, tmp_path: Path
    ) -> None:
        self.measured(device, subject)
        assert list((tmp_path / "store" / "scratch").iterdir()) == []

    # -- what is refused

    @pytest.mark.parametrize("more", [{"batch": 2}, {"streams": 2}])
    def test_what_it_cannot_do_is_refused_before_it_runs(
        self,
        device: LocalDevice,
        program: Put,
        subject: Subject,
        tmp_path: Path,
        more: dict[str, Any],
    ) -> None:
        for update in (more, *self.MORE_REFUSED):
            with pytest.raises(RejectedError) as caught:
                self.measured(device, subject, SETTINGS.model_copy(update=update))
            short(caught.value, 6)
        assert program.calls == []
        assert list((tmp_path / "store" / "objects").iterdir()) == []  # the model was not sent

    def test_what_it_says_of_a_model_that_it_refuses(
        self, device: LocalDevice, program: Put, subject: Subject, tmp_path: Path
    ) -> None:
        path = tmp_path / "refused"
        path.write_bytes(b"refuse me " * 100)
        other = replace(subject, path=path, sha256=sha256_file(path), check=None)
        with pytest.raises(RejectedError, match=self.REFUSES) as caught:
            self.measured(device, other)
        short(caught.value, 6)

    # -- what fails

    def test_it_is_missing(
        self, device: LocalDevice, subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(RuntimeMissingError, match=f"has no {self.PROGRAM}") as caught:
            self.measured(device, subject)
        short(caught.value, 7)

    def test_it_is_for_another_computer(
        self, device: LocalDevice, program: Put, subject: Subject
    ) -> None:
        path = program.folder / self.PROGRAM
        path.write_text("#!/no/such/interpreter\n")
        with pytest.raises(DeviceError) as caught:
            self.measured(device, subject)
        short(caught.value, 7)

    @pytest.mark.parametrize("how", sorted(set(FAILURES) - {"never ends"}))
    def test_it_fails(
        self, device: LocalDevice, program: Put, subject: Subject, tmp_path: Path, how: str
    ) -> None:
        program.fail(how)
        kept: list[Measurement] = []
        with pytest.raises(DeviceError, match=ENDINGS.get(how, self.PROGRAM)) as caught:
            measure_together(
                device, [replace(subject, runner=self.RUNNER)], SETTINGS, keep=kept.append
            )
        short(caught.value, 7)
        assert self.PROGRAM in caught.value.message
        assert kept == []
        assert list((tmp_path / "store" / "scratch").iterdir()) == []

    @pytest.mark.slow
    def test_it_never_ends(
        self,
        device: LocalDevice,
        program: Put,
        subject: Subject,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        module = importlib.import_module(RUNNERS[self.RUNNER].__module__)
        monkeypatch.setattr(module, "_GRACE_SECONDS", 0.5)
        if hasattr(module, "BUILD_SECONDS"):
            monkeypatch.setattr(module, "BUILD_SECONDS", 1.5)
        program.fail("never ends")
        settings = SETTINGS.model_copy(update={"timeout_seconds": 1.0})
        before = set(psutil.pids())
        with pytest.raises(
            DeviceError, match=r"took longer than [\d.]+ s and was stopped"
        ) as caught:
            self.measured(device, subject, settings)
        short(caught.value, 7)
        left = [pid for pid in set(psutil.pids()) - before if _is(pid, str(program.folder))]
        assert left == []


def short(error: EdgekitError, code: int) -> None:
    """Its exit code, and that it is a line, with a hint one more."""
    assert error.exit_code == code
    assert "\n" not in error.message
    assert "\n" not in error.hint
    assert error.message.isprintable()


def _is(pid: int, word: str) -> bool:
    try:
        process = psutil.Process(pid)
        return word in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
