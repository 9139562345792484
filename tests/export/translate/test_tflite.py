"""TFLite operators against LiteRT, one tiny file each; then Keras models."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.core.errors import ConversionError
from edgekit.export.translate.tflite import module
from tests.export.translate.tflite_files import DRAWN
from tests.tiny_tflite import dense_model

pytestmark = pytest.mark.slow

Array = NDArray[Any]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `tflite_files`."""
    made = tmp_path_factory.mktemp("tflite") / "files"
    done = subprocess.run(
        [sys.executable, "-m", "tests.export.translate.tflite_files", str(made)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return made


def reference(path: Path) -> tuple[list[Array], list[Array]]:
    """Random inputs and what LiteRT makes of them."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # The plain kernels: XNNPACK's are faster and round otherwise.
    run = Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    run.allocate_tensors()
    rng = np.random.default_rng(0)
    given = []
    for detail in run.get_input_details():
        given.append(rng.normal(size=detail["shape"]).astype(np.float32))
        run.set_tensor(detail["index"], given[-1])
    run.invoke()
    return given, [run.get_tensor(detail["index"]) for detail in run.get_output_details()]


def exported(path: Path, given: list[Array]) -> tuple[list[Array], Any]:
    """What the exported program gives, and the program."""
    import torch

    examples = tuple(torch.from_numpy(array) for array in given)
    program = torch.export.export(module(path), examples, strict=False)
    with torch.no_grad():
        return [tensor.numpy() for tensor in program.module()(*examples)], program


def agree(path: Path) -> Any:
    given, expected = reference(path)
    made, program = exported(path, given)
    assert len(made) == len(expected)
    for got, wanted in zip(made, expected, strict=True):
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        if got.dtype.kind == "f":
            np.testing.assert_allclose(got, wanted, atol=1e-4, rtol=1e-4)
        else:
            np.testing.assert_array_equal(got, wanted)
    return program


def kinds(program: Any) -> Counter[str]:
    """Operators of a program by name."""
    return Counter(
        str(node.target).split(".")[1] if "aten" in str(node.target) else str(node.target)
        for node in program.graph.nodes
        if node.op == "call_function"
    )


OPERATORS = [
    "conv_same_2",
    "conv_valid",
    "conv_even",
    "conv_dilated",
    "conv_groups",
    "conv_padded",
    "conv_padded_one_side",
    "depthwise",
    "transposed_same",
    "transposed_valid",
    "transposed_large",
    "max_pool",
    "average_pool",
    "average_pool_valid",
    "average_pool_even",
    "bilinear_half",
    "bilinear_corners",
    "bilinear_legacy",
    "nearest_half",
    "nearest_corners",
    "nearest_legacy",
    "depth_to_space",
    "space_to_depth",
    "space_to_batch",
    "batch_to_space",
    "mean_space",
    "mean_keep",
    "sum_channels",
    "max_width",
    "min_all",
    "prod",
    "any",
    "argmax",
    "argmin",
    "top",
    "cumsum",
    "pad_value",
    "pad_reflect",
    "pad_symmetric",
    "strided",
    "strided_drop",
    "strided_new",
    "slice",
    "split",
    "split_sizes",
    "pack",
    "unpack",
    "reshape",
    "squeeze",
    "expand",
    "transpose",
    "tile",
    "broadcast",
    "gather",
    "gather_nd",
    "reverse",
    "softmax",
    "log_softmax",
    "prelu",
    "leaky",
    "elu",
    "gelu",
    "gelu_tanh",
    "hard_swish",
    "relu_n1",
    "limits",
    "l2",
    "arithmetic",
    "power",
    "roots",
    "logs",
    "rounded",
    "waves",
    "compared",
    "whole",
    "difference",
    "one_hot",
    "embedding",
    "filled",
    "loop",
    "mixed",
    "rows_between",
    "added_rows",
    "to_torch_and_back",
    "softmax_after",
    "channels_after",
    "height_after",
    "slice_after",
    "shape_after",
    "matmul",
    "dense",
    "dense_rows",
    "conv_3d",
    "rank_2",
]
MODELS = ("mobile", "segment", "attention", "lstm", "gru", "words")


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_computes_what_litert_does(folder: Path, name: str) -> None:
    agree(folder / f"{name}.tflite")


@pytest.mark.parametrize("name", MODELS)
def test_a_keras_model_computes_what_litert_does(folder: Path, name: str) -> None:
    agree(folder / f"{name}.tflite")


@pytest.mark.parametrize("seed", range(DRAWN))
def test_any_small_graph_computes_what_litert_does(folder: Path, seed: int) -> None:
    """Graphs at random; drawn where TensorFlow is, so not by hypothesis."""
    agree(folder / f"drawn_{seed}.tflite")


def test_weights_of_16_bits_are_read_where_the_quantizer_puts_them(
    folder: Path, tmp_path: Path
) -> None:
    """Behind the flatbuffer, with a DEQUANTIZE for each."""
    from ai_edge_quantizer import algorithm_manager, qtyping, quantizer

    made = quantizer.Quantizer(str(folder / "mobile.tflite"))
    made.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.CONV_2D,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=16, dtype=qtyping.TensorDataType.FLOAT
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
        ),
        algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
    )
    path = tmp_path / "half.tflite"
    made.quantize().export_model(str(path))
    program = agree(path)

    assert kinds(program)["permute"] == 1
    assert {str(tensor.dtype) for tensor in program.state_dict.values()} == {"torch.float32"}


def test_every_file_is_tested(folder: Path) -> None:
    seeds = [f"drawn_{seed}" for seed in range(DRAWN)]

    assert {path.stem for path in folder.iterdir()} == {*OPERATORS, *MODELS, *seeds}


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("mobile", 1),  # the image that comes in
        ("segment", 2),  # and the one that goes out
        ("words", 1),
        ("lstm", 0),
        ("conv_padded", 2),
        ("mixed", 2),
        ("to_torch_and_back", 2),
        ("channels_after", 1),
        ("height_after", 2),
        ("slice_after", 2),
    ],
)
def test_images_are_turned_at_the_borders_only(folder: Path, name: str, most: int) -> None:
    _, program = exported(folder / f"{name}.tflite", reference(folder / f"{name}.tflite")[0])

    assert kinds(program)["permute"] + kinds(program)["transpose"] <= most


def test_an_even_padding_is_the_convolution_s_own(folder: Path) -> None:
    path = folder / "conv_padded.tflite"

    assert "pad" not in kinds(exported(path, reference(path)[0])[1])


def test_a_loop_leaves_only_its_passes(folder: Path) -> None:
    path = folder / "lstm.tflite"
    found = kinds(exported(path, reference(path)[0])[1])

    assert found["sigmoid"] == 2 * 6 * 3  # two layers, six steps, three gates
    assert found["cat"] + found["slice"] <= 1


def test_nodes_and_weights_carry_the_layer_s_name(folder: Path) -> None:
    path = folder / "mobile.tflite"
    program = exported(path, reference(path)[0])[1]
    layers = [
        list(node.meta["nn_module_stack"].values())[-1][0]
        for node in program.graph.nodes
        if node.op == "call_function"
    ]

    assert any("deep1" in layer for layer in layers)
    assert any("scores" in layer for layer in layers)
    assert any("scores" in name and name.endswith(".weight") for name in program.state_dict)


@pytest.mark.filterwarnings("ignore")
def test_xnnpack_takes_all_but_the_border(folder: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    path = folder / "mobile.tflite"
    program = exported(path, reference(path)[0])[1]
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    left = Counter(
        str(node.target)
        for node in lowered.exported_program().graph.nodes
        if node.op == "call_function" and "getitem" not in str(node.target)
    )

    assert left == {"executorch_call_delegate": 1}


# ------------------------------------------------------------------------------ what is refused


def changed(path: Path, out: Path, change: Callable[[Any], None]) -> Path:
    """A copy with something else in it."""
    from edgekit.export import flatbuffer

    tree = flatbuffer.read(path)
    change(tree)
    flatbuffer.write(tree, out)
    return out


def test_all_operators_without_a_translation_are_named_at_once(
    folder: Path, tmp_path: Path
) -> None:
    from ai_edge_litert import schema_py_generated as schema

    def replace(tree: Any) -> None:
        wanted = {
            schema.BuiltinOperator.CONV_2D: schema.BuiltinOperator.SVDF,
            schema.BuiltinOperator.DEPTHWISE_CONV_2D: schema.BuiltinOperator.RFFT2D,
        }
        for code in tree.operatorCodes:
            code.builtinCode = wanted.get(code.builtinCode, code.builtinCode)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)

    path = changed(folder / "mobile.tflite", tmp_path / "m.tflite", replace)
    with pytest.raises(ConversionError) as caught:
        module(path)

    assert "SVDF (" in caught.value.message
    assert "RFFT2D (" in caught.value.message
    assert "deep0" in caught.value.message
    assert "tflite" in caught.value.hint


def test_loops_that_are_long_together_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four loops within each other: 2 kB that would become sixteen million million operators."""
    monkeypatch.setattr("edgekit.export.translate.tflite_operators.control.MOST_STEPS_IN_ALL", 2)
    with pytest.raises(ConversionError, match="more than 2 times together"):
        module(folder / "loop.tflite")


def test_a_loop_that_the_data_end_is_refused(folder: Path, tmp_path: Path) -> None:
    def swap(tree: Any) -> None:
        """The counter starts at what the data say."""
        graph = tree.subgraphs[0]
        loop = next(o for o in graph.operators if len(tree.subgraphs) > 1 and len(o.inputs) > 1)
        counter = graph.tensors[loop.inputs[0]]
        counter.buffer = 0
        graph.inputs = [*graph.inputs, loop.inputs[0]]

    path = changed(folder / "loop.tflite", tmp_path / "m.tflite", swap)
    with pytest.raises(ConversionError, match="as often as the data decide"):
        module(path)


def test_a_quantized_file_is_refused(tmp_path: Path) -> None:
    path = dense_model(tmp_path / "m.tflite", quantized=True)

    with pytest.raises(ConversionError, match="is quantized") as caught:
        module(path)

    assert "before it was quantized" in caught.value.hint


def test_an_open_batch_is_one_sample_and_other_open_sizes_are_refused(tmp_path: Path) -> None:
    def opened(*sizes: int) -> Path:
        def change(tree: Any) -> None:
            tree.subgraphs[0].tensors[0].shapeSignature = list(sizes)

        return changed(dense_model(tmp_path / "d.tflite"), tmp_path / "m.tflite", change)

    agree(opened(-1, 4))
    with pytest.raises(ConversionError, match="open dimensions"):
        module(opened(1, -1))


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"no model at all")

    with pytest.raises(ConversionError, match="not a TFLite file"):
        module(path)


def test_the_signature_gives_the_order(folder: Path, tmp_path: Path) -> None:
    import torch

    from edgekit.export import flatbuffer

    def name(tree: Any) -> None:
        a, b = (int(at) for at in tree.subgraphs[0].inputs)
        flatbuffer.set_signature(
            tree, "serving_default", {"b": b, "a": a}, {"y": int(tree.subgraphs[0].outputs[0])}
        )

    path = changed(folder / "matmul.tflite", tmp_path / "m.tflite", name)
    (a, b), (expected,) = reference(path)
    (made,) = module(path)(torch.from_numpy(b), torch.from_numpy(a))

    np.testing.assert_allclose(made.numpy(), expected, atol=1e-5)
