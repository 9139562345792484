"""What is told about PyTorch files without torch: kinds, damage, and code inside."""

from __future__ import annotations

import ast
import collections
import contextlib
import copy
import io
import json
import os
import pickle
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import ModelError, UntrustedModelError, UsageError
from edgekit.core.model import ModelOptions
from edgekit.sources.torch import TorchSource
from edgekit.sources.torch_files import examine
from edgekit.sources.torch_program import code_in_program

META = {
    "dtype": 7,
    "sizes": [{"as_expr": {"expr_str": "Symbol('s0', positive=True, integer=True)"}}],
    "device": {"type": "cpu", "index": None},
}
LEAF = {"type": None, "context": None, "children_spec": []}
PROGRAM: dict[str, Any] = {
    "graph_module": {
        "graph": {
            "inputs": [{"as_tensor": {"name": "x"}}],
            "outputs": [{"as_tensor": {"name": "relu"}}],
            "nodes": [
                {
                    "target": "torch.ops.aten.relu.default",
                    "inputs": [{"name": "self", "arg": {"as_tensor": {"name": "x"}}, "kind": 1}],
                    "outputs": [{"as_tensor": {"name": "relu"}}],
                    "metadata": {"stack_trace": 'File "net.py", line 1, in forward\n    x()'},
                    "name": "relu",
                }
            ],
            "tensor_values": {"x": META, "relu": META},
        },
        "module_call_graph": [
            {
                "fqn": "",
                "signature": {
                    "in_spec": json.dumps(
                        [1, {"type": "builtins.tuple", "context": "null", "children_spec": [LEAF]}]
                    ),
                    "out_spec": json.dumps([1, LEAF]),
                    "forward_arg_names": ["x"],
                },
            }
        ],
    },
    "range_constraints": {"s0": {"min_val": 2, "max_val": 8}},
    "torch_version": "2.13.0+cpu",
}


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/edgekit-was-here",)


def torch_zip(members: Mapping[str, bytes], root: str = "archive") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{root}/{name}" if root else name, content)
    return file.getvalue()


def state(extra: object = None) -> bytes:
    """A pickle like that of a state_dict, with something else in it."""
    return pickle.dumps(collections.OrderedDict(extra=extra), protocol=2)


def pt2(members: Mapping[str, bytes | None] | None = None, program: Any = PROGRAM) -> bytes:
    """A program as `torch.export.save` packs it; `members` added, replaced or (None) left out."""
    content: dict[str, bytes | None] = {
        "data/weights/weight_0": bytes(8),
        "data/weights/model_weights_config.json": json.dumps(
            {"config": {"fc.weight": {"path_name": "weight_0", "use_pickle": False}}}
        ).encode(),
        "data/constants/model_constants_config.json": b'{"config": {}}',
        "models/model.json": json.dumps(program).encode(),
        "data/sample_inputs/model.pt": torch_zip({"data.pkl": state()}),
        "archive_format": b"pt2",
        "archive_version": b"0",
        **(members or {}),
    }
    return torch_zip({name: data for name, data in content.items() if data is not None}, "model")


def write(folder: Path, content: bytes, name: str = "model.pt2") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        examine(path)
    text = str(caught.value)
    assert len(text.splitlines()) <= 2
    return text


# ------------------------------------------------------------------------------- kinds


def test_files_are_told_by_what_is_in_them(tmp_path: Path) -> None:
    assert examine(write(tmp_path, pt2())).kind == "pt2"
    assert examine(write(tmp_path, pt2())).code == ()
    assert examine(write(tmp_path, torch_zip({"data.pkl": state()}))).kind == "weights"
    whole = examine(write(tmp_path, torch_zip({"data.pkl": state(Evil())})))
    assert (whole.kind, whole.code) == ("module", ("posix.system",))
    script = {"data.pkl": state(), "code/__torch__.py": b"", "constants.pkl": b""}
    assert examine(write(tmp_path, torch_zip(script))).kind == "torchscript"


