"""What is said of an ONNX file before ONNX is imported: whole, in its folder, ONNX's own."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.core.errors import ModelError, UsageError
from edgekit.core.model import ModelOptions
from edgekit.sources import SOURCES
from edgekit.sources.onnx import ONNXSource
from edgekit.sources.onnx_files import examine
from tests import onnx_zoo


def refusal(path: Path | str, **options: object) -> ModelError:
    with pytest.raises(ModelError) as caught:
        ONNXSource().open(str(path), ModelOptions(**options))
    assert len(str(caught.value).splitlines()) <= 2
    return caught.value


def external(folder: Path, location: str = "weights.bin") -> Path:
    """The MLP with its weights in a file beside it."""
    model = onnx_zoo.mlp()
    path = folder / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    if location != "weights.bin":
        content = path.read_bytes()
        assert len(location) == len("weights.bin")
        path.write_bytes(content.replace(b"weights.bin", location.encode()))
    return path


def test_a_model_is_a_handle_with_a_digest(tmp_path: Path) -> None:
    model = ONNXSource().open(str(onnx_zoo.write("cnn", tmp_path)), ModelOptions())

    assert (model.name, model.framework, model.worker) == ("cnn", "onnx", "onnx")
    assert len(model.digest) == 64
    assert SOURCES["onnx"] is ONNXSource


@pytest.mark.parametrize("name", onnx_zoo.MODELS)
def test_operators_are_read_without_onnx(tmp_path: Path, name: str) -> None:
    found = examine(onnx_zoo.write(name, tmp_path))
    nodes = onnx_zoo.MODELS[name]().graph.node

    assert found.operators == {(node.domain, node.op_type) for node in nodes}
    assert found.files == []


def test_names_decide_what_is_onnx() -> None:
    assert ONNXSource().accepts("a/b.ONNX")
    assert not ONNXSource().accepts("a/b.onnx/c.keras")


# ------------------------------------------------------------------------- external data


def test_weights_beside_the_model_count_in_the_digest(tmp_path: Path) -> None:
    path = external(tmp_path)
    before = ONNXSource().open(str(path), ModelOptions()).digest
    weights = bytearray((tmp_path / "weights.bin").read_bytes())
    weights[5] ^= 1
    (tmp_path / "weights.bin").write_bytes(weights)

    assert examine(path).files == ["weights.bin"]
    assert ONNXSource().open(str(path), ModelOptions()).digest != before


@pytest.mark.parametrize("location", ["../ghts.bin", "/eights.bin", "a/../ts.bin"])
def test_weights_may_not_lie_elsewhere(tmp_path: Path, location: str) -> None:
    path = external(tmp_path, location)

    assert "outside of its folder" in refusal(path).message


def test_weights_may_not_be_reached_through_a_link(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "weights.bin").rename(tmp_path / "real.bin")
    (tmp_path / "weights.bin").symlink_to(tmp_path / "real.bin")

    assert "through a link" in refusal(path).message


def test_weights_that_are_gone_or_cut_off(tmp_path: Path) -> None:
    path = external(tmp_path)
    weights = tmp_path / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-1])

    assert "cut off" in refusal(path).message
    weights.unlink()
    assert "cannot be read" in refusal(path).message


def test_tensors_that_all_lead_to_the_same_bytes_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = external(tmp_path)
    monkeypatch.setattr("edgekit.sources.onnx_files.LIMIT_BYTES", path.stat().st_size + 1000)

    assert "with its weights" in refusal(path).message


# ------------------------------------------------------------------------ what is refused


def test_operators_of_others_are_named(tmp_path: Path) -> None:
    g = onnx_zoo.Graph()
    g.add("Magic", g.add("Relu", "x"), domain="my.company", output="y")
    model = g.model({"x": (TensorProto.FLOAT, [1, 4])}, {"y": (TensorProto.FLOAT, [1, 4])},
                    domains=["my.company"])  # fmt: skip
    onnx.save(model, tmp_path / "custom.onnx")

    assert "my.company.Magic" in refusal(tmp_path / "custom.onnx").message


def test_functions_of_the_file_itself_are_no_custom_operators(tmp_path: Path) -> None:
    g = onnx_zoo.Graph()
    g.add("Twice", "x", domain="local", output="y")
    model = g.model(
        {"x": (TensorProto.FLOAT, [1, 4])}, {"y": (TensorProto.FLOAT, [1, 4])}, domains=["local"]
    )
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    opsets = [helper.make_opsetid("", onnx_zoo.OPSET)]
    model.functions.append(helper.make_function("local", "Twice", ["a"], ["b"], body, opsets))
    onnx.save(model, tmp_path / "function.onnx")

    assert examine(tmp_path / "function.onnx").functions == {("local", "Twice")}


def bomb(path: Path, depth: int) -> Path:
    """Ten calls of what makes ten calls, `depth` deep."""
    opsets = [helper.make_opsetid("", onnx_zoo.OPSET), helper.make_opsetid("local", 1)]
    functions = []
    for level in range(depth):
        kind, domain = (f"f{level - 1}", "local") if level else ("Relu", "")
        names = ["a", *(f"t{place}" for place in range(9)), "b"]
        body = [helper.make_node(kind, [x], [y], domain=domain) for x, y in pairwise(names)]
        functions.append(helper.make_function("local", f"f{level}", ["a"], ["b"], body, opsets))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(f"f{depth - 1}", ["x"], ["y"], domain="local")], "bomb",
        [value("x", TensorProto.FLOAT, [1, 4])], [value("y", TensorProto.FLOAT, [1, 4])],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=opsets, functions=functions), path)
    return path


def test_functions_that_unfold_to_more_than_a_file_can_hold_are_refused(tmp_path: Path) -> None:
    assert examine(bomb(tmp_path / "small.onnx", 3)).unfolded_bytes > 1000 * 1000
    assert "would unfold to" in refusal(bomb(tmp_path / "bomb.onnx", 10)).message


def test_functions_that_call_themselves_are_refused(tmp_path: Path) -> None:
    path = bomb(tmp_path / "circle.onnx", 3)
    model = onnx.load(path)
    for node in model.functions[0].node:
        node.op_type, node.domain = "f2", "local"
    onnx.save(model, path)

    assert "without end" in refusal(path).message


def test_of_a_place_that_is_said_twice_the_last_counts(tmp_path: Path) -> None:
    """As protobuf has it; together the two are the name of a file that is there."""
    path = external(tmp_path)
    (tmp_path / "x" / "etc").mkdir(parents=True)
    (tmp_path / "x" / "etc" / "passwd").write_bytes(bytes(1000))
    one, two = b"\x12\x0bweights.bin", b"\x12\x01x\x12\x08/etc/xyz"
    assert len(two) == len(one)
    path.write_bytes(path.read_bytes().replace(one, two))

    assert "outside of its folder" in refusal(path).message


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x08\x08", b"\xff" * 64, b"PK\x03\x04" + bytes(60)]
)
def test_what_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    assert "ONNX model" in refusal(path).message


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    path = onnx_zoo.write("cnn", tmp_path)
    content = path.read_bytes()
    for end in range(0, len(content) - 1, 211):
        path.write_bytes(content[:end])
        refusal(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "there is no model" in refusal(tmp_path / "gone.onnx").message
    (tmp_path / "folder.onnx").mkdir()
    assert "not a plain file" in refusal(tmp_path / "folder.onnx").message


def test_options_that_do_not_go_with_it(tmp_path: Path) -> None:
    path = str(onnx_zoo.write("sequence", tmp_path))

    with pytest.raises(UsageError, match="--weights"):
        ONNXSource().open(path, ModelOptions(weights="other.pt"))
