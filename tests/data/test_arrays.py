"""`.npy` and `.npz` files: what is read, what is refused, and that bombs do nothing."""

from __future__ import annotations

import contextlib
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.core.errors import DataError
from tests.data.conftest import Read

X = np.arange(10 * 2 * 3, dtype=np.float32).reshape(10, 2, 3)
Y = np.arange(10) % 4


def npz(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_a_single_input_and_its_labels(tmp_path: Path, read: Read) -> None:
    data = read(npz(tmp_path / "a.npz", x=X, y=Y))
    assert (data.inputs, data.count, data.choice) == (("",), 10, "all 10")
    assert (data.arrays()[0] == X).all()
    assert data.labels().tolist() == Y.tolist()
    assert data.label_range == (0, 3)
    (facts,) = data.facts
    assert (facts.shape, facts.dtype, facts.minimum, facts.maximum) == ((2, 3), "float32", 0, 59)


@pytest.mark.parametrize("key", ["x", "X", "data", "images"])
def test_a_single_input_may_have_a_usual_name(tmp_path: Path, read: Read, key: str) -> None:
    assert read(npz(tmp_path / "a.npz", **{key: X})).inputs == ("",)


def test_inputs_by_name(tmp_path: Path, read: Read) -> None:
    data = read(npz(tmp_path / "a.npz", left=X, right=X[:, 0], labels=Y))
    assert data.inputs == ("left", "right")
    assert [array.shape for array in data.arrays()] == [(10, 2, 3), (10, 3)]


def test_a_npy_file(tmp_path: Path, read: Read) -> None:
    np.save(tmp_path / "a.npy", X)
    data = read(tmp_path / "a.npy")
    assert (data.arrays()[0] == X).all()
    assert data.labels() is None


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_column_order_and_foreign_byte_order_are_read(
    tmp_path: Path, read: Read, name: str
) -> None:
    foreign = np.asfortranarray(X).astype(">f4", order="F")
    (np.save if name == "a.npy" else np.savez)(tmp_path / name, foreign)
    if name == "a.npz":
        npz(tmp_path / name, x=foreign)
    assert (read(tmp_path / name).arrays()[0] == X).all()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (Y.astype(np.uint8), Y),
        (Y.astype(np.float64), Y),
        (Y[:, None], Y),
        (np.eye(4)[Y], Y),
        (np.eye(4, dtype=bool)[Y], Y),
    ],
)
def test_labels_come_as_numbers_or_one_hot(
    tmp_path: Path, read: Read, labels: Any, expected: Any
) -> None:
    data = read(npz(tmp_path / "a.npz", x=X, label=labels))
    assert data.labels().tolist() == expected.tolist()


def test_float64_is_stored_as_float32_and_said(tmp_path: Path, read: Read) -> None:
    data = read(npz(tmp_path / "a.npz", x=X.astype(np.float64)))
    assert data.arrays()[0].dtype == np.float32
    assert "float64 was stored as float32" in data.notes[0]


def test_preprocessing_is_applied_to_arrays_too(tmp_path: Path, read: Read) -> None:
    images = np.full((3, 8, 8, 3), 255, np.uint8)
    data = read(npz(tmp_path / "a.npz", x=images), "resize=4x4,normalize=127.5/127.5")
    assert data.arrays()[0].shape == (3, 4, 4, 3)
    assert (data.arrays()[0] == 1).all()
    assert len(data.preprocessing.operations) == 2


@pytest.mark.parametrize(
    ("choice", "expected", "said"),
    [
        ({"samples": 4}, [0, 2, 5, 7], "4 of 10, evenly spread"),
        ({"samples": 4, "choice": "first"}, [0, 1, 2, 3], "the first 4 of 10"),
        ({"samples": 3, "choice": "random", "seed": 1}, [1, 2, 4], "3 of 10 at random, seed 1"),
        ({"samples": 50}, list(range(10)), "all 10 (50 were asked for)"),
    ],
)
def test_the_choice_of_samples(
    tmp_path: Path, read: Read, choice: dict[str, Any], expected: list[int], said: str
) -> None:
    data = read(npz(tmp_path / "a.npz", x=X, y=Y), **choice)
    assert data.arrays()[0][:, 0, 0].tolist() == [6 * index for index in expected]
    assert data.labels().tolist() == [index % 4 for index in expected]
    assert data.choice == said


