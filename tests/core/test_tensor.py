"""Shapes with a range: in words, in JSON, and what is made of them."""

from __future__ import annotations

import pytest

from edgekit.core.errors import ConversionError
from edgekit.core.tensor import OpenAxis, Signature, TensorSpec


def spec(*shape: int | None, least: int = 0, name: str = "ids") -> TensorSpec:
    opened = (OpenAxis(axis=1, name="seq", least=least, largest=shape[1] or 0),) if least else ()
    return TensorSpec(name=name, shape=shape, dtype="int32", open=opened)


def signature(*shape: int | None, least: int = 0) -> Signature:
    return Signature(
        inputs=(spec(*shape, least=least),), outputs=(spec(*shape, least=least, name="out"),)
    )


def test_a_range_is_said_where_the_size_stands() -> None:
    assert str(spec(1, 128, least=16)) == "ids int32 1×16..128"
    assert str(spec(1, 128, None)) == "ids int32 1×128×?"
    assert str(spec()) == "ids int32 scalar"


def test_without_a_range_the_json_is_what_it_was() -> None:
    fixed = spec(1, 128)
    assert set(fixed.to_json()) == {"name", "shape", "dtype", "quantization"}
    assert TensorSpec.from_json(fixed.to_json()) == fixed
    ranged = spec(1, 128, least=16)
    assert TensorSpec.from_json(ranged.to_json()) == ranged


@pytest.mark.parametrize(
    ("shapes", "meant"),
    [
        ([(1, 4)], 0),
        ([(1, 1)], 0),
        ([(1, 8, 8, 2), (1, 4)], 1),
        ([(1, 1), (1, 4)], 1),
        ([(1, None), (1, 1), (1, 1)], 0),
        ([(1, 4), (1, 7)], None),
        ([(1, 1), (1, 1)], None),
        ([(1, 8, 8, 2)], None),
    ],
)
def test_labels_speak_of_the_one_output_of_scores(
    shapes: list[tuple[int | None, ...]], meant: int | None
) -> None:
    outputs = tuple(spec(*shape, name=str(index)) for index, shape in enumerate(shapes))
    found = Signature(inputs=(), outputs=outputs).score_output()
    assert found == (None if meant is None else outputs[meant])


def test_sizes_to_try_are_the_least_and_an_odd_one_between() -> None:
    assert signature(1, 128).between() == ()
    assert signature(1, 128, least=16).between() == ({"seq": 16}, {"seq": 73})
    assert signature(1, 3, least=2).between() == ({"seq": 2}, {"seq": 3})
    assert spec(1, 128, least=16).at({"seq": 73}) == (1, 73)


def test_an_artifact_that_holds_to_one_size_is_refused() -> None:
    wanted = signature(1, 128, least=16)
    assert signature(1, None).opened(wanted) == wanted
    with pytest.raises(ConversionError, match=r"fixed dimension 1 of input 'ids' to 128") as caught:
        signature(1, 128).opened(wanted)
    assert "--dim seq=128" in caught.value.hint
    fixed = signature(1, 128)
    assert fixed.opened(fixed) is fixed
