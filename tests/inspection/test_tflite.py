"""TFLite files: what is counted, by hand-made files, and that no damage does more than an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgekit.core.description import Description
from edgekit.core.errors import InputError
from edgekit.inspection.tflite import TFLiteInspector, describe
from tests.inspection.made_tflite import one_operator
from tests.tiny_tflite import dense_model


def described(path: Path) -> Description:
    return Description.from_json(describe(path.parent, path=str(path))["description"])


def test_a_float_file(tmp_path: Path) -> None:
    found = described(dense_model(tmp_path / "m.tflite", inputs=4, outputs=3))
    assert found.format == "tflite"
    assert found.size_bytes == (tmp_path / "m.tflite").stat().st_size
    (signature,) = found.signatures
    assert signature.name == "serving_default"
    assert [str(spec) for spec in (*signature.inputs, *signature.outputs)] == [
        "x float32 1×4",
        "y float32 1×3",
    ]
    assert [(n.operator, n.where, n.macs, n.dtype) for n in found.coverage.nodes] == [
        ("FULLY_CONNECTED", "cpu", 12, "float32")
    ]
    assert (found.parameters, found.weights, found.zeros) == (15, {"float32": 60}, 1)
    assert found.quantization == ""
    assert found.metadata["description"] == "edgekit test model"
    assert found.metadata["operator_versions"] == {"FULLY_CONNECTED": 1}


def test_an_int8_file(tmp_path: Path) -> None:
    found = described(dense_model(tmp_path / "m.tflite", quantized=True, weight=0.0))
    assert found.quantization == "int8 weights per tensor, int8 activations"
    assert found.weights == {"int8": 12, "int32": 12}
    assert found.zeros == 13  # all weights and the first bias
    quantization = found.signatures[0].inputs[0].quantization
    assert quantization is not None
    assert (quantization.scale, quantization.zero_point) == ((1 / 32,), (0,))


@pytest.mark.parametrize(
    ("operator", "inputs", "output", "count"),
    [
        ("CONV_2D", [(1, 8, 8, 4), (6, 3, 3, 4)], (1, 8, 8, 6), 8 * 8 * 6 * 9 * 4),
        # In two groups, the kernel holds half of the channels.
        ("CONV_2D", [(1, 8, 8, 4), (6, 3, 3, 2)], (1, 8, 8, 6), 8 * 8 * 6 * 9 * 2),
        ("DEPTHWISE_CONV_2D", [(1, 8, 8, 4), (1, 3, 3, 8)], (1, 8, 8, 8), 8 * 8 * 8 * 9),
        ("CONV_3D", [(1, 4, 4, 4, 2), (3, 3, 3, 2, 5)], (1, 4, 4, 4, 5), 4**3 * 5 * 27 * 2),
        ("TRANSPOSE_CONV", [(4,), (6, 2, 2, 3), (1, 4, 4, 3)], (1, 8, 8, 6), 16 * 3 * 4 * 6),
        ("FULLY_CONNECTED", [(2, 16), (5, 16), ()], (2, 5), 160),
        ("BATCH_MATMUL", [(7, 3, 4), (7, 4, 5)], (7, 3, 5), 7 * 60),
        ("UNIDIRECTIONAL_SEQUENCE_RNN", [(1, 10, 8), (16, 8), (16, 16)], (1, 10, 16), 10 * 16 * 24),
        ("SVDF", [(1, 8), (6, 8), (6, 10)], (1, 6), 6 * 8 + 6 * 10),
        ("ADD", [(1, 8), (1, 8)], (1, 8), 0),
    ],
)  # fmt: skip
def test_multiply_adds(
    tmp_path: Path,
    operator: str,
    inputs: list[tuple[int, ...]],
    output: tuple[int, ...],
    count: int,
) -> None:
    assert described(one_operator(tmp_path / "m.tflite", operator, inputs, output)).macs == count


def test_a_turned_side_of_a_matrix_product(tmp_path: Path) -> None:
    path = one_operator(
        tmp_path / "m.tflite", "BATCH_MATMUL", [(2, 4, 3), (2, 5, 4)], (2, 3, 5),
        options="BatchMatMulOptions", adjX=True, adjY=True,
    )  # fmt: skip
    assert described(path).macs == 2 * 3 * 4 * 5


def test_an_operator_without_its_inputs(tmp_path: Path) -> None:
    path = one_operator(tmp_path / "m.tflite", "CONV_2D", [(1, 8, 8, 4)], (1, 8, 8, 6))
    with pytest.raises(InputError, match="CONV_2D has too few inputs or dimensions"):
        described(path)


def test_an_lstm_with_its_projection(tmp_path: Path) -> None:
    # Batch 1, 10 steps, 8 features, 16 units, projected to 4; the cell's peepholes are left out.
    gates = [(16, 8)] * 4 + [(16, 4)] * 4 + [()] * 3 + [(16,)] * 4 + [(4, 16), (), (1, 4), (1, 16)]
    path = one_operator(
        tmp_path / "m.tflite", "UNIDIRECTIONAL_SEQUENCE_LSTM", [(1, 10, 8), *gates], (1, 10, 4),
        options="UnidirectionalSequenceLSTMOptions", timeMajor=False,
    )  # fmt: skip
    assert described(path).macs == 10 * (4 * 16 * (8 + 4) + 16 * 4)


def test_weights_per_channel_and_float16(tmp_path: Path) -> None:
    shape = (6, 3, 3, 2)
    for values, words in (
        (np.ones(shape, np.int8), "int8 weights per channel, float32 activations"),
        (np.zeros(shape, np.float16), "float16 weights, float32 activations"),
    ):
        path = one_operator(
            tmp_path / "m.tflite", "CONV_2D", [(1, 4, 4, 2), shape], (1, 4, 4, 6),
            constants={1: values},
        )  # fmt: skip
        found = described(path)
        assert found.quantization == words
        assert found.weights == {values.dtype.name: values.nbytes}
        assert found.zeros == (108 if values.dtype == np.float16 else 0)
        assert found.coverage.nodes[0].layer == "block/conv/Relu"


def test_what_an_accelerator_took_says_so(tmp_path: Path) -> None:
    for custom, where in (("ethos-u", "ethos-u"), ("edgetpu-custom-op", "edgetpu")):
        path = one_operator(tmp_path / "m.tflite", "CUSTOM", [(1, 4)], (1, 4), custom=custom)
        found = described(path)
        assert [(n.operator, n.where) for n in found.coverage.nodes] == [(custom, where)]
        assert found.coverage.partitions == 1
        assert found.metadata["notes"] == [f"the file does not tell what is inside {custom}"]


def test_it_is_known_by_its_first_bytes_or_its_name(tmp_path: Path) -> None:
    path = dense_model(tmp_path / "weights")
    assert TFLiteInspector().accepts(str(path))
    (tmp_path / "short.tflite").write_bytes(b"abc")
    assert TFLiteInspector().accepts(str(tmp_path / "short.tflite"))
    (tmp_path / "other").write_bytes(b"nothing of the kind")
    assert not TFLiteInspector().accepts(str(tmp_path / "other"))
    assert not TFLiteInspector().accepts(str(tmp_path))


def test_one_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        TFLiteInspector().step(str(tmp_path / "none.tflite"), trust_code=False)


def test_every_truncation_is_an_error_of_one_line(tmp_path: Path) -> None:
    whole = dense_model(tmp_path / "m.tflite", quantized=True).read_bytes()
    cut = tmp_path / "cut.tflite"
    for length in range(0, len(whole) - 8, 7):  # the last bytes may be padding
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match="damaged or truncated") as caught:
            described(cut)
        assert "\n" not in caught.value.message


@pytest.mark.slow
def test_no_changed_byte_does_more_than_an_error(tmp_path: Path) -> None:
    whole = bytearray(dense_model(tmp_path / "m.tflite", quantized=True).read_bytes())
    rng, path, refused = np.random.default_rng(0), tmp_path / "changed.tflite", 0
    for _ in range(400):
        changed = whole.copy()
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            changed[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        path.write_bytes(changed)
        try:
            described(path)
        except InputError:
            refused += 1
    assert refused > 50


def test_a_length_that_lies_costs_nothing(tmp_path: Path) -> None:
    whole = dense_model(tmp_path / "m.tflite", weight=0.125).read_bytes()
    weights = np.full(12, 0.125, np.float32).tobytes()
    place = whole.index(weights) - 4
    assert int.from_bytes(whole[place : place + 4], "little") == len(weights)
    (tmp_path / "m.tflite").write_bytes(whole[:place] + b"\xf0\xff\xff\xff" + whole[place + 4 :])
    with pytest.raises(InputError, match="reach beyond its end"):
        described(tmp_path / "m.tflite")
