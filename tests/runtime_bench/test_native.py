"""The runner in C: the contract of runners, and what is its alone."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from edgekit.core.bench import bench_program
from edgekit.export import flatbuffer
from edgekit.measure.native_library import VERSION, library_for
from edgekit.measure.native_program import SOURCES, native_program
from edgekit_bench.litert_profiler import litert_operators
from edgekit_bench.operators import NoProfiler
from tests.contracts.runner import Program, TFLiteContract
from tests.runtime_bench.descriptors import DESCRIPTORS, Descriptors, write_descriptors
from tests.runtime_bench.test_operators import SUMMARY
from tests.tflite_graphs import Graph, cnn
from tests.tiny_tflite import dense_model

HERE = Path(__file__).parent
MACHINE = platform.machine()
OFTEN = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def compiler() -> str:
    found = shutil.which("cc")
    if found is None:
        pytest.skip("needs the Debian package gcc")
    return found


def compiled(target: Path, *words: str) -> Path:
    command = [compiler(), "-std=c11", "-g", "-o", str(target), f"-I{SOURCES}", *words]
    subprocess.run(command, check=True)
    return target


@pytest.fixture(scope="session")
def binary() -> Path:
    return native_program(MACHINE)


@pytest.fixture(scope="session")
def program(binary: Path) -> Program:
    library = library_for(MACHINE)
    words = ("--library", str(library.path), "--library-version", library.version)
    return Program((str(binary), *words), sampler=str(binary))


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its readers and writers, which stop at the first byte that they should not touch."""
    sources = [str(SOURCES / f"{name}.c") for name in ("text", "json", "files", "npz", "table")]
    return compiled(
        tmp_path_factory.mktemp("parts") / "parts",
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
        *(str(HERE / "parts.c"), *sources, "-lm"),
    )


def run_part(parts: Path, *words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:exitcode=99"}
    done = subprocess.run(
        [str(parts), *words], input=data, capture_output=True, check=False, env=env
    )
    assert done.returncode in (0, 1, 2), done.stderr.decode()
    return done


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return dense_model(tmp_path / "model.tflite")


class TestNative(TFLiteContract):
    pass


# ---------------------------------------------------------------------------------------------
# The library


def test_it_needs_its_library(binary: Path, model: Path, tmp_path: Path) -> None:
    program = Program((str(binary), "--library", str(tmp_path / "libLiteRt.so")))
    code, event = program.error({"model": str(model)})
    assert (code, event["code"]) == (3, "runtime_missing")
    assert f"ai-edge-litert {VERSION[:3]}" in event["hint"]


def test_a_library_beside_it_is_found(binary: Path, model: Path, tmp_path: Path) -> None:
    shutil.copy(binary, tmp_path / "runner")
    (tmp_path / "libLiteRt.so").symlink_to(library_for(MACHINE).path)
    hello = Program((str(tmp_path / "runner"),)).good({"model": str(model)})["hello"]
    assert hello["runtime_version"] == "unknown"


def test_what_is_no_library(binary: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "libLiteRt.so").write_bytes(b"no library")
    program = Program((str(binary), "--library", str(tmp_path / "libLiteRt.so")))
    code, event = program.error({"model": str(model)})
    assert (code, event["code"]) == (3, "runtime_broken")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "is another version than ai-edge-litert 2.3"),
        ("void *kLiteRtRuntimeBuiltin[165] = {0};", "it has 165 functions, not 169"),
        ("void *kLiteRtRuntimeBuiltin[169] = {0};", "no LiteRtCreateEnvironment"),
    ],
)
def test_another_version_of_the_library(
    binary: Path, model: Path, tmp_path: Path, source: str, why: str
) -> None:
    (tmp_path / "other.c").write_text(source)
    other = compiled(tmp_path / "other.so", "-shared", "-fPIC", str(tmp_path / "other.c"))
    code, event = Program((str(binary), "--library", str(other))).error({"model": str(model)})
    assert (code, event["code"]) == (3, "runtime_broken")
    assert why in event["message"]


@pytest.mark.parametrize("runtime", ["tflite-runtime", "onnxruntime"])
def test_another_runtime(program: Program, model: Path, runtime: str) -> None:
    code, event = program.error({"model": str(model), "runtime": runtime})
    assert (code, event["code"]) == (3, "runtime_missing")


