"""What the tests of the Android app have in common."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.android_demo.jvm import RUNNER, jvm_runner
from tests.contracts.runner import Program


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The app's benchmark on a JVM."""
    return jvm_runner(tmp_path_factory.mktemp("jvm"))


@pytest.fixture(scope="session")
def ask(program: Program) -> Callable[..., list[Any]]:
    """Lines of JSON that JvmBundles.java prints for some words."""

    def asked(*words: object, given: bytes = b"") -> list[Any]:
        main = RUNNER.replace("JvmRunner", "JvmBundles")
        command = [*program.argv[:-1], main, *map(str, words)]
        done = subprocess.run(command, capture_output=True, input=given, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.splitlines()]

    return asked
