"""Which runtime can be installed on which board."""

from __future__ import annotations

import pytest

from edgekit.core.errors import UnknownNameError
from edgekit.devices.probe import parse
from edgekit.measure.wheels import choices, modules, refusals, wheels
from tests.devices import board_samples as samples

PI_5 = parse(samples.RASPBERRY_PI_5, "ssh://pi")
JETPACK_5 = parse(samples.JETPACK_5, "ssh://jetson")
PI_4 = parse(samples.RASPBERRY_PI_4_32_BIT, "ssh://pi4")
ALPINE = parse(samples.ALPINE_PC, "ssh://pc")


def test_the_table_is_the_runners() -> None:
    assert {wheel.name for wheel in wheels()} <= set(modules())
    assert modules()["ai-edge-litert"] == "ai_edge_litert"


def test_the_newest_that_fits_comes_first() -> None:
    best = choices(PI_5)[0]
    assert (best.wheel.title, best.python.called) == ("ai-edge-litert 2.3.0", "python3")
    assert [c.wheel.title for c in choices(JETPACK_5)] == ["tflite-runtime 2.14.0"]


def test_a_profile_may_prefer_another() -> None:
    assert choices(PI_5, prefer=["tensorrt", "onnxruntime"])[0].wheel.name == "onnxruntime"


def test_one_that_is_wanted() -> None:
    assert {c.wheel.title for c in choices(PI_5, "ai-edge-litert==2.0.3")} == {
        "ai-edge-litert 2.0.3"
    }
    with pytest.raises(UnknownNameError, match="did you mean tflite-runtime"):
        choices(PI_5, "tflite-runtim")


def test_where_nothing_fits_it_is_said_why() -> None:
    assert choices(PI_4) == choices(ALPINE) == []
    assert refusals(PI_4)[0] == "ai-edge-litert 2.3.0 has no wheel for armv7l"
    assert refusals(ALPINE)[0] == "ai-edge-litert 2.3.0 needs glibc, not musl 1.2.5"
    assert refusals(JETPACK_5, "ai-edge-litert") == [
        "ai-edge-litert 2.3.0 needs glibc 2.34",
        "ai-edge-litert 2.0.3 needs Python 3.9 to 3.12",
    ]