def test_the_digest_is_of_the_content(tmp_path: Path, read: Read) -> None:
    first = read(npz(tmp_path / "a.npz", x=X, y=Y))
    np.savez(tmp_path / "b.npz", x=X, y=Y)
    assert read(tmp_path / "b.npz").digest == first.digest
    assert read(npz(tmp_path / "c.npz", x=X, y=Y[::-1])).digest != first.digest
    assert read(npz(tmp_path / "d.npz", z=X, y=Y)).digest != first.digest


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "has no inputs, it holds: nothing"),
        ({"y": Y}, "has no inputs, it holds: y 10 int64"),
        ({"x_train": X, "x_test": X[:3]}, r"x_train 10×2×3 float32, x_test 3×2×3 float32"),
        ({"x": X, "y": Y[:5]}, "differ in their number of samples"),
        ({"x": X, "y": Y, "labels": Y}, "labels under y and labels"),
        ({"x": X[:0]}, "holds no samples"),
        ({"x": X[:, :0]}, "its samples are empty"),
        ({"x": np.float32(3)}, "a single number"),
        ({"x": X.astype(str)}, "not numbers that a model takes"),
        ({"x": X.astype(complex)}, "not numbers that a model takes"),
        ({"x": np.where(X == 25, np.nan, X)}, "sample 4 holds NaN"),
        ({"x": np.where(X == 25, np.inf, X).astype("f4")}, "sample 4 holds infinity"),
        ({"x": X.astype(float) * 1e300}, "too large for float32"),
        ({"x": X, "y": Y - 1}, "y holds -1"),
        ({"x": X, "y": Y + 0.5}, "holds fractions"),
        ({"x": X, "y": X[:, 0]}, "not one-hot"),
        ({"x": X, "y": X}, r"shape 10×2×3"),
        ({"x": X, "y": Y + np.inf}, "holds fractions"),
        ({"x": X, "y": Y * 1e300}, "labels are class numbers"),
    ],
)
def test_what_cannot_be_used_is_said(
    tmp_path: Path, read: Read, arrays: dict[str, Any], said: str
) -> None:
    with np.errstate(all="ignore"), pytest.raises(DataError, match=said):
        read(npz(tmp_path / "a.npz", **arrays))


def test_preprocessing_of_several_inputs_is_refused(tmp_path: Path, read: Read) -> None:
    with pytest.raises(
        DataError, match=r"has the arrays a, b; .*\n.*keep one array, called like the input or x"
    ):
        read(npz(tmp_path / "a.npz", a=X, b=X), "cast=float32")


def test_preprocessing_of_fractions_is_pointed_out(tmp_path: Path, read: Read) -> None:
    data = read(npz(tmp_path / "a.npz", x=X), "normalize=1/2")
    assert "was applied to these float32 values; if they were prepared" in data.notes[0]


def test_an_operation_that_does_not_fit_is_named(tmp_path: Path, read: Read) -> None:
    with pytest.raises(DataError, match="resize=2x2:bilinear: needs an image"):
        read(npz(tmp_path / "a.npz", x=X), "resize=2x2")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_nan_in_a_sample_that_is_not_chosen_is_found_too(
    tmp_path: Path, read: Read, name: str
) -> None:
    spoiled = np.where(X == 25, np.nan, X)
    np.save(tmp_path / name, spoiled) if name == "a.npy" else npz(tmp_path / name, x=spoiled)
    with pytest.raises(DataError, match="sample 4 holds NaN"):
        read(tmp_path / name, samples=2)


