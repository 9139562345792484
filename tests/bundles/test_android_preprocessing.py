"""The Java steps of an Android bundle give the numpy reference's results, bit for bit, on a JVM."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.bundles.accessor import to_real
from edgekit.bundles.android.accessor import float32, step
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.preprocessing import (
    Operation,
    Preprocessing,
)
from edgekit.core.tensor import Quantization, TensorSpec
from tests.bundles.preprocessing_cases import (
    LINES,
    any_steps_on_anything,
    check,
    pictures,
    stored,
)
from tests.java import HERE, JAVA, Jvm, api_jar, jvm, read_sources, write_jar

pytestmark = pytest.mark.slow

MAIN = "PreparingMain.java"


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jvm]:
    folder = tmp_path_factory.mktemp("java")
    api = api_jar(folder)
    sources = {**read_sources(JAVA), MAIN: (HERE / MAIN).read_text()}
    with jvm([write_jar(folder / "steps.jar", sources, [api]), api]) as running:
        yield running


def same(java: Jvm, preprocessing: Preprocessing, array: Any) -> bool:
    return check(
        java.ask([step(op, "v") for op in preprocessing.operations], array), preprocessing, array
    )


@pytest.mark.parametrize("line", LINES)
def test_pictures(java: Jvm, line: str) -> None:
    assert all(same(java, parse_preprocessing(line), array) for array in pictures().values())


@any_steps_on_anything
def test_any_steps_on_anything(java: Jvm, chain: list[Operation], array: Any) -> None:
    """Both make the same bits, or both refuse."""
    same(java, Preprocessing(operations=tuple(chain)), array)


@settings(max_examples=100, deadline=None)
@given(case=stored())
def test_real_numbers_of_quantized_ones(java: Jvm, case: tuple[Any, Quantization]) -> None:
    """As the bundle's Python program makes them, for a whole tensor and along each axis."""
    array, by = case
    spec = TensorSpec(name="", shape=array.shape, dtype=array.dtype.name, quantization=by)
    scale = ", ".join(float32(each) for each in by.scale)
    points = ", ".join(map(str, by.zero_point))
    axis = -1 if by.axis is None else by.axis
    call = f"Postprocessing.toReal(v, new float[] {{{scale}}}, new int[] {{{points}}}, {axis})"
    made = java.ask([call], array)
    assert not isinstance(made, str), made
    assert made.tobytes() == to_real(spec.to_json(), array).tobytes()


@settings(max_examples=50, deadline=None)
@given(scores=hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-300, 300, width=32)))
def test_softmax(java: Jvm, scores: Any) -> None:
    made = java.ask(["Postprocessing.softmax(v)"], scores)
    parts = np.exp(scores.astype(np.float64) - scores.max())
    np.testing.assert_allclose(made, parts / parts.sum(), rtol=1e-6, atol=1e-45)
    assert np.argmax(made) == np.argmax(scores) or len(set(np.asarray(made))) < len(scores)


@given(value=st.floats(-3.4e38, 3.4e38))
@example(0.1)
@example(1.00000017881393432617187499)  # near the middle of two float32: rounding twice differs
def test_numbers_in_the_source_are_the_float32_that_edgekit_uses(value: float) -> None:
    wanted = np.float32(value)
    text = float32(value).removesuffix("f")
    near = [np.nextafter(wanted, np.float32(side)) for side in (-np.inf, np.inf)]
    # What Java does: the float32 next to these very digits.
    error = abs(Fraction(Decimal(text)) - Fraction(float(wanted)))
    for other in (each for each in near if np.isfinite(each)):
        assert error < abs(Fraction(Decimal(text)) - Fraction(float(other)))
