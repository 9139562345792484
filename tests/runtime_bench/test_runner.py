"""The runner in Python: the contract of runners, and what is Python's alone."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.bench import PACKAGE, bench_program
from edgekit_bench import drivers, environment, interference, memory, wheels
from edgekit_bench.machine import cpu_model, emulation
from tests.contracts.runner import Event, Program, TFLiteContract
from tests.runtime_bench.descriptors import DESCRIPTORS, V3D, Descriptors, write_descriptors
from tests.tiny_tflite import dense_model

SAMPLER = PACKAGE.with_name("edgekit_sampler.py")
BARE_PYTHONS = ("3.8", "3.9")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return dense_model(tmp_path / "モデル $(x).tflite")


def run(
    job: dict[str, Any], python: str = sys.executable, env: dict[str, str] | None = None
) -> tuple[int, list[Event]]:
    return Program((python, str(bench_program()))).run(job, env)


class TestPython(TFLiteContract):
    @pytest.fixture
    def program(self) -> Program:
        return Program((sys.executable, str(bench_program())), sampler=str(SAMPLER))

    def test_it_says_which_python_it_is(self, program: Program, model: Path) -> None:
        hello = program.good({"model": str(model)})["hello"]
        assert hello["python"] == ".".join(map(str, sys.version_info[:3]))
        assert hello["executable"] == sys.executable


def test_a_stream_that_dies_ends_all(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "ai_edge_litert"
    broken.mkdir()
    (broken / "__init__.py").touch()
    (broken / "interpreter.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    job = {"protocol": 2, "model": str(model), "streams": 2, "runtime": "ai-edge-litert"}
    code, events = run(job, env={"PYTHONPATH": str(tmp_path)})
    assert code == 5
    assert "ended before it was done" in events[-1]["message"]


@pytest.mark.slow
def test_a_hanging_runtime_is_ended_by_the_kernel(model: Path, tmp_path: Path) -> None:
    """Nobody may be there any more to do it: a runner left behind ends by itself."""
    program = tmp_path / "hang.py"
    program.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(bench_program())!r})\n"
        "from edgekit_bench import main, one_stream\n"
        "one_stream.find_runtime = lambda wanted, kind: time.sleep(1000)\n"
        "one_stream.ALARM_GRACE_SECONDS = 0\n"
        "main.start(sys.argv[1:])\n"
    )
    job = json.dumps({"protocol": 2, "model": str(model), "time_budget_seconds": 0.5}).encode()
    done = subprocess.run([sys.executable, str(program), "-"], input=job, check=False)
    assert done.returncode == -14


def bare_python(version: str) -> str:
    """A Python of that version without any runtime."""
    candidates = [shutil.which(f"python{version}")]
    home = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    if os.access(home, os.R_OK | os.X_OK):
        candidates += [str(p / "bin" / "python") for p in sorted(home.glob(f"{version}.*"))]
    for python in candidates:
        if python is None:
            continue
        probe = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
        if done.stdout.strip() == version:
            return python
    pytest.skip(f"needs python{version}")


@pytest.mark.parametrize("version", BARE_PYTHONS)
def test_the_sampler_under_an_old_python(version: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("1")
    spec = {"channels": [{"files": [str(tmp_path / "f")]}], "seconds": 0.3}
    with subprocess.Popen(
        [bare_python(version), str(SAMPLER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        process.stdin.flush()
        lines = [json.loads(line) for line in process.stdout]
    assert lines[-1]["ended"] == "seconds"
    assert lines[1][3] == ["1"]


@pytest.mark.parametrize("version", BARE_PYTHONS)
def test_under_an_old_python_without_a_runtime(version: str, model: Path) -> None:
    python = bare_python(version)
    code, events = run({"protocol": 2, "model": str(model)}, python)
    assert code == 3
    assert events[0]["code"] == "runtime_missing"
    assert "-m pip install " in events[0]["hint"]
    code, events = run({"protocol": 2, "model": str(model), "surprise": 1}, python)
    assert (code, events[0]["code"]) == (2, "bad_job")


def test_its_syntax_is_that_of_python_3_8() -> None:
    for source in PACKAGE.glob("*.py"):
        ast.parse(source.read_text(encoding="utf-8"), str(source), feature_version=(3, 8))


def test_a_runtime_that_does_not_start(model: Path, tmp_path: Path) -> None:
    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text(
        "raise ImportError('libc.so.6: version `GLIBC_2.34` not found')"
    )
    code, events = run(
        {"protocol": 2, "model": str(model), "runtime": "tflite-runtime"},
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert (code, events[0]["code"]) == (3, "runtime_broken")
    assert "GLIBC_2.34" in events[0]["message"]


@pytest.mark.parametrize(
    ("python", "libc", "machine", "wanted", "line"),
    [
        ((3, 11), ("glibc", "2.36"), "aarch64", None, "py -m pip install ai-edge-litert==2.3.0"),
        ((3, 14), ("glibc", "2.41"), "x86_64", None, "py -m pip install ai-edge-litert==2.3.0"),
        ((3, 9), ("glibc", "2.31"), "aarch64", None, "py -m pip install ai-edge-litert==2.0.3"),
        ((3, 10), ("glibc", "2.31"), "aarch64", None, "py -m pip install ai-edge-litert==2.0.3"),
        (
            (3, 8),
            ("glibc", "2.31"),
            "aarch64",
            None,
            "py -m pip install tflite-runtime==2.14.0 'numpy<2'",
        ),
        (
            (3, 11),
            ("glibc", "2.36"),
            "aarch64",
            "tflite-runtime",
            "py -m pip install tflite-runtime==2.14.0 'numpy<2'",
        ),
        ((3, 11), ("glibc", "2.36"), "aarch64", "tensorflow", "py -m pip install tensorflow"),
        (
            (3, 11),
            ("glibc", "2.36"),
            "aarch64",
            "onnxruntime",
            "py -m pip install onnxruntime==1.31.1",
        ),
    ],
)
def test_what_to_install(
    python: tuple[int, int],
    libc: tuple[str, str],
    machine: str,
    wanted: str | None,
    line: str,
) -> None:
    assert wheels.install_line("py", python, libc, machine, wanted) == line


@pytest.mark.parametrize(
    ("python", "libc", "machine", "wanted"),
    [
        ((3, 13), ("glibc", "2.36"), "aarch64", "tflite-runtime"),
        ((3, 11), ("glibc", "2.24"), "aarch64", None),
        ((3, 11), ("", ""), "aarch64", None),  # musl
        ((3, 11), ("glibc", "2.36"), "riscv64", None),
        ((3, 9), ("glibc", "2.36"), "aarch64", "executorch"),
    ],
)
def test_where_nothing_fits_it_says_so(
    python: tuple[int, int], libc: tuple[str, str], machine: str, wanted: str | None
) -> None:
    line = wheels.install_line("py", python, libc, machine, wanted)
    assert line.startswith("no wheel of ")
    assert machine in line


def fill(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_the_environment_of_a_board(tmp_path: Path) -> None:
    sysfs = fill(
        tmp_path,
        {
            "devices/system/cpu/cpufreq/policy0/scaling_governor": "ondemand\n",
            "devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1500000\n",
            "devices/system/cpu/cpufreq/policy0/scaling_max_freq": "2400000\n",
            "class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "class/thermal/thermal_zone0/temp": "51121\n",
            "class/thermal/thermal_zone1/type": "GPU-therm\n",
            "class/thermal/thermal_zone1/temp": "-256000\n",
            "devices/platform/soc/soc:firmware/get_throttled": "50005\n",
            "loadavg": "0.50 0.40 0.30 1/100 5\n",
        },
    )
    found = environment.environment(sysfs, sysfs)
    assert found == {
        "governors": {"policy0": "ondemand"},
        "cpu_khz": {"policy0": 1500000},
        "cpu_max_khz": {"policy0": 2400000},
        "temperatures_c": {"thermal_zone0:cpu-thermal": 51.121},
        "load_average": [0.5, 0.4, 0.3],
        "throttled": "0x50005",
        "unavailable": {},
    }


def test_what_cannot_be_read_is_absent_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = environment.environment(str(tmp_path), str(tmp_path))
    reasons = found.pop("unavailable")
    assert found == {}
    assert set(reasons) == {
        "governors",
        "cpu_khz",
        "cpu_max_khz",
        "temperatures_c",
        "load_average",
        "throttled",
    }
    assert all(reasons.values())


@pytest.mark.parametrize(
    ("script", "value"),
    [
        ("echo throttled=0x50000", "0x50000"),
        ("echo throttled=0x0", "0x0"),
        ("echo VCHI initialization failed; exit 255", None),
        ("echo nonsense", None),
    ],
)
def test_vcgencmd(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    value: str | None,
) -> None:
    program = tmp_path / "vcgencmd"
    program.write_text(f'#!/bin/sh\n[ "$1" = get_throttled ] || exit 9\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found, why = environment.read_throttled(str(tmp_path))
    assert found == value
    assert bool(why) == (value is None)


@pytest.mark.parametrize(
    ("cpuinfo", "machine", "emulated"),
    [
        ("vendor_id\t: GenuineIntel\n", "aarch64", True),
        ("CPU implementer\t: 0x41\n", "aarch64", False),
        ("vendor_id\t: AuthenticAMD\n", "x86_64", False),
        ("CPU implementer\t: 0x41\n", "x86_64", True),
        ("", "aarch64", False),
    ],
)
def test_emulation_by_cpuinfo(tmp_path: Path, cpuinfo: str, machine: str, emulated: bool) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert (emulation(str(tmp_path), machine) is not None) == emulated


def test_emulation_by_the_program_that_really_runs(tmp_path: Path) -> None:
    task = tmp_path / "self" / "task" / str(os.getpid())
    task.mkdir(parents=True)
    (task / "exe").symlink_to("/usr/bin/qemu-aarch64-static")
    why = emulation(str(tmp_path), "aarch64")
    assert why == "this process runs inside qemu-aarch64-static"


def test_this_machine_is_not_taken_for_emulated() -> None:
    assert emulation() is None


def test_cpu_names(tmp_path: Path) -> None:
    def name(text: str) -> str | None:
        (tmp_path / "cpuinfo").write_text(text)
        found: str | None = cpu_model(str(tmp_path))
        return found

    assert name("processor\t: 0\nmodel name\t: AMD EPYC\n") == "AMD EPYC"
    assert name("processor\t: 0\nModel\t\t: Raspberry Pi 5\n") == "Raspberry Pi 5"
    assert name("CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n") == "implementer 0x41 part 0xd0b"
    assert name("") is None


SMAPS = """\
7f44db442000-7f44db447000 r--s 00000000 fe:00 4039279                    {path}
Size:                 20 kB
Rss:                  12 kB
Pss:                   6 kB
7f44db500000-7f44db547000 r--p 00001000 fe:00 4039279                    {path}
Rss:                   8 kB
Pss:                   8 kB
7f44dc000000-7f44dc021000 rw-p 00000000 00:00 0
Rss:                 100 kB
Pss:                 100 kB
7f44de000000-7f44de021000 r-xp 00000000 fe:00 77                         {path}.so
Rss:                 100 kB
VmFlags: rd wr mr
"""


def test_pages_of_the_model_and_why_they_are_not_known(tmp_path: Path) -> None:
    model, own = tmp_path / "a model.tflite", tmp_path / "self"
    model.touch()
    own.mkdir()
    (own / "status").write_text("VmRSS:\t  5 kB\nVmSwap:\t      3 kB\n")
    (own / "smaps").write_text(SMAPS.format(path=model))
    (own / "fdinfo").mkdir()
    (own / "fdinfo" / "7").write_text(V3D)
    found, why = memory.memory_use(str(model), 77, proc=str(tmp_path))
    assert why == {}
    assert found == {
        "swap_bytes": 3 * 1024,
        "model_rss_bytes": 20 * 1024,
        "model_pss_bytes": 14 * 1024,
        "arena_bytes": 77,
        "driver_bytes": 43264 * 1024,
    }
    found, why = memory.memory_use(str(tmp_path / "other"), "not told", proc=str(tmp_path))
    assert found == {"swap_bytes": 3 * 1024, "driver_bytes": 43264 * 1024}
    assert why["model_rss_bytes"] == "the runtime keeps no mapping of the model's file"
    assert why["arena_bytes"] == "not told"
    found, why = memory.memory_use(str(model), "", proc=str(tmp_path / "none"))
    assert found == {}
    assert why["swap_bytes"].endswith("No such file or directory")
    assert why["model_pss_bytes"].endswith("No such file or directory")
    assert "No such file or directory" in why["driver_bytes"]


@pytest.mark.parametrize(("files", "links", "expected"), DESCRIPTORS)
def test_what_drivers_hold(
    tmp_path: Path, files: Descriptors, links: Descriptors, expected: int | str
) -> None:
    write_descriptors(tmp_path / "self", files, links)
    found, why = drivers.driver_bytes(str(tmp_path), str(tmp_path))
    if isinstance(expected, int):
        assert (found, why) == (expected, "")
    else:
        assert found is None
        assert expected in why


def test_what_adreno_holds(tmp_path: Path) -> None:
    write_descriptors(tmp_path / "self", {"3": ""}, {"3": "/dev/kgsl-3d0"})
    found, why = drivers.driver_bytes(str(tmp_path), str(tmp_path), pid=77)
    assert found is None  # the folder is only for the system on most phones
    assert "/dev/kgsl-3d0 is open" in why
    folder = tmp_path / "class/kgsl/kgsl/proc/77"
    folder.mkdir(parents=True)
    (folder / "gpumem_mapped").write_text("4096\n")
    found, why = drivers.driver_bytes(str(tmp_path), str(tmp_path), pid=77)
    assert found is None
    assert why.endswith("gpumem_unmapped: No such file or directory")
    (folder / "gpumem_unmapped").write_text("12288\n")
    assert drivers.driver_bytes(str(tmp_path), str(tmp_path), pid=77) == (16384, "")


@given(text=st.text(alphabet=st.sampled_from("drm-resident-memory: \t\n0159KiBMid")))
def test_any_fdinfo(text: str) -> None:
    found = drivers.drm_client("drm-driver: v3d\n" + text)
    assert found[2] is None or found[2] >= 0
    assert drivers.drm_client(text) is None or "drm-driver" in text


@given(
    sizes=st.dictionaries(
        st.from_regex(r"[a-z0-9-]{1,9}", fullmatch=True),
        st.tuples(st.integers(0, 10**9), st.sampled_from(["", " KiB", "\tMiB"])),
        min_size=1,
    ),
    key=st.sampled_from(["drm-resident", "drm-memory"]),
)
def test_regions_are_added_up(sizes: dict[str, tuple[int, str]], key: str) -> None:
    lines = [f"{key}-{region}:\t{size}{unit}" for region, (size, unit) in sizes.items()]
    text = "\n".join(["drm-driver:\tany", "drm-total-memory:\t7 MiB", *lines])
    factor = {"": 1, "KiB": 1024, "MiB": 2**20}
    expected = sum(size * factor[unit.strip()] for size, unit in sizes.values())
    assert drivers.drm_client(text) == ((), "any", expected)


def test_work_of_others_is_told_from_ones_own(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")

    def stat(seconds: float) -> None:
        (tmp_path / "stat").write_text(f"cpu  {int(seconds * ticks)} 0 0 999 9 0 0 0 0 0\ncpu0 …\n")

    stat(10)
    watch = interference.OtherWork(proc=str(tmp_path))
    watch.began_ns -= 2_000_000_000  # two seconds ago
    stat(13)
    own, others = watch.cores()
    assert (own, others) == (pytest.approx(0, abs=0.05), pytest.approx(1.5, abs=0.05))
    watch.own -= 3.0  # all of it was this process
    own, others = watch.cores()
    assert (own, others) == (pytest.approx(1.5, abs=0.05), pytest.approx(0, abs=0.05))
    assert interference.OtherWork(proc=str(tmp_path)).cores() == (None, None)  # too short to tell
    assert interference.OtherWork(proc=str(tmp_path / "none")).cores() == (None, None)