class Bomb:
    def __reduce__(self) -> Any:
        return (Path("exploded").touch, ())


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_nothing_is_unpickled(
    tmp_path: Path, read: Read, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    objects = np.array([Bomb()], dtype=object)
    if name == "a.npy":
        np.save(tmp_path / name, objects, allow_pickle=True)
    else:
        np.savez(tmp_path / name, x=objects)
    with pytest.raises(DataError, match="pickle"):
        read(tmp_path / name)
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def npy_bytes(shape: tuple[int, ...], data: bytes, descr: str = "<f4") -> bytes:
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + data


@pytest.mark.parametrize("shape", [(10**15,), (10**9, 10**9), (3,), (-1,), (-2, -4)])
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_header_that_lies_about_the_size_takes_no_memory(
    tmp_path: Path, read: Read, name: str, shape: tuple[int, ...]
) -> None:
    content = npy_bytes(shape, b"\0" * 32)
    if name == "a.npz":
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("x.npy", content)
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read: .*header says"):
        read(tmp_path / name)


def test_an_archive_that_unpacks_to_more_than_the_disk_is_refused(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = npz(tmp_path / "a.npz", x=np.zeros((1000, 1000), np.float32))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    with pytest.raises(DataError, match=r"unpacks to 4.0 MB"):
        read(file)


def test_only_the_chosen_samples_are_kept(tmp_path: Path, read: Read) -> None:
    file = npz(tmp_path / "a.npz", x=np.zeros((1000, 1000), np.float32))
    data = read(file, samples=2)
    assert sum(f.stat().st_size for f in Path(data.folder).iterdir()) < 10_000


def test_a_full_disk_is_an_error_before_it_is_full(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", X)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    with pytest.raises(DataError, match="do not fit on the disk"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_file_cut_off_anywhere_is_a_data_error(tmp_path: Path, read: Read, name: str) -> None:
    whole = tmp_path / "whole" / name
    whole.parent.mkdir()
    np.save(whole, X) if name == "a.npy" else npz(whole, x=X, y=Y)
    content = whole.read_bytes()
    for length in [0, 3, 7, 20, 90, 127, 130, len(content) // 2, len(content) - 1]:
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(DataError, match="cannot be read"):
            read(tmp_path / name)


@given(
    position=st.integers(0, 10**6),
    value=st.integers(0, 255),
    npy=st.booleans(),
    targets=st.booleans(),
)
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_changed_byte_is_read_or_a_data_error(
    tmp_path: Path, read: Read, position: int, value: int, npy: bool, targets: bool
) -> None:
    """Whatever stands in a file, nothing but a DataError comes out."""
    stream = io.BytesIO()
    np.save(stream, X) if npy else np.savez_compressed(stream, x=X, y=Y)
    content = bytearray(stream.getvalue())
    content[position % len(content)] = value
    file = tmp_path / ("a.npy" if npy else "a.npz")
    file.write_bytes(content)
    with contextlib.suppress(DataError):
        read(file, targets=targets)


def test_an_encrypted_archive(tmp_path: Path, read: Read) -> None:
    file = npz(tmp_path / "a.npz", x=X)
    content = bytearray(file.read_bytes())
    central = content.rindex(b"PK\x01\x02")
    content[6] |= 1
    content[central + 8] |= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read.*encrypted"):
        read(file)


@pytest.mark.parametrize("name", ["gone.npz", "gone", "gone.csv"])
def test_a_missing_file(read: Read, name: str) -> None:
    with pytest.raises(DataError, match=r"does not exist\n.*package.module:function"):
        read(name)


def test_another_kind_of_file(tmp_path: Path, read: Read) -> None:
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"is not a .npz or .npy file"):
        read(tmp_path / "data.csv")


def test_a_device_is_not_read(read: Read) -> None:
    with pytest.raises(DataError, match="is not a regular file"):
        read("/dev/zero")


# ------------------------------------------------------------------ targets of other kinds


@pytest.mark.parametrize(
    "targets",
    [
        X[:, 0, 0] - 7.5,
        Y - 2,
        np.eye(4, dtype=bool)[Y],
        np.arange(10 * 6, dtype=np.uint8).reshape(10, 2, 3),
        np.where(np.arange(10)[:, None] % 5 > np.arange(4), 3, -1),
        np.asfortranarray(X.astype(">f4")),
    ],
    ids=["values", "whole", "many", "mask", "sequence", "foreign"],
)
def test_targets_are_kept_as_they_are(tmp_path: Path, read: Read, targets: Any) -> None:
    data = read(npz(tmp_path / "a.npz", x=X, y=targets), targets=True, samples=4)
    found = data.targets()
    assert isinstance(found, np.memmap)
    assert (found == targets[[0, 2, 5, 7]]).all()
    assert data.target is not None
    assert data.target.shape == targets.shape[1:]
    assert data.target.maximum == found.max()
    assert (data.labelled, data.labels(), data.label_range) == (False, None, None)


def test_labels_are_targets_where_there_are_no_others(tmp_path: Path, read: Read) -> None:
    data = read(npz(tmp_path / "a.npz", x=X, y=Y))
    assert data.target is None
    assert (data.targets() == Y).all()
    assert read(npz(tmp_path / "b.npz", x=X), targets=True).targets() is None


def test_targets_are_part_of_the_digest(tmp_path: Path, read: Read) -> None:
    digests = {
        read(npz(tmp_path / "a.npz", x=X, **more), targets=True).digest
        for more in ({}, {"y": Y}, {"y": Y + 1}, {"y": Y[:, None]}, {"y": Y.astype(np.int32)})
    }
    assert len(digests) == 5


def test_float64_targets_are_stored_as_float32_and_said(tmp_path: Path, read: Read) -> None:
    data = read(npz(tmp_path / "a.npz", x=X, y=Y / 3), targets=True)
    assert data.notes == (f"{tmp_path}/a.npz: labels: float64 was stored as float32",)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (np.where(Y == 2, np.nan, Y), "labels: sample 2 holds NaN"),
        (np.where(Y == 2, np.inf, Y).astype("f4"), "labels: sample 2 holds infinity"),
        (Y * 1e300, "too large for float32"),
        (Y[:5], "differ in their number of samples"),
        (Y[:, None][:, :0], "its samples are empty"),
        (Y.astype(str), "not numbers that a model takes"),
        (np.float32(3), "a single number"),
    ],
)
def test_targets_that_cannot_be_used(tmp_path: Path, read: Read, targets: Any, said: str) -> None:
    with np.errstate(all="ignore"), pytest.raises(DataError, match=said):
        read(npz(tmp_path / "a.npz", x=X, y=targets), targets=True)


def test_nan_in_a_target_that_is_not_chosen_is_found_too(tmp_path: Path, read: Read) -> None:
    with pytest.raises(DataError, match="sample 4 holds NaN"):
        read(npz(tmp_path / "a.npz", x=X, y=np.where(X == 25, np.nan, X)), targets=True, samples=2)


def test_a_full_disk_is_found_with_targets_too(
    tmp_path: Path, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=np.zeros((10, 1000, 100)))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 2 * 10**9}))
    monkeypatch.setattr("edgekit.data.writer.SPARE_BYTES", 2 * 10**9 - 10**6)
    with pytest.raises(DataError, match="labels: the prepared samples do not fit on the disk"):
        read(tmp_path / "a.npz", targets=True)


def test_what_is_no_class_number_leads_to_the_metrics(tmp_path: Path, read: Read) -> None:
    for targets in (Y + 0.5, X, X[:, 0]):
        with pytest.raises(DataError, match=r"\n.*--metric rmse, miou"):
            read(npz(tmp_path / "a.npz", x=X, y=targets))