def test_safetensors_are_weights(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(4)
    assert examine(write(tmp_path, content)).kind == "safetensors"
    assert "truncated" in refusal(write(tmp_path, content[:-1]))
    assert "truncated" in refusal(write(tmp_path, content[:20]))
    assert "not a safetensors file" in refusal(
        write(tmp_path, struct.pack("<Q", 4) + b"{1:2" + bytes(4))
    )


def test_files_of_torch_before_1_6_are_a_row_of_pickles(tmp_path: Path) -> None:
    def stream(value: object) -> bytes:
        head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        return b"".join(pickle.dumps(part, protocol=2) for part in [*head, value, ["0"]])

    raw = bytes(range(200)) * 4
    plain = stream(collections.OrderedDict(w=1)) + raw
    assert examine(write(tmp_path, plain)).kind == "weights"
    assert examine(write(tmp_path, stream(Evil()) + raw)).code == ("posix.system",)
    assert "not written by torch.save" in refusal(write(tmp_path, pickle.dumps(Evil())))
    assert "truncated" in refusal(write(tmp_path, stream("x" * 99)[:120]))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_what_a_pickle_imports_is_found_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    value = [Evil(), {"again": Evil()}, struct.Struct]
    content = torch_zip({"data.pkl": pickle.dumps(value, protocol=protocol)})
    assert examine(write(tmp_path, content)).code == ("_struct.Struct", "posix.system")


def test_opening_imports_no_framework(tmp_path: Path) -> None:
    program = (
        "import sys; from edgekit.sources import SOURCES;"
        "from edgekit.core.model import ModelOptions;"
        f"SOURCES['torch']().open({str(write(tmp_path, pt2()))!r}, ModelOptions());"
        "print(sorted({'tensorflow', 'torch', 'numpy', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


# ------------------------------------------------------------------------------ damage


def test_not_a_file(tmp_path: Path) -> None:
    assert "there is no model" in refusal(tmp_path / "none.pt2")
    assert "not a plain file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.pt2")
    assert "not a plain file" in refusal(tmp_path / "pipe.pt2")
    assert "it is empty" in refusal(write(tmp_path, b""))
    assert "neither a zip archive nor a pickle" in refusal(write(tmp_path, b"hello, world" * 9))
    assert "not one of PyTorch's" in refusal(write(tmp_path, torch_zip({"a": b""})))


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.999])
def test_truncated(tmp_path: Path, part: float) -> None:
    whole = pt2()
    assert "truncated" in refusal(write(tmp_path, whole[: int(len(whole) * part)]))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"models/model.json": None}, "has to hold one program"),
        ({"models/other.json": b"{}"}, "has to hold one program"),
        ({"models/model.json": b"{"}, "is not JSON"),
        ({"models/model.json": b"[" * 100_000}, "is not JSON"),
        ({"data/weights/weight_0": None}, "data/weights/weight_0 is missing"),
        (
            {"models/model.json": None, "data/aotinductor/model/x.so": b"\x7fELF"},
            "a library compiled for a computer",
        ),
    ],
)
def test_a_program_that_is_not_whole(
    tmp_path: Path, members: Mapping[str, bytes | None], said: str
) -> None:
    assert said in refusal(write(tmp_path, pt2(members)))


def test_a_program_of_an_old_torch(tmp_path: Path) -> None:
    content = torch_zip({"version": b"8.2", "serialized_exported_program.json": b"{}"}, root="")
    assert "before torch 2.8" in refusal(write(tmp_path, content))


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "model/../../evil", "model\\..\\evil", "model//x"]
)
def test_paths_that_leave_the_archive(tmp_path: Path, name: str) -> None:
    content = io.BytesIO(pt2())
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr(name, b"")
    assert "names a path outside itself" in refusal(write(tmp_path, content.getvalue()))


def test_hostile_archives(tmp_path: Path) -> None:
    def with_member(member: zipfile.ZipInfo | str, data: bytes) -> Path:
        content = io.BytesIO(pt2())
        with zipfile.ZipFile(content, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, data)
        return write(tmp_path, content.getvalue())

    link = zipfile.ZipInfo("model/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "holds a link" in refusal(with_member(link, b"/etc/passwd"))
    # torch finds members whatever their case: this one might stand for the one that was looked at
    assert "twice" in refusal(with_member("model/MODELS/model.json", b"{}"))
    assert "would unfold to" in refusal(with_member("model/zeros", bytes(150 * 2**20)))
    assert "does not fill the file" in refusal(write(tmp_path, pt2() + pt2()))
    assert "does not fill the file" in refusal(write(tmp_path, pt2() + b" "))
    assert "not in one folder" in refusal(with_member("other/x", b""))


@given(st.data())
def test_changed_bytes_are_an_error_of_ours_or_none(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([pt2(), torch_zip({"data.pkl": state(Evil())})])))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ModelError):
        examine(write(Path(folder), bytes(whole)))


# ---------------------------------------------------------------------- code in a program


