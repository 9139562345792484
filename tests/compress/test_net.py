"""What techniques share: kernels as rows, and patterns that mean layers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekit.compress.net import check_finite, matching, rows, unrows
from edgekit.core.errors import ModelError, UsageError
from tests.compress.arrays import ArrayNet

SHAPES = arrays.array_shapes(min_dims=2, max_dims=4, max_side=4)


@given(shape=SHAPES, axis=st.integers(-4, 3))
def test_rows_are_channels_and_unrows_puts_them_back(shape: tuple[int, ...], axis: int) -> None:
    axis = axis % len(shape)
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    flat = rows(values, axis)
    assert flat.shape == (shape[axis], values.size // shape[axis])
    for channel in range(shape[axis]):
        assert (flat[channel] == values.take(channel, axis).ravel()).all()
    for same in (axis, axis - len(shape)):
        assert (unrows(rows(values, same), shape, same) == values).all()


def net() -> ArrayNet:
    one = np.ones((2, 2))
    return ArrayNet({"stem/conv/kernel": one, "stem/last/kernel": one, "logits/kernel": one})


def test_patterns_mean_layers_and_names_mean_weights() -> None:
    weights = net().weights().values()

    def meant(*patterns: str) -> list[str]:
        return [weight.name for weight in matching(weights, patterns, "exclude")]

    assert meant("stem/*") == ["stem/conv/kernel", "stem/last/kernel"]
    assert meant("logits/kernel", "stem/????") == [
        "logits/kernel", "stem/conv/kernel", "stem/last/kernel",
    ]  # fmt: skip
    assert meant("*", "logits") == [weight.name for weight in weights]
    assert meant() == []


def test_a_pattern_that_means_nothing_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="exclude = 'logit' matches no layer") as caught:
        matching(net().weights().values(), ["*", "logit"], "exclude")
    assert caught.value.hint.startswith("its layers: logits")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(bad: float) -> None:
    check_finite(net())
    broken = net()
    broken.arrays["logits/kernel"][0, 1] = bad
    with pytest.raises(ModelError, match="logits/kernel has 1 weights that are NaN or infinite"):
        check_finite(broken)
