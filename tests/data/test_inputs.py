"""Single files as inputs: what is taken, how it is prepared, and what is said where it is not."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.errors import DataError
from edgekit.core.preprocess_text import read_preprocessing
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.tensor import OpenAxis, Signature, TensorSpec
from edgekit.data.inputs import read_inputs

NONE = Preprocessing()
PICTURES = read_preprocessing("resize=4x4,color=gray,normalize=0/255")


def takes(*shape: int, dtype: str = "float32", name: str = "x") -> Signature:
    spec = TensorSpec(name=name, shape=(1, *shape), dtype=dtype)
    return Signature(inputs=(spec,), outputs=(TensorSpec(name="y", shape=(1, 2), dtype="float32"),))


TWO = Signature(
    inputs=(
        TensorSpec(name="ids", shape=(1, 5), dtype="int32"),
        TensorSpec(name="mask", shape=(1, 5), dtype="float32"),
    ),
    outputs=(),
)


def save(path: Path, array: np.ndarray) -> str:
    np.save(path, array)
    return str(path)


def sound(path: Path, signal: np.ndarray, *, channels: int = 1, width: int = 2) -> str:
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, 16000, 0, "NONE", ""))
        file.writeframes(signal.astype(f"<i{width}").tobytes())
    return str(path)


def test_pictures_are_prepared_as_the_build_says(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    single = save(tmp_path / "c.npy", pixels)
    found = read_inputs([str(tmp_path), single], takes(4, 4, 1), PICTURES)
    assert found.names == (f"{tmp_path}/a.png", f"{tmp_path}/b.png", single)
    assert found.arrays["x"].shape == (3, 4, 4, 1)
    weights = np.array([19595, 38470, 7471])
    gray = ((pixels.astype(int) * weights).sum(axis=2) + 2**15) >> 16
    np.testing.assert_array_equal(
        found.arrays["x"][2, :, :, 0], gray.astype(np.float32) / np.float32(255)
    )
    np.testing.assert_array_equal(found.arrays["x"][0], found.arrays["x"][2])


@pytest.mark.parametrize(
    ("shape", "names"),
    [((4,), ["x.npy"]), ((1, 4), ["x.npy"]), ((2, 4), ["x.npy[0]", "x.npy[1]"])],
)
def test_a_file_holds_one_sample_or_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], names: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "x.npy", np.zeros(shape, np.float32))
    found = read_inputs(["x.npy"], takes(4), NONE)
    assert list(found.names) == names
    assert found.arrays["x"].shape == (len(names), 4)


def test_several_inputs_come_by_name_and_labels_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, ids=np.ones((3, 5), np.int64), mask=np.ones((3, 5)), labels=np.zeros(3))
    found = read_inputs([str(path)], TWO, NONE)
    assert len(found.names) == 3
    assert found.arrays["ids"].dtype == np.int32
    assert found.arrays["mask"].dtype == np.float32
    assert found.notes == ("ids: int64 is given to the model as int32",)


def test_sound_is_a_signal_from_minus_one_to_one(tmp_path: Path) -> None:
    path = sound(tmp_path / "x.wav", np.array([0, 16384, -32768, 32767]))
    found = read_inputs([path], takes(4, 1), NONE)
    np.testing.assert_array_equal(
        found.arrays["x"][0, :, 0], np.array([0, 0.5, -1, 32767 / 32768], np.float32)
    )


def test_pixels_for_a_float_model_are_told_to_be_unscaled(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", np.zeros((2, 4), np.uint8))
    assert read_inputs([path], takes(4), NONE).notes == (
        "x: uint8 is given to the model as float32, not scaled",
    )


@pytest.mark.parametrize(
    ("array", "signature", "preprocessing", "message", "hint"),
    [
        (np.zeros((8, 8), "f4"), takes(8, 8, 1), NONE, "x takes float32 8×8×1", "x[..., None]"),
        (np.zeros((3, 8, 8), "f4"), takes(8, 8, 3), NONE, "8×8×3", "x.transpose(1, 2, 0)"),
        (np.zeros(64, "f4"), takes(8, 8, 1), NONE, "is float32 64;", "x.reshape(8, 8, 1)"),
        (np.zeros((9, 8, 3), "u1"), takes(8, 8, 3), NONE, "8×8×3", "--preprocess resize"),
        (np.zeros((8, 8), "f4"), takes(4, 4, 1), PICTURES, "uint8 height×width×3", "give it raw"),
        (np.full(4, np.nan, "f4"), takes(4), NONE, "NaN", "take that sample out"),
        (np.full(4, 0.5, "f4"), takes(4, dtype="int32"), NONE, "takes int32", "astype('int32')"),
        (np.array(["a"]), takes(4), NONE, "not numbers", ""),
        (np.zeros((0, 4), "f4"), takes(4), NONE, "no samples", ""),
    ],
)
def test_what_does_not_fit_says_what_would(
    tmp_path: Path,
    array: np.ndarray,
    signature: Signature,
    preprocessing: Preprocessing,
    message: str,
    hint: str,
) -> None:
    with pytest.raises(DataError) as caught:
        read_inputs([save(tmp_path / "x.npy", array)], signature, preprocessing)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_an_open_size_is_filled_up(tmp_path: Path) -> None:
    spec = TensorSpec(
        name="x",
        shape=(1, 16),
        dtype="float32",
        open=(OpenAxis(axis=1, name="time", least=4, largest=16),),
    )
    with pytest.raises(DataError, match="fill the sample up"):
        read_inputs(
            [save(tmp_path / "x.npy", np.zeros(8, "f4"))],
            Signature(inputs=(spec,), outputs=()),
            NONE,
        )


@pytest.mark.parametrize(
    ("signal", "how", "message"),
    [
        (np.zeros(5), {}, "has 5 samples (0.00 s at 16000 Hz)"),
        (np.zeros(8), {"channels": 2}, "2 channels of 16 bits"),
        (np.zeros(4), {"width": 4}, "1 channel of 32 bits"),
    ],
)
def test_sound_of_another_kind_is_refused(
    tmp_path: Path, signal: np.ndarray, how: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        read_inputs([sound(tmp_path / "x.wav", signal, **how)], takes(4), NONE)
    assert message in caught.value.message


def test_what_is_no_input_says_what_is(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    (tmp_path / "x.npz").write_bytes(b"PK")
    np.save(tmp_path / "x.npy", np.zeros(5))
    np.savez(tmp_path / "other.npz", a=np.zeros(5))
    for name, signature, message in (
        ("nothing.npy", takes(4), "does not exist"),
        ("x.txt", takes(4), "is not a picture"),
        ("x.wav", takes(4), "is not a whole .wav"),
        ("x.wav", takes(4, 4), "which is not one signal"),
        ("x.npz", takes(4), "cannot be read"),
        ("x.npy", TWO, "the model takes 2 inputs: ids, mask"),
        ("other.npz", takes(4), "has the arrays a; the model takes x"),
    ):
        with pytest.raises(DataError) as caught:
            read_inputs([str(tmp_path / name)], signature, NONE)
        assert message in caught.value.message
