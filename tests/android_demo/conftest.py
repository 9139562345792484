"""What the tests of the Android app have in common."""

from __future__ import annotations

import pytest

from tests.android_demo.jvm import jvm_runner
from tests.contracts.runner import Program


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The app's benchmark on a JVM."""
    return jvm_runner(tmp_path_factory.mktemp("jvm"))
