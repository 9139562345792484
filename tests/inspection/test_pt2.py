"""Programs of torch.export, written by hand as torch writes them, and damaged ones."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.core.description import Description
from edgekit.core.errors import InputError
from edgekit.inspection.pt2 import Pt2Inspector, describe

FLOAT, INT8 = 7, 2


def described(path: Path) -> Description:
    return Description.from_json(describe(path.parent, path=str(path))["description"])


def tensor(name: str) -> dict[str, Any]:
    return {"as_tensor": {"name": name}}


def meta(*sizes: int | str, dtype: int = FLOAT) -> dict[str, Any]:
    def size(value: int | str) -> dict[str, Any]:
        if isinstance(value, int):
            return {"as_int": value}
        expression = f"Symbol('{value}', positive=True, integer=True)"
        return {"as_expr": {"expr_str": expression, "hint": {"as_int": 2}}}

    return {"dtype": dtype, "sizes": [size(value) for value in sizes]}


def node(target: str, output: str, layer: str = "", **inputs: Any) -> dict[str, Any]:
    given = [{"name": k, "arg": v if isinstance(v, dict) else tensor(v)} for k, v in inputs.items()]
    stack = f"L__self__,,__main__.M;L__self__{layer},{layer},torch.nn.Module" if layer else ""
    return {
        "target": f"torch.ops.{target}",
        "inputs": given,
        "outputs": [tensor(output)],
        "metadata": {"nn_module_stack": stack},
    }


def program(
    nodes: list[dict[str, Any]], values: dict[str, Any], parameters: dict[str, str], output: str
) -> dict[str, Any]:
    inputs = [
        {"parameter": {"arg": {"name": name}, "parameter_name": full}}
        for name, full in parameters.items()
    ]
    return {
        "graph_module": {
            "graph": {"nodes": nodes, "tensor_values": values},
            "signature": {
                "input_specs": [*inputs, {"user_input": {"arg": tensor("x")}}],
                "output_specs": [{"user_output": {"arg": tensor(output)}}],
            },
        },
        "schema_version": {"major": 8, "minor": 20},
        "torch_version": "2.13.0",
        "opset_version": {"aten": 10},
        "range_constraints": {"s0": {"min_val": 1, "max_val": 8}},
    }


def archive(path: Path, content: Any, weights: dict[str, tuple[Any, Any]]) -> Path:
    """`weights`: the user's name to what describes it and its values."""
    config: dict[str, Any] = {}
    with zipfile.ZipFile(path, "w") as made:
        for index, (name, (described_by, values)) in enumerate(weights.items()):
            made.writestr(f"m/data/weights/weight_{index}", values.tobytes())
            config[name] = {"path_name": f"weight_{index}", "tensor_meta": described_by}
        made.writestr("m/data/weights/model_weights_config.json", json.dumps({"config": config}))
        made.writestr("m/models/model.json", json.dumps(content))
    return path


def small(path: Path) -> Path:
    """A convolution of 3 to 4 channels and a dense layer, with an open batch."""
    values = {
        "x": meta("s0", 3, 8, 8),
        "p_w": meta(4, 3, 3, 3),
        "p_v": meta(5, 256),
        "p_idle": meta(1000),
        "c": meta("s0", 4, 8, 8),
        "f": meta("s0", 256),
        "y": meta("s0", 5),
    }
    nodes = [
        node("aten.conv2d.default", "c", "stem.conv", input="x", weight="p_w"),
        node("aten.flatten.using_ints", "f", input="c"),
        node("aten.linear.default", "y", "head", input="f", weight="p_v"),
    ]
    names = {"p_w": "stem.conv.weight", "p_v": "head.weight", "p_idle": "idle"}
    kernel = np.ones((4, 3, 3, 3), np.float32)
    kernel[0] = 0
    weights = {
        "stem.conv.weight": (values["p_w"], kernel),
        "head.weight": (values["p_v"], np.ones((5, 256), np.float32)),
        "idle": (values["p_idle"], np.zeros(1000, np.float32)),
    }
    return archive(path, program(nodes, values, names, "y"), weights)


def test_what_is_in_a_program(tmp_path: Path) -> None:
    found = described(small(tmp_path / "m.pt2"))
    assert [str(spec) for spec in found.signatures[0].inputs] == ["x float32 ?×3×8×8"]
    # The example had a batch of 2.
    assert [(n.operator, n.macs, n.layer) for n in found.coverage.nodes] == [
        ("aten.conv2d.default", 2 * 64 * 4 * 27, "stem.conv"),
        ("aten.flatten.using_ints", 0, ""),
        ("aten.linear.default", 2 * 5 * 256, "head"),
    ]
    assert (found.parameters, found.zeros) == (108 + 1280, 27)
    assert found.weights == {"float32": 4 * (108 + 1280)}
    assert found.quantization == ""
    assert found.metadata["torch_version"] == "2.13.0"
    assert found.metadata["open_sizes"] == {"s0": "1 to 8"}
    assert found.metadata["notes"] == [
        "4.0 kB of its weights are used by nothing",
        "open sizes are counted as the example has them: s0 = 2",
    ]