def change(*path: str | int, to: Any) -> Any:
    program = copy.deepcopy(PROGRAM)
    part = program
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = to
    return program


GRAPH = ("graph_module", "graph")
NODE = (*GRAPH, "nodes", 0)
SIGNATURE = ("graph_module", "module_call_graph", 0, "signature")


def spec(kind: str, context: Any) -> str:
    return json.dumps([1, {"type": kind, "context": context, "children_spec": []}])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*NODE, "target"), "torch.os.system"),
        ((*NODE, "target"), "_operator.methodcaller"),
        ((*NODE, "target"), "_operator.call"),
        ((*NODE, "target"), "torch.ops.aten.from_file.default"),
        ((*NODE, "target"), "torch.ops.aten.relu.default.__class__"),
        ((*NODE, "target"), "torch.ops.aten.__init__.__func__"),
        ((*NODE, "target"), "torch.ops.load_library"),
        ((*NODE, "target"), "torch.ops.mine.run.default"),
        ((*NODE, "target"), "torch.ops.higher_order.triton_kernel_wrapper_functional"),
        ((*NODE, "target"), "#executorch:x"),
        ((*NODE, "inputs", 0, "arg"), {"as_operator": "torch.os.system"}),
        ((*NODE, "inputs", 0, "arg"),
         {"as_string_to_argument": {"metadata": {"as_operator": "torch.os.system"}}}),
        ((*NODE, "inputs", 0, "arg"), {"as_graph": {"name": "g", "graph": {"nodes": [
            {"target": "torch.hub.load"}]}}}),
        ((*NODE, "inputs", 0, "name"), "a=__import__('os').system('id'), b"),
        ((*NODE, "name"), "x = __import__('os')\n    y"),
        ((*NODE, "outputs", 0, "as_tensor", "name"), "x\n    import os"),
        ((*NODE, "metadata", "stack_trace"), "x\rimport os"),
        ((*GRAPH, "tensor_values", "x", "sizes", 0, "as_expr", "expr_str"),
         "__import__('os').system('id')"),
        ((*GRAPH, "tensor_values", "x", "sizes", 0, "as_expr", "expr_str"),
         "Max('__import__(\"os\").system(\"id\")', 1)"),
        ((*GRAPH, "tensor_values", "x", "sizes", 0, "as_expr", "expr_str"), "(lambda: 1)()"),
        ((*GRAPH, "tensor_values", "x", "sizes", 0, "as_expr", "expr_str"), "Symbol('a()')"),
        ((*GRAPH, "tensor_values", "x", "sizes", 0, "as_expr", "expr_str"), "s0.__class__"),
        ((*GRAPH, "tensor_values", "x", "sizes", 0, "as_expr", "expr_str"), "s0 +"),
        ((*GRAPH, "tensor_values", "metadata"),
         {"sizes": [{"as_expr": {"expr_str": "exec('')"}}]}),
        ((*GRAPH, "custom_obj_values"), {"obj": {"class_fqn": "__torch__.torch.classes.x"}}),
        ((*SIGNATURE, "forward_arg_names"), ["x=print(1)"]),
        ((*SIGNATURE, "in_spec"), spec("collections.defaultdict", json.dumps(
            {"default_factory_module": "antigravity", "default_factory_name": "x",
             "dict_context": []}))),
        ((*SIGNATURE, "in_spec"), spec("builtins.dict", json.dumps(
            [{"__enum__": True, "fqn": "antigravity:x", "name": "y"}]))),
        ((*SIGNATURE, "in_spec"), spec("builtins.dict", json.dumps(["x=print(1)"]))),
        ((*SIGNATURE, "out_spec"), "not json"),
        (("range_constraints",), {"s0 = 1": {}}),
    ],
)  # fmt: skip
def test_strings_that_would_run_are_found(path: tuple[str | int, ...], value: Any) -> None:
    assert list(code_in_program(PROGRAM)) == []
    assert len(list(code_in_program(change(*path, to=value)))) >= 1


@pytest.mark.parametrize(
    "target",
    ["torch.ops.aten.__and__.Tensor", "torch.ops.aten._softmax.default", "_operator.mul",
     "torch.ops.quantized_decomposed.quantize_per_tensor.default", "math.ceil", "torch.sym_max",
     "torch.ops.higher_order.cond", "torch.ops.aten.sum.dim_IntList"],
)  # fmt: skip
def test_operators_that_only_compute_are_plain(target: str) -> None:
    assert list(code_in_program(change(*NODE, "target", to=target))) == []


