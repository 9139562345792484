"""ONNX operators against ONNX Runtime, one tiny model each; then whole exported nets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgekit.core.errors import ConversionError
from edgekit.export.translate.onnx import module

pytestmark = pytest.mark.slow

Array = NDArray[Any]
RNG = np.random.default_rng(0)


def f(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


def positive(*shape: int) -> Array:
    return RNG.uniform(0.3, 2, size=shape).astype(np.float32)


def i(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


@dataclass
class Case:
    """One node: arrays that are fed, then constants; None leaves an optional input out."""

    operator: str
    fed: Sequence[Array]
    constants: Sequence[Array | None] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1
    opset: int = 18

    def __str__(self) -> str:
        said = ",".join(f"{key}={value}" for key, value in self.attributes.items())
        return f"{self.operator}-{self.opset}-{said}"[:90]


def c(operator: str, fed: Any, *constants: Array | None, opset: int = 18, **more: Any) -> Case:
    outputs = more.pop("outputs", 1)
    return Case(operator, fed if isinstance(fed, list) else [fed], constants, more, outputs, opset)


def saved(
    path: Path,
    nodes: Sequence[Any],
    fed: dict[str, Array],
    constants: dict[str, Array],
    outputs: Sequence[str],
    opset: int = 18,
) -> Path:
    import onnx
    from onnx import helper, numpy_helper

    graph = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in fed.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def reference(path: Path, fed: dict[str, Array]) -> list[Array]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, fed))


def exported(path: Path, fed: dict[str, Array]) -> tuple[list[Array], Any]:
    """What the exported program gives, and the program."""
    import torch

    examples = tuple(torch.from_numpy(array) for array in fed.values())
    program = torch.export.export(module(path), examples, strict=False)
    with torch.no_grad():
        return [tensor.numpy() for tensor in program.module()(*examples)], program


def agree(path: Path, fed: dict[str, Array], atol: float = 1e-4) -> Any:
    made, program = exported(path, fed)
    for got, expected in zip(made, reference(path, fed), strict=True):
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        if got.dtype.kind == "f":
            np.testing.assert_allclose(got, expected, atol=atol, rtol=1e-4)
        else:
            np.testing.assert_array_equal(got, expected)
    return program


def single(path: Path, case: Case) -> tuple[Path, dict[str, Array]]:
    from onnx import helper

    fed = {f"x{at}": array for at, array in enumerate(case.fed)}
    constants = {f"c{at}": a for at, a in enumerate(case.constants) if a is not None}
    names = [*fed, *(f"c{at}" if a is not None else "" for at, a in enumerate(case.constants))]
    outputs = [f"y{at}" for at in range(case.outputs)]
    node = helper.make_node(case.operator, names, outputs, name="the/node", **case.attributes)
    return saved(path / "m.onnx", [node], fed, constants, outputs, case.opset), fed


X = f(1, 4, 9, 8)
W = f(6, 4, 3, 3)
LSTM = (f(2, 16, 3), f(2, 16, 4), f(2, 32))
GRU = (f(1, 12, 3), f(1, 12, 4), f(1, 24))
SEQUENCE = f(5, 1, 3)

LAYERS = [
    c("Conv", X, W, f(6), strides=[2, 1], pads=[1, 0, 2, 1]),
    c("Conv", X, W, auto_pad="SAME_LOWER", strides=[2, 2], kernel_shape=[3, 3]),
    c("Conv", X, W, auto_pad="SAME_UPPER", strides=[2, 2], kernel_shape=[3, 3]),
    c("Conv", X, W, auto_pad="VALID"),
    c("Conv", X, f(8, 2, 3, 3), f(8), group=2, dilations=[2, 2]),
    c("Conv", f(1, 3, 11), f(4, 3, 3), dilations=[2], pads=[2, 2]),
    c("Conv", f(1, 2, 5, 6, 7), f(3, 2, 2, 3, 2)),
    c("Conv", [X, W]),
    c("ConvTranspose", X, f(4, 3, 3, 3), f(3), strides=[2, 2], pads=[1, 1, 1, 1]),
    c("ConvTranspose", X, f(4, 3, 3, 3), strides=[2, 2], output_padding=[1, 1], pads=[1] * 4),
    c("ConvTranspose", X, f(4, 3, 3, 3), strides=[2, 3], pads=[0, 1, 2, 0]),
    c("ConvTranspose", X, f(4, 2, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER", group=2),
    c("ConvTranspose", X, f(4, 3, 3, 3), strides=[2, 2], output_shape=[18, 16]),
    c("Gemm", f(2, 5), f(5, 3), f(3), alpha=0.5, beta=2.0),
    c("Gemm", f(5, 2), f(3, 5), f(2, 3), transA=1, transB=1),
    c("Gemm", f(2, 5), f(5, 3), f(1)),
    c("MatMul", f(1, 4, 5), f(5, 3)),
    c("MatMul", [f(2, 4, 5), f(2, 5, 3)]),
    c("BatchNormalization", X, f(4), f(4), f(4), positive(4), epsilon=0.01),
    c("InstanceNormalization", X, f(4), f(4)),
    c("LayerNormalization", f(2, 3, 4), f(4), f(4)),
    c("LayerNormalization", f(2, 3, 4), f(3, 4), axis=1, epsilon=0.1),
    c("GroupNormalization", X, f(4), f(4), num_groups=2, opset=21),
    c("LRN", X, size=3),
    c("MaxPool", X, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    c("MaxPool", X, kernel_shape=[3, 2], pads=[2, 0, 1, 1]),
    c("MaxPool", X, kernel_shape=[2, 2], dilations=[2, 3]),
    c("MaxPool", f(1, 3, 9), kernel_shape=[2], auto_pad="SAME_UPPER", strides=[2]),
    c("AveragePool", X, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    c("AveragePool", X, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    c("AveragePool", X, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    c("AveragePool", X, kernel_shape=[2, 2], pads=[0, 1, 1, 0], count_include_pad=1),
    c("AveragePool", X, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, opset=19),
    c("GlobalAveragePool", X),
    c("GlobalMaxPool", X),
]
ELEMENTWISE = [
    *(
        c(name, f(2, 3))
        for name in ["Relu", "Sigmoid", "Tanh", "Elu", "Erf", "Exp", "Softplus", "Abs", "Neg"]
    ),
    *(
        c(name, f(2, 3))
        for name in ["HardSigmoid", "HardSwish", "Mish", "Selu", "Floor", "Ceil", "Sign", "Sin"]
    ),
    *(c(name, positive(2, 3)) for name in ("Sqrt", "Log", "Reciprocal")),
    c("Round", np.array([0.5, 1.5, -2.5, 0.7], dtype=np.float32)),
    c("LeakyRelu", f(2, 3), alpha=0.3),
    c("HardSigmoid", f(2, 3), alpha=1 / 6),
    c("PRelu", X, f(4, 1, 1)),
    c("PRelu", X, f(9, 8)),
    c("Clip", X, np.float32(0), np.float32(6)),
    c("Clip", X, None, np.float32(0.5)),
    c("Clip", np.arange(6), np.int64(2), np.int64(4)),
    c("Gelu", X, approximate="tanh", opset=20),
    c("Softmax", X, axis=1),
    c("LogSoftmax", X),
    c("Softmax", f(2, 3, 4), opset=11, axis=1),  # over two axes, as it was before 13
    c("Add", X, f(4, 1, 1)),
    c("Add", X, np.float32(2)),
    c("Sub", [f(2, 3), f(3)]),
    c("Mul", X, f(1, 4, 1, 1)),
    c("Div", np.array([7, -7]), i(2, 2)),
    c("Div", X, np.float32(3)),
    c("Pow", positive(2, 3), np.float32(2.5)),
    c("Pow", [positive(2, 3), f(3)]),
    c("Mod", np.array([7, -7, 7, -7]), i(3, 3, -3, -3)),
    c("Mod", f(2, 3), f(3), fmod=1),
    c("Max", [f(2, 3), f(3), f(1)]),
    c("Mean", [f(2, 3), f(3), f(1)]),
    c("Equal", np.arange(4), i(0, 2, 2, 3)),
    c("GreaterOrEqual", f(2, 3), f(3)),
    c("And", np.array([True, False]), np.array([True, True])),
    c("Not", np.array([True, False])),
    c("Where", np.array([True, False, True]), f(2, 3), np.float32(1)),
    c("Cast", f(2, 3) * 3, to=7),
    c("Cast", f(2, 3), to=9),
    c("IsNaN", np.array([1, np.nan], dtype=np.float32)),
]
SHAPES = [
    c("Concat", [X, X], axis=-3),
    c("Split", X, i(3, 5), axis=-1, outputs=2),
    c("Split", X, axis=2, num_outputs=2, outputs=2),
    c("Slice", X, i(1, -1), i(100, -6), i(1, 3), i(1, -2)),
    c("Slice", X, i(-1), i(-1000), i(2), i(-3)),
    c("Slice", X, i(5), i(2), i(2)),
    c("Gather", X, np.int64(-1), axis=3),
    c("Gather", X, np.array([[0, -1], [2, 3]]), axis=2),
    c("GatherElements", f(3, 3), np.array([[0, -1, 2]]), axis=0),
    c("GatherND", X, np.array([[0, 1], [0, -1]])),
    c("ScatterND", f(4, 3), i(1, 3).reshape(2, 1), f(2, 3)),
    c("ScatterElements", f(4, 3), np.array([[1, 0, 2]]), f(1, 3), reduction="add"),
    c("OneHot", np.array([1, -1]), np.int64(4), f(2), axis=0),
    c("Trilu", f(4, 4), np.int64(-1), upper=0),
    c("Reshape", X, i(0, -1, 8)),
    c("Flatten", X, axis=-2),
    c("Transpose", X, perm=[0, 2, 3, 1]),
    c("Squeeze", f(1, 3, 1)),
    c("Unsqueeze", X, i(0, -1)),
    c("Expand", f(3, 1), i(2, 1, 4)),
    c("Tile", f(2, 3), i(2, 2)),
    c("Pad", X, i(0, 0, 1, 2, 0, 0, 3, 0), np.float32(1.5)),
    c("Pad", X, i(0, 0, 2, 3, 0, 0, 1, 3), mode="reflect"),
    c("Pad", f(3, 4), i(2, 1, 0, 2), mode="edge"),
    c("Pad", f(3, 4), i(2, 1, 0, 2), mode="reflect"),
    c("Pad", X, i(0, 0, -1, 2, 0, 0, 0, -3)),
    c("DepthToSpace", f(1, 8, 3, 2), blocksize=2),
    c("DepthToSpace", f(1, 8, 3, 2), blocksize=2, mode="CRD"),
    c("SpaceToDepth", f(1, 2, 4, 6), blocksize=2),
    c("Resize", X, None, np.array([1, 1, 2, 2], dtype=np.float32), mode="nearest",
      coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    c("Resize", X, None, np.array([1, 1, 1.5, 0.6], dtype=np.float32), mode="nearest"),
    c("Resize", X, None, None, i(1, 4, 13, 5), mode="nearest", nearest_mode="ceil"),
    c("Resize", X, None, None, i(1, 4, 18, 16), mode="linear"),
    c("Resize", X, None, np.array([1, 1, 1.3, 1.7], dtype=np.float32), mode="linear"),
    c("Resize", X, None, None, i(1, 4, 13, 5), mode="linear",
      coordinate_transformation_mode="align_corners"),
    c("Resize", X, None, None, i(1, 4, 13, 5), mode="linear",
      coordinate_transformation_mode="asymmetric"),
    c("Resize", X, None, None, i(1, 4, 1, 5), mode="linear",
      coordinate_transformation_mode="pytorch_half_pixel"),
]  # fmt: skip
REDUCTIONS = [
    *(
        c(name, positive(2, 3, 4), axes=[-1, 0], keepdims=keep, opset=13)
        for name in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2")
        for keep in (0, 1)
    ),
    c("ReduceSum", f(2, 3, 4), i(1), keepdims=0),
    c("ReduceSum", f(2, 3), noop_with_empty_axes=1),
    c("ReduceMean", X, i(2, 3)),
    c("ReduceLogSumExp", f(2, 3), i(1)),
    c("ReduceSum", np.arange(6).astype(np.int32).reshape(2, 3), i(0)),
    c("ArgMax", X, axis=1, keepdims=0),
    c("ArgMax", np.array([[1, 3, 3]], dtype=np.float32), axis=1, select_last_index=1),
    c("ArgMin", X, axis=-1),
    c("TopK", f(2, 7), i(3), largest=0, outputs=2),
    c("CumSum", f(2, 7), np.int64(1), reverse=1),
    c("CumSum", np.arange(6), np.int64(0), exclusive=1),
    c("Einsum", [f(2, 3, 4), f(2, 4, 5)], equation="bij,bjk->bik"),
    c("LSTM", SEQUENCE, *LSTM, hidden_size=4, direction="bidirectional", outputs=3),
    c("LSTM", SEQUENCE, *(a[:1] for a in LSTM), hidden_size=4, direction="reverse", outputs=3),
    c("LSTM", SEQUENCE, *(a[:1] for a in LSTM), None, f(1, 1, 4), f(1, 1, 4), hidden_size=4),
    c("GRU", SEQUENCE, *GRU, hidden_size=4, linear_before_reset=1, outputs=2),
    c("GRU", SEQUENCE, *GRU, hidden_size=4, outputs=2),
    c("GRU", SEQUENCE, *(np.concatenate([a, 0.5 * a]) for a in GRU), hidden_size=4,
      direction="bidirectional", outputs=2),
    c("RNN", SEQUENCE, f(1, 4, 3), f(1, 4, 4), f(1, 8), hidden_size=4, outputs=2),
    c("RNN", SEQUENCE, f(1, 4, 3), f(1, 4, 4), hidden_size=4, activations=["Relu"]),
]  # fmt: skip


@pytest.mark.parametrize("case", LAYERS + ELEMENTWISE + SHAPES + REDUCTIONS, ids=str)
def test_an_operator_computes_what_onnx_runtime_does(case: Case, tmp_path: Path) -> None:
    agree(*single(tmp_path, case))


# ------------------------------------------------------------------------ what stays in a program


def kinds(program: Any) -> Counter[str]:
    """Operators of a program by name."""
    return Counter(
        str(node.target).removeprefix("aten.")
        for node in program.graph.nodes
        if node.op == "call_function"
    )


def layer_of(node: Any) -> str:
    return str(list(node.meta["nn_module_stack"].values())[-1][0])


def test_shape_arithmetic_leaves_no_trace(tmp_path: Path) -> None:
    from onnx import helper

    fed = {"x": f(1, 4, 3, 2)}
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "zeros"], ["front"]),
        helper.make_node("Concat", ["front", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", ["x", "shape"], ["y"], name="head/flat"),
    ]
    constants = {"zero": np.int64(0), "zeros": i(0), "rest": i(-1)}
    constants = {name: np.asarray(array) for name, array in constants.items()}
    program = agree(saved(tmp_path / "m.onnx", nodes, fed, constants, ["y"]), fed)

    assert kinds(program) == {"reshape.default": 1}
    assert [layer_of(n) for n in program.graph.nodes if n.op == "call_function"] == ["head_flat"]


def test_a_product_and_its_bias_are_one_linear_layer(tmp_path: Path) -> None:
    from onnx import helper

    fed = {"x": f(1, 3, 4)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"], name="fc/MatMul"),
        helper.make_node("Add", ["b", "p"], ["y"], name="fc/Add"),
    ]
    path = saved(tmp_path / "m.onnx", nodes, fed, {"w": f(4, 5), "b": f(5)}, ["y"])
    program = agree(path, fed)

    assert kinds(program) == {"linear.default": 1}
    assert sorted(program.state_dict) == ["fc_Add.bias", "fc_Add.weight"]


@pytest.mark.parametrize("halve_first", [True, False])
def test_gelu_that_is_written_out_is_one_operator(tmp_path: Path, halve_first: bool) -> None:
    from onnx import helper

    _a, _b = ("x", "gated") if halve_first else ("gated", "x")
    nodes = [
        helper.make_node("Div", ["x", "root"], ["d"]),
        helper.make_node("Erf", ["d"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["p"]),
        *(
            [
                helper.make_node("Mul", ["x", "half"], ["h"]),
                helper.make_node("Mul", ["h", "p"], ["y"]),
            ]
            if halve_first
            else [
                helper.make_node("Mul", ["x", "p"], ["h"]),
                helper.make_node("Mul", ["h", "half"], ["y"]),
            ]
        ),
    ]
    numbers = {"root": 2**0.5, "one": 1, "half": 0.5}
    constants = {name: np.array(value, dtype=np.float32) for name, value in numbers.items()}
    fed = {"x": f(2, 3)}
    program = agree(saved(tmp_path / "m.onnx", nodes, fed, constants, ["y"]), fed)

    assert kinds(program) == {"gelu.default": 1}


def test_almost_gelu_stays_as_it_is_written(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("Div", ["z", "root"], ["d"]),
        helper.make_node("Erf", ["d"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["p"]),
        helper.make_node("Mul", ["x", "p"], ["h"]),
        helper.make_node("Mul", ["h", "half"], ["y"]),
    ]
    numbers = {"root": 2**0.5, "one": 1, "half": 0.5}
    constants = {name: np.array(value, dtype=np.float32) for name, value in numbers.items()}
    fed = {"x": f(2, 3), "z": f(2, 3)}
    program = agree(saved(tmp_path / "m.onnx", nodes, fed, constants, ["y"]), fed)

    assert kinds(program)["erf.default"] == 1


def test_a_branch_that_is_decided_stands_in_its_place(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    def branch(operator: str) -> Any:
        out = [onnx.ValueInfoProto(name=operator)]
        return helper.make_graph([helper.make_node(operator, ["x"], [operator])], "b", [], out)

    node = helper.make_node(
        "If", ["yes"], ["y"], then_branch=branch("Relu"), else_branch=branch("Tanh")
    )
    fed = {"x": f(2, 3)}
    path = saved(tmp_path / "m.onnx", [node], fed, {"yes": np.array(True)}, ["y"])

    assert kinds(agree(path, fed)) == {"relu.default": 1}


def test_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    from onnx import helper

    fed = {"b": f(2, 3), "a": f(2, 3), "unused": i(1, 2)}
    nodes = [
        helper.make_node("Sub", ["a", "b"], ["delta"]),
        helper.make_node("Identity", ["k"], ["known"]),
    ]
    path = saved(tmp_path / "m.onnx", nodes, fed, {"k": f(2)}, ["delta", "b", "known"])

    agree(path, fed)


def test_weights_that_two_layers_share_are_held_once(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="first", pads=[1] * 4),
        helper.make_node("Conv", ["h", "w"], ["y"], name="second", pads=[1] * 4),
    ]
    fed = {"x": f(1, 2, 4, 4)}
    program = agree(saved(tmp_path / "m.onnx", nodes, fed, {"w": f(2, 2, 3, 3)}, ["y"]), fed)

    assert sorted(program.state_dict) == ["first.weight"]


# ------------------------------------------------------------------------------ what is refused


def test_all_operators_without_a_translation_are_named_at_once(tmp_path: Path) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("NonZero", ["x"], ["n"], name="pick/rows"),
        helper.make_node("Det", ["x"], ["d"], name="head/det"),
        helper.make_node("Mystery", ["x"], ["m"], name="mine", domain="my.domain"),
    ]
    path = saved(tmp_path / "m.onnx", nodes, {"x": f(3, 3)}, {}, ["n", "d", "m"])

    with pytest.raises(ConversionError) as caught:
        module(path)

    for name in ("NonZero ('pick/rows')", "Det ('head/det')", "my.domain.Mystery ('mine')"):
        assert name in caught.value.message
    assert "Where" in caught.value.hint


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (c("Reshape", [f(2, 3), i(3, 2)]), "a shape that the data decide"),
        (c("Resize", X, None, None, i(1, 4, 5, 5), mode="cubic"), "the mode cubic"),
        (c("Resize", X, None, None, i(1, 4, 5, 5), mode="linear", antialias=1), "antialiased"),
        (c("MaxPool", X, kernel_shape=[2, 2], outputs=2), "indices"),
        (
            c("LSTM", SEQUENCE, *(a[:1] for a in LSTM), hidden_size=4, clip=1.0),
            "clips its cells",
        ),
        (
            c("RNN", SEQUENCE, f(1, 4, 3), f(1, 4, 4), hidden_size=4, activations=["Elu"]),
            "the activations Elu",
        ),
    ],
    ids=str,
)
def test_what_torch_does_not_compute_alike_is_refused(
    case: Case, said: str, tmp_path: Path
) -> None:
    path, _ = single(tmp_path, case)

    with pytest.raises(ConversionError, match=said) as caught:
        module(path)

    assert f"{case.operator} of 'the/node'" in caught.value.message
    assert "TFLite" in caught.value.hint


def test_an_operator_that_fails_is_named(tmp_path: Path) -> None:
    path, _ = single(tmp_path, c("MatMul", [f(2, 3), f(2, 3)]))

    with pytest.raises(ConversionError, match="MatMul of 'the/node' cannot be translated"):
        module(path)


def test_open_shapes_and_other_files_are_refused(tmp_path: Path) -> None:
    import onnx

    path, _ = single(tmp_path, c("Relu", f(2, 3)))
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ConversionError, match="open dimension 'batch'"):
        module(path)

    path.write_bytes(b"no model")
    with pytest.raises(ConversionError, match="not an ONNX file"):
        module(path)


# ---------------------------------------------------------------------------------- whole nets


def nets() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Written by hand, as people write them; and the shape of their input."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows = nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True)
            self.head = nn.Linear(16, 3)

        def forward(self, x: Any) -> Any:
            return self.head(self.rows(x)[0][:, -1])

    convolutional = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Hardswish(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
        nn.Softmax(-1),
    )
    convolutional[1].running_mean.normal_()
    convolutional[1].running_var.uniform_(0.5, 2)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
    return {
        "convolutional": (convolutional.eval(), (1, 3, 16, 16)),
        "recurrent": (Recurrent().eval(), (1, 7, 6)),
        "attention": (
            nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval(),
            (1, 9, 16),
        ),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nets as both of torch's exporters write them."""
    import torch

    folder = tmp_path_factory.mktemp("nets")
    for name, (net, shape) in nets().items():
        for way in ("new", "old"):
            options: dict[str, Any] = {"dynamo": True} if way == "new" else {"dynamo": False}
            if way == "old":
                options["opset_version"] = 17
            path = str(folder / f"{name}-{way}.onnx")
            torch.onnx.export(net, (torch.zeros(shape),), path, verbose=False, **options)
    return folder


