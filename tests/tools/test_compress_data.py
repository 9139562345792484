"""The data of the compression benchmark: always the same, balanced, no sample in two splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tools.compress import data


def test_glyphs_are_the_same_every_time_and_balanced() -> None:
    x, labels = data.glyphs(160, 0)
    again, labels_again = data.glyphs(160, 0)
    assert np.array_equal(x, again)
    assert np.array_equal(labels, labels_again)
    assert x.shape == (160, data.SIDE, data.SIDE, 1)
    assert x.dtype == np.float32
    assert 0 <= x.min() < x.max() <= 1
    assert np.bincount(labels).tolist() == [10] * data.CLASSES["glyphs"]
    assert len(set(labels[:16].tolist())) < 16  # in no order


def test_streams_of_glyphs_have_no_sample_in_common() -> None:
    streams = [{image.tobytes() for image in data.glyphs(160, stream)[0]} for stream in range(3)]
    assert [len(stream) for stream in streams] == [160] * 3
    assert len(set.union(*streams)) == 480


def test_a_glyph_is_told_by_its_label() -> None:
    """Averaged over a class noise and covers vanish, so a test sample is nearest to its own."""
    x, labels = data.glyphs(1600, 0)
    means = np.stack([x[labels == label].mean(0).ravel() for label in range(16)])
    given, expected = data.glyphs(320, 1)
    flat = given.reshape(320, -1)
    found = (flat - flat.mean(1, keepdims=True)) @ (means - means.mean(1, keepdims=True)).T
    assert (found.argmax(1) == expected).mean() > 4 / 16


@pytest.mark.slow
def test_digits_are_split_into_all_samples_once() -> None:
    splits = [data.load("digits", split) for split in data.SPLITS]
    assert [len(x) for x, _ in splits] == [1000, 200, 597]
    for (_, labels), each in zip(splits, (100, 20, None), strict=True):
        counts = np.bincount(labels, minlength=10)
        assert set(counts) == {each} if each else counts.min() >= 54
    images = [{image.tobytes() for image in x} for x, _ in splits]
    assert sum(map(len, images)) == len(set.union(*images)) == 1797


def test_the_files_hold_both_layouts_and_are_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "GLYPHS", {"train": 32, "calibration": 16, "test": 16})
    data.write(tmp_path)
    with (
        np.load(data.path(tmp_path, "glyphs", "nhwc", "train")) as last,
        np.load(data.path(tmp_path, "glyphs", "nchw", "train")) as first,
    ):
        assert last["x"].shape == (32, 28, 28, 1)
        assert np.array_equal(last["x"].transpose(0, 3, 1, 2), first["x"])
        assert np.array_equal(last["labels"], first["labels"])
    assert len(list(tmp_path.iterdir())) == 12
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    data.write(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
