"""The native runner from this computer to a board: what is built, fetched, chosen and pushed."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.core.errors import (
    EdgekitError,
    InputError,
    RejectedError,
    RuntimeMissingError,
    UnknownNameError,
    UsageError,
)
from edgekit.core.files import sha256_file
from edgekit.core.recipe import Format
from edgekit.devices.local import LocalDevice
from edgekit.devices.ssh import SSHDevice
from edgekit.measure import native_library, native_program
from edgekit.measure.choice import choose_runner
from edgekit.measure.native_executorch import executorch_for, native_module
from edgekit.measure.native_library import described, library_for
from edgekit.measure.native_program import SOURCES, Compiler, build, find_compiler
from edgekit.measure.runner import RunnerWish
from edgekit.measure.runners.native import System, probe, refuse_unfit, refuse_unsuited
from edgekit.measure.session import measure
from edgekit.measure.subject import Subject
from tests.measure.test_session import QUICK, is_sound, script, subject
from tests.sshd import SSHServer
from tests.tiny_tflite import dense_model

MACHINE = platform.machine()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[LocalDevice]:
    with LocalDevice(root=tmp_path / "store") as device:
        yield device


def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> None:
    """Shell scripts that hide the programs of the same names."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    for name, does in programs.items():
        script(folder / name, does)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_measured_on_this_computer(device: LocalDevice, tmp_path: Path) -> None:
    found = measure(device, subject(tmp_path), QUICK, runner="native")
    is_sound(found, "local")
    assert found.hello["runtime_version"] == "2.3.0"
    assert found.hello["runner"].endswith("-native")
    assert "python" not in found.hello


def test_a_batch_and_streams(device: LocalDevice, tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"batch": 4, "streams": 2})
    found = measure(device, subject(tmp_path), settings, runner="native")
    assert [launch.samples_per_stream for launch in found.launches] == [(20, 20), (20, 20)]


def test_operators_are_told(device: LocalDevice, tmp_path: Path) -> None:
    settings = QUICK.model_copy(update={"operators": True})
    found = measure(device, subject(tmp_path), settings, runner="native")
    assert found.operators is not None
    assert found.operators.unavailable == ""
    assert any("Fully Connected" in each.kind for each in found.operators.operators)
    assert found.cut_short == ""


@pytest.mark.slow
def test_measured_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = SSHServer(tmp_path / "sshd")
    try:
        server.configure(monkeypatch)
        server.trust()
        with SSHDevice("ssh://board") as board:
            found = measure(board, subject(tmp_path), QUICK, runner="native")
            is_sound(found, "ssh://board")
            sent = board.pushed_bytes
            measure(board, subject(tmp_path), QUICK, runner="native")
            assert board.pushed_bytes == sent
    finally:
        server.stop()


def test_an_artifact_that_the_runtime_refuses(device: LocalDevice, tmp_path: Path) -> None:
    path = dense_model(tmp_path / "model.tflite", version=99)
    what = Subject(path, sha256_file(path), "none", "tiny", "float32")
    with pytest.raises(RejectedError, match=r"local, ai-edge-litert 2\.3\.0.*version '99'"):
        measure(device, what, QUICK, runner="native")


def test_files_of_the_users_own(device: LocalDevice, tmp_path: Path) -> None:
    wish = RunnerWish(
        native_program=str(native_program.native_program(MACHINE)),
        native_library=str(library_for(MACHINE).path),
    )
    found = measure(device, subject(tmp_path), QUICK, runner="native", wish=wish)
    assert found.hello["runtime_version"] == "unknown"