LIBRARY_THAT = """
#include <signal.h>
#include <unistd.h>
#define DO {does}
void *kLiteRtRuntimeBuiltin[169] = {{0}};
int LiteRtCreateEnvironment(void) {{ DO; return 1; }}
"""


def library_that(does: str, tmp_path: Path) -> Path:
    """A LiteRT of the right version that does something else when it is started."""
    text = (SOURCES / "litert.c").read_text()
    used = text[text.index("#define FUNCTIONS_USED") : text.index("#define DECLARE")]
    names = [line.split("(")[1].split(",")[0] for line in used.splitlines() if "X(" in line][1:]
    others = "".join(
        f"int LiteRt{name}(void) {{ return 1; }}\n" for name in names if name != "CreateEnvironment"
    )
    (tmp_path / "that.c").write_text(LIBRARY_THAT.format(does=does) + others)
    return compiled(tmp_path / "that.so", "-shared", "-fPIC", str(tmp_path / "that.c"))


def test_a_stream_that_dies_ends_all(binary: Path, model: Path, tmp_path: Path) -> None:
    library = library_that("raise(SIGKILL)", tmp_path)
    program = Program((str(binary), "--library", str(library)))
    code, event = program.error({"model": str(model), "streams": 2})
    assert (code, event["code"]) == (5, "run_failed")
    assert "ended before it was done" in event["message"]


def test_a_status_is_told(binary: Path, model: Path, tmp_path: Path) -> None:
    library = library_that("", tmp_path)
    code, event = Program((str(binary), "--library", str(library))).error({"model": str(model)})
    assert (code, event["code"]) == (4, "model_refused")
    assert "LiteRtCreateEnvironment gives status 1" in event["message"]


@pytest.mark.slow
def test_a_hanging_runtime_is_ended_by_the_kernel(model: Path, tmp_path: Path) -> None:
    """A second after the budget here; it is 15 where nobody says otherwise."""
    sources = map(str, SOURCES.glob("*.c"))
    flags = ("-DALARM_GRACE_SECONDS=1", "-D_FILE_OFFSET_BITS=64", "-rdynamic")
    impatient = compiled(tmp_path / "impatient", *flags, *sources, "-ldl", "-lm")
    library = library_that("for (;;) pause()", tmp_path)
    job = json.dumps({"protocol": 2, "model": str(model), "time_budget_seconds": 0.5}).encode()
    done = subprocess.run([str(impatient), "--library", str(library), "-"], input=job, check=False)
    assert done.returncode == -signal.SIGALRM


# ---------------------------------------------------------------------------------------------
# The machine


@pytest.mark.parametrize(("files", "links", "expected"), DESCRIPTORS)
def test_what_drivers_hold(
    program: Program,
    model: Path,
    tmp_path: Path,
    files: Descriptors,
    links: Descriptors,
    expected: int | str,
) -> None:
    write_descriptors(tmp_path / "proc/self", files, links)
    memory = Program((*program.argv, "--root", str(tmp_path))).good({"model": str(model)})["memory"]
    said = memory.get("driver_bytes") or memory["unavailable"]["driver_bytes"]
    assert said == expected if isinstance(expected, int) else expected in said


def test_what_adreno_holds(program: Program, model: Path, tmp_path: Path) -> None:
    """The folder has the number of the process, which the shell before it tells."""
    folder = shlex.quote(f"{tmp_path}/sys/class/kgsl/kgsl/proc") + "/$$"
    make = f"mkdir -p {folder}; echo 4096 >{folder}/gpumem_mapped; "
    make += f'echo 12288 >{folder}/gpumem_unmapped; exec "$@"'
    argv = ("sh", "-c", make, "sh", *program.argv, "--root", str(tmp_path))
    memory = Program(argv).good({"model": str(model)})["memory"]
    assert memory["driver_bytes"] == 16384