@pytest.mark.parametrize(
    ("target", "shapes", "output", "more", "count"),
    [
        ("aten.addmm.default", [(5,), (2, 16), (16, 5)], (2, 5), {}, 160),
        ("aten.bmm.default", [(7, 3, 4), (7, 4, 5)], (7, 3, 5), {}, 420),
        ("aten.scaled_dot_product_attention.default", [(1, 3, 6, 8)] * 3, (1, 3, 6, 8), {},
         2 * 3 * 36 * 8),
        ("aten.convolution.default", [(1, 3, 4, 4), (3, 6, 2, 2)], (1, 6, 8, 8),
         {"transposed": {"as_bool": True}}, 16 * 3 * 4 * 6),
        ("aten.conv_transpose2d.input", [(1, 3, 4, 4), (3, 6, 2, 2)], (1, 6, 8, 8), {},
         16 * 3 * 4 * 6),
        ("aten.relu.default", [(1, 8)], (1, 8), {}, 0),
    ],
)  # fmt: skip
def test_multiply_adds(
    tmp_path: Path,
    target: str,
    shapes: list[tuple[int, ...]],
    output: tuple[int, ...],
    more: dict[str, Any],
    count: int,
) -> None:
    names = ["x", *(f"x{index}" for index in range(1, len(shapes)))]
    values = {name: meta(*shape) for name, shape in zip(names, shapes, strict=True)}
    inputs = {f"a{index}": name for index, name in enumerate(names)}
    content = program([node(target, "y", **inputs, **more)], values | {"y": meta(*output)}, {}, "y")
    assert described(archive(tmp_path / "m.pt2", content, {})).macs == count


def test_an_lstm_by_its_weights(tmp_path: Path) -> None:
    values = {
        "x": meta(1, 10, 8), "w": meta(64, 8), "r": meta(64, 16), "b": meta(64),
        "h": meta(1, 1, 16), "y": meta(1, 10, 16),
    }  # fmt: skip
    lists = {
        "hx": {"as_tensors": [{"name": "h"}, {"name": "h"}]},
        "params": {"as_tensors": [{"name": "w"}, {"name": "r"}, {"name": "b"}]},
    }
    content = program([node("aten.lstm.input", "y", input="x", **lists)], values, {}, "y")
    found = described(archive(tmp_path / "m.pt2", content, {}))
    assert found.macs == 10 * 4 * 16 * (8 + 16)


def test_quantized_with_marks(tmp_path: Path) -> None:
    values = {
        "x": meta(1, 4), "q": meta(1, 4, dtype=INT8), "d": meta(1, 4),
        "p_w": meta(3, 4, dtype=INT8), "v": meta(3, 4), "y": meta(1, 3),
    }  # fmt: skip
    marks = "quantized_decomposed"
    nodes = [
        node(f"{marks}.quantize_per_tensor.default", "q", input="x"),
        node(f"{marks}.dequantize_per_tensor.default", "d", input="q"),
        node(f"{marks}.dequantize_per_channel.default", "v", input="p_w"),
        node("aten.linear.default", "y", input="d", weight="v"),
    ]
    weights = {"w": (values["p_w"], np.eye(3, 4, dtype=np.int8))}
    found = described(
        archive(tmp_path / "m.pt2", program(nodes, values, {"p_w": "w"}, "y"), weights)
    )
    assert found.quantization == "int8 weights per channel, int8 activations"
    assert (found.weights, found.zeros, found.macs) == ({"int8": 12}, 9, 12)


def test_it_is_known_by_what_the_archive_holds(tmp_path: Path) -> None:
    assert Pt2Inspector().accepts(str(small(tmp_path / "plain")))
    with zipfile.ZipFile(tmp_path / "other", "w") as other:
        other.writestr("config.json", "{}")
    assert not Pt2Inspector().accepts(str(tmp_path / "other"))
    (tmp_path / "half").write_bytes(b"PK\x03\x04 and no more")
    assert not Pt2Inspector().accepts(str(tmp_path / "half"))


@pytest.mark.parametrize(
    "content",
    [
        "no JSON", "[]", "null", "{}", '{"graph_module": null}', "[" * 100_000,
        '{"graph_module": {"graph": {"nodes": [1]}, "signature": {"input_specs": []}}}',
    ],
    ids=range(7),
)  # fmt: skip
def test_json_that_is_no_program(tmp_path: Path, content: str) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as made:
        made.writestr("m/models/model.json", content)
    with pytest.raises(InputError, match="damaged or truncated") as caught:
        described(tmp_path / "m.pt2")
    assert "\n" not in caught.value.message


def test_an_archive_without_a_program(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt2", "w") as made:
        made.writestr("m/version", "1")
    with pytest.raises(InputError, match="no program in the archive"):
        described(tmp_path / "m.pt2")


@pytest.mark.slow
def test_damage(tmp_path: Path) -> None:
    whole = small(tmp_path / "m.pt2").read_bytes()
    path, refused = tmp_path / "changed.pt2", 0
    for length in range(0, len(whole), 997):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            described(path)
    rng = np.random.default_rng(0)
    start = whole.index(b"graph_module")
    for _ in range(300):  # in the program's JSON, without the archive's own check of it
        changed = bytearray(whole)
        changed[rng.integers(start, len(whole))] = rng.integers(0, 256)
        path.write_bytes(changed)
        try:
            described(path)
        except InputError:
            refused += 1
    assert refused > 200


def test_members_before_the_files_beginning(tmp_path: Path) -> None:
    path = small(tmp_path / "m.pt2")
    content = bytearray(path.read_bytes())
    begins = len(content) - 22 + 16  # the list of members, in the archive's last record
    wrong = int.from_bytes(content[begins : begins + 4], "little") + 10**6
    content[begins : begins + 4] = wrong.to_bytes(4, "little")
    path.write_bytes(content)

    with pytest.raises(InputError, match="damaged or truncated"):
        described(path)