@pytest.mark.parametrize(
    ("wish", "error", "why"),
    [
        (RunnerWish(runtime="tflite-runtime"), UnknownNameError, "known: ai-edge-litert"),
        (RunnerWish(native_program="/no/runner"), InputError, "there is no file '/no/runner'"),
        (RunnerWish(native_library="/no/lib.so"), InputError, "cannot read '/no/lib.so'"),
        (RunnerWish(native_library=__file__), InputError, "is no shared library"),
    ],
)
def test_wishes_that_cannot_be_met(
    device: LocalDevice, tmp_path: Path, wish: RunnerWish, error: type[EdgekitError], why: str
) -> None:
    with pytest.raises(error, match=why):
        measure(device, subject(tmp_path), QUICK, runner="native", wish=wish)


def test_another_format(device: LocalDevice, tmp_path: Path) -> None:
    path = dense_model(tmp_path / "model.onnx")
    what = Subject(path, sha256_file(path), "none", "tiny", "net", file_format="onnx")
    with pytest.raises(RuntimeMissingError, match="reads tflite, executorch; net is onnx"):
        measure(device, what, QUICK, runner="native")


def test_a_library_of_litert_is_none_for_executorch(device: LocalDevice) -> None:
    wish = RunnerWish(native_library=str(library_for(MACHINE).path))
    with pytest.raises(InputError, match=r"for \.tflite; the variant is executorch"):
        refuse_unsuited(device, wish, "executorch")


@pytest.mark.parametrize(
    ("file_format", "what"), [("tflite", r"litert 2\.3\.0"), ("executorch", r"executorch 1\.5\.1")]
)
def test_a_glibc_that_is_too_old(
    device: LocalDevice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file_format: Format,
    what: str,
) -> None:
    on_path(tmp_path, monkeypatch, getconf="echo glibc 2.17")
    given = replace(subject(tmp_path), file_format=file_format)
    with pytest.raises(RuntimeMissingError, match=rf"local has glibc 2\.17, .*{what} needs 2\."):
        measure(device, given, QUICK, runner="native")


def test_a_library_of_another_machine(
    device: LocalDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(library_for(MACHINE).path.read_bytes()[:4096])
    data[18] = 183 if MACHINE == "x86_64" else 62
    (tmp_path / "lib.so").write_bytes(data)
    wish = RunnerWish(native_library=str(tmp_path / "lib.so"))
    with pytest.raises(RuntimeMissingError, match=r"is for .*, local is"):
        measure(device, subject(tmp_path), QUICK, runner="native", wish=wish)


# ---------------------------------------------------------------------------------------------
# What a board is


@pytest.mark.parametrize(
    ("uname", "getconf", "loaders", "system"),
    [
        (
            "aarch64",
            "echo glibc 2.36",
            ["lib/ld-linux-aarch64.so.1"],
            System("aarch64", "glibc", (2, 36)),
        ),
        # a 64-bit kernel under a 32-bit Raspberry Pi OS
        (
            "aarch64",
            "echo glibc 2.31",
            ["lib/ld-linux-armhf.so.3"],
            System("armv7l", "glibc", (2, 31)),
        ),
        ("x86_64", "exit 1", ["lib64/ld-linux-x86-64.so.2"], System("x86_64", "glibc", (2, 40))),
        ("aarch64", "exit 1", ["lib/ld-musl-aarch64.so.1"], System("aarch64", "musl", None)),
        ("aarch64", "exit 1", ["system/bin/linker64"], System("aarch64", "bionic", None)),
        ("riscv64", "exit 1", [], System("riscv64", "", None)),
    ],
)
def test_what_a_board_is(
    device: LocalDevice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uname: str,
    getconf: str,
    loaders: list[str],
    system: System,
) -> None:
    ldd = "echo 'ldd (Ubuntu GLIBC 2.40-1ubuntu3) 2.40'"
    on_path(tmp_path, monkeypatch, uname=f"echo {uname}", getconf=getconf, ldd=ldd)
    for loader in loaders:
        (tmp_path / "root" / loader).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / loader).touch()
    assert probe(device, str(tmp_path / "root")) == system