def test_the_environment_of_a_board(program: Program, model: Path, tmp_path: Path) -> None:
    cpu, thermal = "sys/devices/system/cpu/cpufreq/policy0", "sys/class/thermal/thermal_zone"
    files = {
        f"{cpu}/scaling_governor": "ondemand\n",
        f"{cpu}/scaling_cur_freq": "1500000\n",
        f"{cpu}/scaling_max_freq": "2400000\n",
        f"{thermal}0/type": "cpu-thermal\n",
        f"{thermal}0/temp": "51121\n",
        f"{thermal}1/type": "GPU-therm\n",
        f"{thermal}1/temp": "-256000\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        "proc/loadavg": "0.50 0.40 0.30 1/100 5\n",
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/meminfo": "MemTotal:        8245248 kB\n",
        "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    events = Program((*program.argv, "--root", str(tmp_path))).good({"model": str(model)})
    assert events["environment"] == {
        "event": "environment",
        "when": "after",
        "governors": {"policy0": "ondemand"},
        "cpu_khz": {"policy0": 1500000},
        "cpu_max_khz": {"policy0": 2400000},
        "temperatures_c": {"thermal_zone0:cpu-thermal": 51.121},
        "load_average": [0.5, 0.4, 0.3],
        "throttled": "0x50005",
        "unavailable": {},
    }
    unavailable = events["memory"]["unavailable"]  # of files that are not there
    smaps = f"{tmp_path}/proc/self/smaps: No such file or directory"
    assert unavailable["model_rss_bytes"] == unavailable["model_pss_bytes"] == smaps
    assert "No such file" in unavailable["swap_bytes"]
    assert "model_rss_bytes" not in events["memory"]
    hello = events["hello"]
    assert hello["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert hello["memory_bytes"] == 8245248 * 1024
    assert hello["cpu"] == "implementer 0x41 part 0xd0b"
    if MACHINE == "x86_64":
        assert hello["emulated"].endswith("/proc/cpuinfo describes an Arm processor")


@pytest.mark.parametrize(
    ("does", "key", "told"),
    [
        ("echo throttled=0x50000", "throttled", "0x50000"),
        ("echo broken; exit 1", "unavailable", "vcgencmd get_throttled said 'broken'"),
    ],
)
def test_vcgencmd(
    program: Program, model: Path, tmp_path: Path, does: str, key: str, told: str
) -> None:
    (tmp_path / "vcgencmd").write_text(f"#!/bin/sh\n{does}\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    _, events = program.run({"protocol": 2, "model": str(model)}, env={"PATH": path})
    environment = next(event for event in events if event["event"] == "environment")
    found = environment[key]
    assert (found["throttled"] if key == "unavailable" else found) == told


# ---------------------------------------------------------------------------------------------
# Inputs and outputs


def test_tensors_are_in_the_order_of_the_model(program: Program, tmp_path: Path) -> None:
    graph = Graph()
    one, other = graph.tensor("one:0", (1, 2)), graph.tensor("other:0", (1, 2))
    less = graph.operator("SUB", [one, other], ("less:0", (1, 2)), options="SubOptions")
    path = graph.save(tmp_path / "sub.tflite", {"one": one, "other": other}, {"less": less})
    model = flatbuffer.read(path)
    inputs = {"other": other, "one": one}  # a signature may have them in another order
    flatbuffer.set_signature(model, "serving_default", inputs, {"less": less})
    flatbuffer.write(model, path)
    arrays = {"in:other": np.float32([[1, 2]]), "in:one": np.float32([[10, 20]])}
    np.savez(tmp_path / "in.npz", **arrays)
    job = {"inputs": str(tmp_path / "in.npz"), "outputs": str(tmp_path / "out.npz")}
    events = program.good({"model": str(path), **job})
    assert [tensor["name"] for tensor in events["load"]["inputs"]] == ["one", "other"]
    with np.load(tmp_path / "out.npz") as file:
        np.testing.assert_array_equal(file["out:less"], [[9, 18]])


def test_outputs_whose_size_is_found_while_it_runs(program: Program, tmp_path: Path) -> None:
    graph = Graph()
    x = graph.tensor("x", (1, 4))
    zero = graph.tensor("zero", (), np.float32(0))
    above = graph.operator("GREATER", [x, zero], ("above", (1, 4)), options="GreaterOptions")
    found = graph.operator("WHERE", [above], ("found", (0, 2)))
    graph.tensors[above].type, graph.tensors[found].type = 6, 4  # bool, int64
    path = graph.save(tmp_path / "where.tflite", {"x": x}, {"found": found})
    code, event = program.error({"model": str(path)})
    assert (code, event["code"]) == (4, "model_refused")
    assert "the size of 'found' is known only when it runs" in event["message"]


DTYPES = st.sampled_from(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])
ARRAYS = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0/\\"), min_size=1, max_size=8),
    DTYPES.flatmap(
        lambda dtype: arrays_of.arrays(
            np.dtype(dtype), arrays_of.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
        )
    ),
    min_size=1,
    max_size=3,
)


def saved(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with zipfile.ZipFile(path, "w") as file:  # numpy.savez takes no name that is its argument's
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(array))
    return path


@OFTEN
@given(arrays=ARRAYS)
def test_arrays_come_back_as_they_are(
    parts: Path, tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    source, target = saved(tmp_path / "in.npz", arrays), tmp_path / "out.npz"
    done = run_part(parts, "npz", str(source), str(target))
    assert done.returncode == 0, done.stdout
    with np.load(target, allow_pickle=False) as file:
        assert sorted(file.files) == sorted(arrays)
        for name, array in arrays.items():
            # ascontiguousarray makes a single number an array of one
            wanted = np.ascontiguousarray(array)
            assert file[name].dtype == wanted.dtype
            np.testing.assert_array_equal(file[name], wanted)


def test_what_savez_writes(parts: Path, tmp_path: Path) -> None:
    rows = np.arange(6, dtype=np.int16).reshape(2, 3)
    np.savez(tmp_path / "in.npz", **{"in:x": rows, "one": np.float64(5)})
    run_part(parts, "npz", str(tmp_path / "in.npz"), str(tmp_path / "out.npz"))
    with np.load(tmp_path / "out.npz") as file:
        np.testing.assert_array_equal(file["in:x"], rows)
        assert file["one"].shape == ()


@OFTEN
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read(
    parts: Path, tmp_path: Path, data: st.DataObject
) -> None:
    source = saved(tmp_path / "in.npz", {"x": np.zeros((2, 4), np.float32), "y": np.ones(3)})
    whole = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole)))) :]
    source.write_bytes(whole)
    done = run_part(parts, "npz", str(source), str(tmp_path / "out.npz"))
    if done.returncode:
        assert json.loads(done.stdout)["code"] == "bad_inputs"