def delegated(program: Any) -> tuple[int, Counter[str]]:
    """Partitions that XNNPACK takes, and the operators it leaves."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    left = Counter(
        str(node.target)
        for node in lowered.exported_program().graph.nodes
        if node.op == "call_function"
    )
    left = Counter({name: count for name, count in left.items() if "getitem" not in name})
    return left.pop("executorch_call_delegate", 0), left


@pytest.mark.parametrize("way", ["new", "old"])
@pytest.mark.parametrize("name", ["convolutional", "recurrent", "attention"])
@pytest.mark.filterwarnings("ignore")
def test_a_net_from_torch_comes_back(files: Path, name: str, way: str) -> None:
    import torch

    net, shape = nets()[name]
    fed = {"x": RNG.normal(size=shape).astype(np.float32)}
    made, program = exported(files / f"{name}-{way}.onnx", fed)

    with torch.no_grad():
        np.testing.assert_allclose(made[0], net(torch.from_numpy(fed["x"])).numpy(), atol=1e-5)
    assert not [kind for kind in kinds(program) if "sym" in kind or "lift" in kind]


@pytest.mark.parametrize("name", ["convolutional", "attention"])
@pytest.mark.filterwarnings("ignore")
def test_xnnpack_takes_as_much_as_of_the_original(files: Path, name: str) -> None:
    import torch

    net, shape = nets()[name]
    x = torch.zeros(shape)
    original = delegated(torch.export.export(net, (x,), strict=False))
    translated = delegated(torch.export.export(module(files / f"{name}-new.onnx"), (x,)))

    print(name, original, translated)
    assert translated[0] <= original[0]
    assert sum(translated[1].values()) <= sum(original[1].values())


# --------------------------------------------------------------------------- any small graph


@st.composite
def graphs(draw: Any) -> tuple[list[Any], dict[str, Array], dict[str, Array], list[str]]:
    """Chains and forks of operators that keep four dimensions."""
    from onnx import helper

    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    channels = draw(st.integers(1, 5))
    fed = {"x": rng.normal(size=(1, channels, 6, 7)).astype(np.float32)}
    constants: dict[str, Array] = {}
    nodes: list[Any] = []
    shapes = {"x": [channels, 6, 7]}

    def constant(*shape: int) -> str:
        name = f"c{len(constants)}"
        constants[name] = (rng.normal(size=shape) * 0.5).astype(np.float32)
        return name

    for at in range(draw(st.integers(1, 6))):
        name, given = f"y{at}", draw(st.sampled_from(sorted(shapes)))
        c0, h, w = shapes[given]
        kind = draw(
            st.sampled_from(["conv", "pool", "act", "scale", "add", "cat", "pad", "turn", "slice"])
        )
        shape = [c0, h, w]
        if kind == "conv":
            k, s, n = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 4))
            how = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER"]))
            node = helper.make_node(
                "Conv", [given, constant(n, c0, k, k), constant(n)], [name],
                strides=[s, s], auto_pad=how,
            )  # fmt: skip
            shape = [n, -(-h // s), -(-w // s)]
        elif kind == "pool":
            operator = draw(st.sampled_from(["MaxPool", "AveragePool"]))
            node = helper.make_node(
                operator, [given], [name], kernel_shape=[2, 2], auto_pad="SAME_UPPER"
            )
        elif kind == "act":
            operator = draw(st.sampled_from(["Relu", "Sigmoid", "HardSwish", "Tanh", "Softmax"]))
            node = helper.make_node(operator, [given], [name])
        elif kind == "scale":
            node = helper.make_node("Mul", [given, constant(c0, 1, 1)], [name])
        elif kind == "pad":
            pads = [0, 0, *[draw(st.integers(0, 2)) for _ in range(2)], 0, 0, 1, 0]
            constants[f"p{at}"] = np.array(pads)
            node = helper.make_node("Pad", [given, f"p{at}"], [name])
            shape = [c0, h + pads[2] + 1, w + pads[3]]
        elif kind == "turn":
            node = helper.make_node("Transpose", [given], [name], perm=[0, 1, 3, 2])
            shape = [c0, w, h]
        elif kind == "slice" and h > 1:
            for key, value in (("s", 0), ("e", -1), ("a", 2)):
                constants[f"{key}{at}"] = np.array([value])
            node = helper.make_node("Slice", [given, f"s{at}", f"e{at}", f"a{at}"], [name])
            shape = [c0, h - 1, w]
        else:
            fits = sorted(o for o in shapes if shapes[o][1:] == [h, w])
            other = draw(st.sampled_from(fits))
            if kind == "add" and shapes[other][0] == c0:
                node = helper.make_node("Add", [given, other], [name])
            else:
                node = helper.make_node("Concat", [given, other], [name], axis=1)
                shape = [c0 + shapes[other][0], h, w]
        nodes.append(node)
        shapes[name] = shape
    return nodes, fed, constants, [f"y{len(nodes) - 1}", "y0"][: min(2, len(nodes))]


@settings(
    max_examples=15, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(graphs())
def test_any_small_graph_computes_what_onnx_runtime_does(
    tmp_path: Path, drawn: tuple[list[Any], dict[str, Array], dict[str, Array], list[str]]
) -> None:
    nodes, fed, constants, outputs = drawn

    agree(saved(tmp_path / "m.onnx", nodes, fed, constants, outputs), fed)
