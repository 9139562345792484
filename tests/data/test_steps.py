"""The steps as a job runs them: in workers, once for the same content; random data; overlap."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.dataset import DataSet
from edgekit.core.errors import DataError
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.tensor import Signature, TensorSpec
from edgekit.data import open_data, overlap, random_data, read_data
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Step, run_steps
from tests.data.conftest import Read, do


def opened(reference: Path) -> Step:
    return open_data(str(reference), preprocessing=Preprocessing())


def run(step: Step) -> Done:
    with Pool() as pool:
        outcome = run_steps([step], pool=pool, cache=Cache())[step]
    assert isinstance(outcome, Done), outcome
    return outcome


def test_a_file_that_is_overwritten_meanwhile_is_refused(tmp_path: Path) -> None:
    """It would be kept under the digest of what was there before."""
    np.savez(tmp_path / "a.npz", x=np.eye(4, dtype=np.float32))
    step = opened(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.ones((4, 4), np.float32))
    with pytest.raises(DataError, match="was changed while it was being read"):
        do(step, tmp_path / "out")


def test_the_same_content_is_read_once(fresh_cache: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(4, dtype=np.float32))
    first = run(opened(tmp_path / "a.npz"))
    again = run(opened(tmp_path / "a.npz"))
    assert (first.cached, again.cached) == (False, True)
    assert read_data(again).arrays()[0].tolist() == np.eye(4).tolist()
    np.savez(tmp_path / "a.npz", x=np.ones((4, 4), np.float32))
    assert not run(opened(tmp_path / "a.npz")).cached


def test_images_are_known_by_their_content(fresh_cache: Path, tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "a"
    folder.mkdir()
    Image.new("RGB", (2, 2)).save(folder / "1.png")
    first = opened(folder)
    Image.new("RGB", (2, 2), (9, 9, 9)).save(folder / "1.png")
    assert opened(folder).key != first.key


def test_another_order_of_labels_is_another_step(tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (2, 2)).save(tmp_path / name / "1.png")
    steps = [
        open_data(str(tmp_path), preprocessing=Preprocessing(), labels=labels)
        for labels in ((), ("cat", "dog"), ("dog", "cat"), ("dog", "cat", "emu"))
    ]
    assert len({step.key for step in steps}) == 4


def test_an_error_in_the_worker_comes_home(fresh_cache: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.full((2, 2), np.nan))
    with Pool() as pool:
        step = opened(tmp_path / "a.npz")
        outcome = run_steps([step], pool=pool, cache=Cache())[step]
    assert isinstance(outcome, DataError)
    assert "sample 0 holds NaN" in outcome.message


SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="real", shape=(1, 3, 4), dtype="float32"),
        TensorSpec(name="pixels", shape=(1, 50), dtype="uint8"),
        TensorSpec(name="signed", shape=(1, 50), dtype="int8"),
        TensorSpec(name="words", shape=(1, 7), dtype="int32"),
    ),
    outputs=(),
)


def test_random_data_fits_the_signature_and_says_what_it_is(tmp_path: Path) -> None:
    data = do(random_data(SIGNATURE, samples=8, seed=3), tmp_path / "a")
    assert (data.origin, data.choice) == ("random numbers", "8, seed 3")
    rows = data.rows(SIGNATURE, 0, 8)
    assert [(a.shape, a.dtype.name) for a in rows.values()] == [
        ((8, *spec.shape[1:]), spec.dtype) for spec in SIGNATURE.inputs
    ]
    assert rows["signed"].min() < -100
    assert rows["pixels"].max() > 200
    assert set(rows["words"].ravel()) == {0, 1}
    assert do(random_data(SIGNATURE, samples=8, seed=3), tmp_path / "b").digest == data.digest
    assert do(random_data(SIGNATURE, samples=8, seed=4), tmp_path / "c").digest != data.digest


def test_random_data_of_an_open_shape_is_refused(tmp_path: Path) -> None:
    spec = TensorSpec(name="x", shape=(1, None), dtype="float32")
    with pytest.raises(DataError, match="random inputs cannot be drawn"):
        do(random_data(Signature(inputs=(spec,), outputs=()), samples=1, seed=0), tmp_path / "a")


def test_rows_come_in_the_signatures_order_and_types(tmp_path: Path, read: Read) -> None:
    np.savez(tmp_path / "a.npz", pixels=np.ones((2, 3), np.uint8), extra=np.zeros((2, 1)))
    wanted = Signature(
        inputs=(
            TensorSpec(name="extra", shape=(1, 1), dtype="float32"),
            TensorSpec(name="pixels", shape=(1, 3), dtype="float32"),
        ),
        outputs=(),
    )
    rows = read(tmp_path / "a.npz").rows(wanted, 0, 1)
    assert list(rows) == ["extra", "pixels"]
    assert rows["pixels"].dtype == np.float32


def numbers(read: Read, path: Path, *values: int) -> DataSet:
    np.save(path, np.array(values, dtype=np.float32)[:, None])
    return read(path)


def test_overlap_counts_equal_samples(tmp_path: Path, read: Read) -> None:
    first = numbers(read, tmp_path / "a.npy", 1, 2, 3, 3)
    assert overlap(first, numbers(read, tmp_path / "b.npy", 7, 8)) == 0
    assert overlap(first, numbers(read, tmp_path / "c.npy", 3, 2, 9)) == 2
    assert overlap(first, numbers(read, tmp_path / "d.npy", 3, 3, 3)) == 2
    assert overlap(first, first) == 4


def test_nothing_heavy_is_imported_to_open_and_check() -> None:
    """The second run of a command must not pay for numpy."""
    import subprocess

    code = "import sys, edgekit.data; print('numpy' in sys.modules, 'PIL' in sys.modules)"
    python = shutil.which(sys.executable) or sys.executable
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