@OFTEN
@given(
    header=st.text(st.sampled_from("{}'descrfontan_shape:<|f4i8,() 0123456789TFalse"), max_size=80)
)
def test_a_header_that_is_none_is_refused(parts: Path, tmp_path: Path, header: str) -> None:
    npy = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode() + bytes(16)
    with zipfile.ZipFile(tmp_path / "in.npz", "w") as file:
        file.writestr("x.npy", npy)
    done = run_part(parts, "npz", str(tmp_path / "in.npz"), str(tmp_path / "out.npz"))
    assert json.loads(done.stdout)["code"] == "bad_inputs"


def npy(array: np.ndarray, *, header: str | None = None, version: bytes = b"\1\0") -> bytes:
    if header is None:
        whole = io.BytesIO()
        np.lib.format.write_array(whole, array, version=(1, 0))
        return whole.getvalue()
    head = header.encode()
    return b"\x93NUMPY" + version + len(head).to_bytes(2, "little") + head + array.tobytes()


HEADER = "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (npy(np.asfortranarray(np.ones((2, 3)))), "is in Fortran's order"),
        (npy(np.ones(3, ">f4")), "has a type that is not taken"),
        (npy(np.ones(3, np.complex64)), "has a type that is not taken"),
        (npy(np.array(["text"])), "has a type that is not taken"),
        (npy(np.zeros(2), header=HEADER % ("<f8", "False", "(3,)")), "has 16 bytes"),
        (npy(np.zeros(2), header=HEADER % ("<f8", "False", "(9223372036854775807, 9)")), "large"),
        (npy(np.zeros(2), header=HEADER % ("<f8", "False", "(99999999999999999999,)")), "large"),
        (npy(np.zeros(2), header=HEADER % ("<f8", "False", "(-2,)")), "is no list of sizes"),
        (npy(np.zeros(1), header=HEADER % ("<f8", "False", "(" + "1," * 99 + ")")), "too many"),
        (npy(np.zeros(1), header="{'descr': '<f8', }"), "is not one of numpy's"),
        (npy(np.zeros(1), header=HEADER % ("<f8", "False", "(1,)"), version=b"\3\0"), "version"),
        (b"nothing", "is no .npy"),
    ],
)
def test_arrays_that_are_not_taken(
    program: Program, model: Path, tmp_path: Path, content: bytes, why: str
) -> None:
    with zipfile.ZipFile(tmp_path / "in.npz", "w") as file:
        file.writestr("x.npy", content)
    code, event = program.error({"model": str(model), "inputs": str(tmp_path / "in.npz")})
    assert (code, event["code"]) == (2, "bad_inputs")
    assert why in event["message"]