@pytest.mark.parametrize(
    ("libc", "named"), [("bionic", "Android's C library"), ("musl", "musl"), ("", "unknown C")]
)
def test_other_c_libraries_need_files_of_ones_own(
    device: LocalDevice, libc: str, named: str
) -> None:
    system = System("aarch64", libc, None)
    with pytest.raises(RuntimeMissingError, match=named) as caught:
        refuse_unfit(device, system, RunnerWish(native_library="/lib.so"))
    assert "--native-program" in caught.value.hint
    own = RunnerWish(native_program="/runner", native_library="/lib.so")
    refuse_unfit(device, system, own)
    with pytest.raises(RuntimeMissingError, match=r"no glibc, which executorch 1\.5\.1 needs"):
        refuse_unfit(device, system, own, "executorch")


# ---------------------------------------------------------------------------------------------
# Which runner is taken


@pytest.fixture
def no_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer on which no Python is found."""
    monkeypatch.setattr("edgekit.measure.runners.python.PYTHONS", ("/no/python",))
    monkeypatch.setattr("edgekit.measure.runners.python.sys.executable", "/no/python")


def test_python_where_it_has_a_runtime(device: LocalDevice) -> None:
    choice = choose_runner(device, "tflite", "", RunnerWish())
    assert (choice.name, choice.why) == ("python", f"{sys.executable} has ai-edge-litert")


@pytest.mark.parametrize("file_format", ["tflite", "executorch"])
def test_native_where_no_python_has(
    device: LocalDevice, no_python: None, file_format: Format
) -> None:
    choice = choose_runner(device, file_format, "", RunnerWish())
    assert (choice.name, choice.why) == (
        "native",
        f"no Python there has a runtime that reads {file_format}",
    )


def test_python_where_native_cannot_be_had(
    device: LocalDevice, no_python: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(tmp_path, monkeypatch, getconf="echo glibc 2.17")
    choice = choose_runner(device, "tflite", "", RunnerWish())
    assert choice.name == "python"
    assert "has glibc 2.17" in choice.why
    assert choose_runner(device, "onnx", "", RunnerWish()).name == "python"


def test_executor_runner_where_there_is_nothing_else(
    device: LocalDevice, no_python: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path(tmp_path, monkeypatch, getconf="echo glibc 2.17")
    assert choose_runner(device, "executorch", "", RunnerWish()).name == "python"
    on_path(tmp_path, monkeypatch, executor_runner="exit 0")
    assert choose_runner(device, "executorch", "", RunnerWish()).name == "executor-runner"
    assert choose_runner(device, "tflite", "", RunnerWish()).name == "python"


def test_what_the_user_says(device: LocalDevice) -> None:
    for wish, named, taken in (
        (RunnerWish(), "native", "native"),
        (RunnerWish(), "python", "python"),
        (RunnerWish(native_library="lib.so"), None, "native"),
        (RunnerWish(python="python3"), None, "python"),
    ):
        choice = choose_runner(device, "tflite", "", wish, named)
        assert (choice.name, choice.why) == (taken, "")
    with pytest.raises(UnknownNameError, match="there is no runner called 'nativ'"):
        choose_runner(device, "tflite", "", RunnerWish(), "nativ")
    with pytest.raises(UsageError, match="--runner native takes no --python"):
        choose_runner(device, "tflite", "", RunnerWish(python="python3"), "native")
    with pytest.raises(UsageError, match="--runner python takes no --native"):
        choose_runner(device, "tflite", "", RunnerWish(native_program="x"), "python")


# ---------------------------------------------------------------------------------------------
# What is built and fetched


def no_zig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "edgekit.measure.native_program.importlib.util.find_spec", lambda name: None
    )


def test_without_a_compiler_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_zig(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    for machine in native_program.TARGETS:
        with pytest.raises(RuntimeMissingError, match=f"for {machine}") as caught:
            find_compiler(machine)
        assert caught.value.hint == "pip install 'edgekit[native]'"
    with pytest.raises(RuntimeMissingError, match=rf"no C\+\+ compiler here .* {MACHINE}"):
        native_module(executorch_for(MACHINE))


@pytest.mark.slow
def test_the_computers_own_compiler_builds_for_its_own_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: Path
) -> None:
    if shutil.which("cc") is None:
        pytest.skip("needs the Debian package gcc")
    no_zig(monkeypatch)
    program = native_program.native_program(MACHINE)
    assert program.is_relative_to(fresh_cache)
    done = subprocess.run([str(program)], capture_output=True, check=False)
    assert done.returncode == 2
    monkeypatch.setenv("PATH", "/no/compiler/any/more")
    with pytest.raises(RuntimeMissingError):
        find_compiler(MACHINE)


def test_it_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    program = native_program.native_program(MACHINE)
    monkeypatch.setattr("edgekit.measure.native_program.build", None)
    assert native_program.native_program(MACHINE) == program


def test_other_machines_are_refused() -> None:
    with pytest.raises(RuntimeMissingError, match="not built for riscv64; only for x86_64"):
        find_compiler("riscv64")
    with pytest.raises(RuntimeMissingError, match="no wheel for armv7l") as caught:
        library_for("armv7l")
    assert "--native-library" in caught.value.hint
    with pytest.raises(RuntimeMissingError, match="executorch has no wheel for armv7l"):
        executorch_for("armv7l")


def test_a_compiler_that_fails(tmp_path: Path) -> None:
    broken = script(tmp_path / "cc", "echo 'main.c:1: error: no such thing' >&2; exit 1")
    with pytest.raises(EdgekitError, match=r"mine cannot build .* no such thing"):
        build(Compiler((broken,), "mine"), tmp_path / "out", scratch=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["aarch64", "armv7l", "x86_64"])
def test_boards_of_other_kinds(machine: str) -> None:
    program = described(native_program.native_program(machine))
    assert program.machine == machine
    assert program.glibc is not None
    assert program.glibc <= (2, 17)


@pytest.mark.slow
def test_a_library_for_another_machine_is_fetched(fresh_cache: Path) -> None:
    other = "aarch64" if MACHINE == "x86_64" else "x86_64"
    library = library_for(other)
    assert library.path.is_relative_to(fresh_cache)
    assert (library.machine, library.version) == (other, "2.3.0")
    assert library.glibc is not None


@pytest.mark.slow
def test_executorch_for_another_machine_is_fetched_and_built_for(fresh_cache: Path) -> None:
    other = "aarch64" if MACHINE == "x86_64" else "x86_64"
    package = executorch_for(other)
    assert package.folder.is_relative_to(fresh_cache)
    assert package.glibc is not None
    files = [*package.libraries, native_module(package)]
    assert {described(path).machine for path in files} == {other}
    assert executorch_for(other) == package


@pytest.mark.slow
def test_a_library_that_cannot_be_fetched(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    other = "aarch64" if MACHINE == "x86_64" else "x86_64"
    with pytest.raises(RuntimeMissingError, match=f"cannot fetch .* for {other}") as caught:
        library_for(other)
    assert "pip download" in caught.value.hint
    assert native_library.NAME in caught.value.hint
    with pytest.raises(RuntimeMissingError, match=f"cannot fetch executorch .* for {other}"):
        executorch_for(other)


@pytest.mark.slow
def test_cmake_builds_it_too(tmp_path: Path) -> None:
    if shutil.which("cmake") is None or shutil.which("cc") is None:
        pytest.skip("needs the Debian packages cmake and gcc")
    where = str(tmp_path / "build")
    for words in (["-S", str(SOURCES), "-B", where], ["--build", where]):
        subprocess.run(["cmake", *words], check=True, capture_output=True)
    with LocalDevice(root=tmp_path / "store") as device:
        wish = RunnerWish(native_program=f"{where}/{native_program.NAME}")
        is_sound(measure(device, subject(tmp_path), QUICK, runner="native", wish=wish), "local")
