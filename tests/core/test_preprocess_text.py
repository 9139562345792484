"""Preprocessing as a line and as a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import UnknownNameError, UsageError
from edgekit.core.preprocess_text import (
    format_preprocessing,
    load_preprocessing,
    parse_preprocessing,
    read_preprocessing,
)
from edgekit.core.preprocessing import (
    INTEGER_RANGES,
    Cast,
    CenterCrop,
    Color,
    Normalize,
    Preprocessing,
    Quantize,
    Resize,
    ResizeShortSide,
    ToLayout,
)

sides = st.integers(1, 2**14)
methods = st.sampled_from(["nearest", "bilinear"])
reals = st.floats(-1e30, 1e30)
divisors = st.floats(1e-30, 1e30)


@st.composite
def normalizations(draw: st.DrawFn) -> Normalize:
    channels = draw(st.integers(1, 4))
    sizes = [draw(st.sampled_from([1, channels])) for _ in range(2)]
    mean = draw(st.lists(reals, min_size=sizes[0], max_size=sizes[0]))
    std = draw(st.lists(divisors, min_size=sizes[1], max_size=sizes[1]))
    return Normalize(mean=tuple(mean), std=tuple(std))


@st.composite
def quantizations(draw: st.DrawFn) -> Quantize:
    dtype = draw(st.sampled_from(["uint8", "int8", "int16"]))
    zero_point = draw(st.integers(*INTEGER_RANGES[dtype]))
    return Quantize(scale=draw(divisors), zero_point=zero_point, dtype=dtype)


operations = st.one_of(
    st.builds(Resize, height=sides, width=sides, method=methods),
    st.builds(ResizeShortSide, size=sides, method=methods),
    st.builds(CenterCrop, height=sides, width=sides),
    st.builds(Color, to=st.sampled_from(["bgr", "gray"])),
    st.builds(ToLayout),
    st.builds(Cast, dtype=st.sampled_from(["uint8", "int8", "float32"])),
    normalizations(),
    quantizations(),
)
preprocessings = st.lists(operations, max_size=6).map(
    lambda ops: Preprocessing(operations=tuple(ops))
)


@given(preprocessings)
def test_a_line_reads_back_to_the_same_value(preprocessing: Preprocessing) -> None:
    assert parse_preprocessing(format_preprocessing(preprocessing)) == preprocessing


@given(preprocessings)
def test_the_json_form_reads_back_to_the_same_value(preprocessing: Preprocessing) -> None:
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing


def test_the_line_in_the_documentation() -> None:
    found = parse_preprocessing("resize=224x192:nearest, normalize=1:2:3/4, cast=float32")
    assert found.operations == (
        Resize(height=224, width=192, method="nearest"),
        Normalize(mean=(1, 2, 3), std=(4,)),
        Cast(dtype="float32"),
    )


def test_no_operation_is_written_none() -> None:
    assert format_preprocessing(Preprocessing()) == "none"
    assert parse_preprocessing("none") == Preprocessing()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "preprocessing operation"),
        ("rezise=2x2", "did you mean resize"),
        ("resize=224", "resize=HEIGHTxWIDTH"),
        ("resize", "resize=HEIGHTxWIDTH"),
        ("resize=0x5", "'resize=0x5': height and width are at least 1 and at most 16384$"),
        ("resize-short-side=0", "the short side is at least 1"),
        ("normalize=0/0", "'normalize=0/0': std must be above zero and finite"),
        ("normalize=0/inf", "std must be above zero and finite"),
        ("quantize=0/0:int8", "scale must be above zero"),
        ("foo=1", "the operations are resize, resize-short-side, center-crop"),
        ("resize=5x99999", "resize=5x99999"),
        ("resize=2x2:cubic", "cubic': the method is nearest or bilinear"),
        ("normalize=1", "MEAN/STD"),
        ("normalize=1/0", "normalize=1/0"),
        ("normalize=nan/1", "normalize=nan/1"),
        ("normalize=nan/1", "mean must be a finite number"),
        ("normalize=1:2/1:2:3", "2/1:2:3': 2 means but 3 standard deviations"),
        ("cast=float64", "float64': write it as cast=float32, cast=uint8 or cast=int8"),
        ("layout=HWC", "layout=HWC': write it as layout=CHW"),
        ("quantize=0.5/300:int8", "300 is not a int8"),
        ("quantize=0.5/3", "quantize=SCALE/ZERO_POINT:TYPE"),
        ("cast=float32,,", "preprocessing operation"),
    ],
)
def test_a_line_that_is_not_right_says_how_it_should_be(line: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_preprocessing(line)


def test_an_unknown_operation_is_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match="blur"):
        parse_preprocessing("blur=3")


def test_a_file_holds_the_same(tmp_path: Path) -> None:
    file = tmp_path / "prepare.toml"
    file.write_text(
        'schema = 1\n[[operations]]\nop = "resize"\nheight = 8\nwidth = 9\n'
        '[[operations]]\nop = "normalize"\nmean = [127.5]\nstd = [127.5]\n'
    )
    assert read_preprocessing(str(file)) == parse_preprocessing("resize=8x9,normalize=127.5/127.5")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("operations = []", "schema = 1"),
        ("schema = 2", "schema = 1"),
        ("schema = 1\nsteps = []", "unknown key 'steps'"),
        ('schema = 1\n[[operations]]\nop = "blur"', "operations.0"),
        ('schema = 1\n[[operations]]\nop = "cast"\ndtype = "float32"\nx = 1', "unknown key"),
        (
            'schema = 1\n[[operations]]\nop = "normalize"\nmean = [0]\nstd = [0]',
            r"prepare\.toml: std must be above zero",
        ),
        ("schema =", "not valid TOML"),
    ],
)
def test_a_file_that_is_not_right(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "prepare.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        load_preprocessing(file)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the preprocessing"):
        load_preprocessing(tmp_path / "none.toml")