def test_a_compressed_file_is_not_taken(program: Program, model: Path, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "in.npz", x=np.zeros((1, 4), np.float32))
    code, event = program.error({"model": str(model), "inputs": str(tmp_path / "in.npz")})
    assert (code, event["code"]) == (2, "bad_inputs")
    assert "is compressed" in event["message"]


# ---------------------------------------------------------------------------------------------
# Time by operator


def test_operators_are_those_of_the_python_runner(program: Program, tmp_path: Path) -> None:
    job = {"model": str(cnn(tmp_path / "cnn.tflite")), "operators": True, "batch": 2}
    told = program.good(job)["operators"]
    del job["batch"]  # that one tells of no batches
    python = Program((sys.executable, str(bench_program()))).good(job)
    kinds = [[each["kind"] for each in one["operators"]] for one in (told, python["operators"])]
    assert kinds[0] == kinds[1]
    assert all(each["calls"] == told["runs"] > 1 for each in told["operators"])
    assert 0 < sum(each["ns"] for each in told["operators"]) <= told["total_ns"]


@pytest.mark.parametrize(
    "change", [("", ""), ("Run Order", "Order"), ("curr=", "now="), ("%", ""), ("\n\n", "\n")]
)
def test_the_table_is_read_as_python_reads_it(parts: Path, change: tuple[str, str]) -> None:
    text = SUMMARY.replace(*change)
    try:
        wanted = litert_operators(text)
    except NoProfiler:
        wanted = []
    assert json.loads(run_part(parts, "operators", data=text.encode()).stdout) == wanted


# ---------------------------------------------------------------------------------------------
# JSON and SHA-256

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), inner),
    max_leaves=12,
)  # fmt: skip


@OFTEN
@given(value=VALUES, ascii_only=st.booleans(), indent=st.none() | st.integers(0, 3))
def test_json_is_read_as_python_reads_it(
    parts: Path, value: object, ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    done = run_part(parts, "json", data=text)
    assert done.returncode == 0

    def alike(one: object) -> object:  # whole numbers above 64 bits come back as reals
        if isinstance(one, int) and not isinstance(one, bool) and not -(2**63) <= one < 2**63:
            return float(one)
        if isinstance(one, list):
            return [alike(each) for each in one]
        return {key: alike(each) for key, each in one.items()} if isinstance(one, dict) else one

    assert json.loads(done.stdout) == alike(json.loads(text))


@OFTEN
@given(
    text=st.text(st.sampled_from('{}[]",:\\ue+-.0123456789truefalsn \n'), max_size=20).map(
        str.encode
    )
    | st.binary(max_size=20)
)
def test_what_is_no_json_is_refused(parts: Path, text: bytes) -> None:
    try:
        json.loads(text.decode())
        known = True
    except (ValueError, RecursionError):
        known = False
    good = run_part(parts, "json", data=text).returncode == 0
    # It refuses more than Python does: NaN, a zero character, half a surrogate, a key given twice.
    assert known or not good


@pytest.mark.parametrize(
    "text", [b"NaN", b'"\\u0000"', b'"\\ud800"', b'{"a": 1, "a": 2}', b"[" * 65 + b"]" * 65, b"01"]
)
def test_json_that_is_not_taken(parts: Path, text: bytes) -> None:
    assert run_part(parts, "json", data=text).returncode == 1


@pytest.mark.parametrize("size", [0, 55, 56, 63, 64, 65, 119, 120, 65_535, 65_536, 200_003])
def test_sha256(parts: Path, tmp_path: Path, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / "file").write_bytes(data)
    done = run_part(parts, "sha256", str(tmp_path / "file"))
    assert done.stdout.decode() == hashlib.sha256(data).hexdigest()
