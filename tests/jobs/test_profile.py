"""How near a board's answers must be; the rest of the job is in tests/cli/test_profile.py."""

from __future__ import annotations

import pytest

from edgekit.core.recipe import named_recipe
from edgekit.jobs.profile import _computed_in


@pytest.mark.parametrize(
    ("variant", "computed"),
    [
        ("float32", "none"),
        ("pte-float32", "none"),
        ("pte-openvino-float32", "int8"),  # perhaps in bfloat16, of 8 significant bits
        ("pte-openvino-int8", "int8"),
        ("onnx-elsewhere-float16", "float16"),  # of a package that is not here
    ],
)
def test_what_may_differ_is_what_the_board_computes_in(variant: str, computed: str) -> None:
    assert _computed_in(named_recipe(variant)) == computed
