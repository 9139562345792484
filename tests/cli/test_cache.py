"""A cache that is not as it was left."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run

pytestmark = pytest.mark.slow


def test_a_damaged_artifact_in_the_cache_does_not_reach_a_build(
    edgekit: Run, keras3: Path, fresh_cache: Path
) -> None:
    """Its verdict is cached beside it and would be believed."""
    command = ["convert", keras3 / "cnn.keras", "--for", "host", "--variant", "float32", "-o", "b"]
    assert edgekit(*command).code == 0
    (artifact,) = (fresh_cache / "steps").glob("*/*/model.tflite")
    content = bytearray(artifact.read_bytes())
    content[-200:] = bytes(200)
    artifact.write_bytes(content)
    refused = edgekit(*command)
    assert refused.code == 9
    assert "is not the one that was verified" in refused.err
    assert edgekit("clean").code == 0
    assert edgekit(*command).code == 0