@pytest.mark.parametrize(
    "text",
    ["Mul(Integer(-2), Symbol('s0', positive=True, integer=True))", "2*s0 + 1",
     "FloorDiv(Add(Symbol('s0'), Integer(-1)), Integer(2))", "Max(1, s0)", "Float('0.5')"],
)  # fmt: skip
def test_sizes_are_plain(text: str) -> None:
    path = (*GRAPH, "tensor_values", "x", "sizes", 0, "as_expr", "expr_str")
    assert list(code_in_program(change(*path, to=text))) == []


@given(st.text(max_size=40) | st.from_regex(r"\A\w{0,9}\W?\w{0,9}\Z"))
def test_a_plain_name_cannot_be_more_than_a_name_in_source(text: str) -> None:
    if list(code_in_program(change(*NODE, "name", to=text))) or not text:
        return
    try:
        (statement,) = ast.parse(f"{text} = 1").body
    except SyntaxError:  # a keyword, say: it does not load, and does nothing else
        return
    assert isinstance(statement, ast.Assign)
    assert isinstance(statement.targets[0], ast.Name)


def _pickled_weight(name: str) -> dict[str, bytes]:
    config = {"config": {"w": {"path_name": name, "use_pickle": True}}}
    return {
        f"data/weights/{name}": torch_zip({"data.pkl": state(Evil())}),
        "data/weights/model_weights_config.json": json.dumps(config).encode(),
    }


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"data/sample_inputs/model.pt": torch_zip({"data.pkl": state(Evil())})}, "posix.system"),
        ({"data/sample_inputs/model.pt": torch_zip({"data.pkl": state(), "code/x.py": b""})},
         "TorchScript"),
        ({"data/weights/model.pt": torch_zip({"data.pkl": state(Evil())})}, "posix.system"),
        ({"data/constants/model.pt": torch_zip({"data.pkl": state(Evil())})}, "posix.system"),
        (_pickled_weight("weight_9"), "pickled weight 'w'"),
        ({"data/constants/custom_obj_0": b"PK"}, "object data/constants/custom_obj_0"),
        ({"data/constants/opaque_obj_0": pickle.dumps(Evil())}, "opaque_obj_0"),
        ({"data/aotinductor/model/x.so": b"\x7fELF"}, "compiled library"),
    ],
)  # fmt: skip
def test_members_that_would_run_are_refused_by_name(
    tmp_path: Path, members: Mapping[str, bytes], said: str
) -> None:
    path = str(write(tmp_path, pt2(members)))
    with pytest.raises(UntrustedModelError) as caught:
        TorchSource().open(path, ModelOptions())
    assert said in caught.value.message
    assert "--trust-code" in caught.value.hint
    assert TorchSource().open(path, ModelOptions(trusted=True)).kind == "pt2"


# -------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("content", "options", "error", "said"),
    [
        (lambda: torch_zip({"data.pkl": state()}), {}, ModelError,
         "--weights model.pt"),
        (lambda: torch_zip({"data.pkl": state(Evil())}), {}, UntrustedModelError,
         "would import and run posix.system"),
        (lambda: torch_zip({"data.pkl": state(Evil())}), {"trusted": True}, UsageError,
         "--shape x=1,3,224,224"),
        (lambda: torch_zip({"data.pkl": state(), "code/x.py": b""}), {}, UntrustedModelError,
         "TorchScript is deprecated in favour of torch.export"),
        (lambda: torch_zip({"data.pkl": state(), "code/x.py": b""}), {"trusted": True}, UsageError,
         "does not say what inputs it takes"),
        (pt2, {"weights": "w.pt"}, UsageError, "--weights goes with a function"),
    ],
)  # fmt: skip
def test_what_is_not_a_program_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: Callable[[], bytes],
    options: dict[str, Any],
    error: type[ModelError],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, content(), "model.pt")
    with pytest.raises(error) as caught:
        TorchSource().open("model.pt", ModelOptions(**options))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pt2(), "is a whole program, not weights"),
        (torch_zip({"data.pkl": state(Evil())}), "would import and run posix.system"),
        (torch_zip({"data.pkl": state(), "code/x.py": b""}), "TorchScript"),
        (b"", "is empty"),
    ],
    ids=["program", "module", "script", "empty"],
)
def test_weights_that_are_none_are_refused_at_once(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = write(tmp_path, content, "w.pt")
    with pytest.raises(ModelError, match=said):
        TorchSource().open("torch:any.module:build", ModelOptions(weights=str(path)))
