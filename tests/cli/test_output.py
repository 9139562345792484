"""What models and files are called is shown, never obeyed by the terminal."""

from __future__ import annotations

import pytest

from edgekit import cli
from edgekit.cli.output import StepProgress
from edgekit.work.steps import Step

TITLE = "\x1b]0;owned\x07\x1b[2J\r\x9b31m"  # sets the window's title, clears the screen


def test_an_error_shows_names_out_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    cli._complain(f"no operator called {TITLE}\nin it", f"--dim {TITLE}=SIZE", "")

    lines = capsys.readouterr().err.split("\n")
    shown = r"\x1b]0;owned\x07\x1b[2J\r\x9b31m"
    assert lines == [
        f"error: no operator called {shown}",
        "in it",
        f"       --dim {shown}=SIZE",
        "",
    ]


def test_the_progress_shows_names_of_files(capsys: pytest.CaptureFixture[str]) -> None:
    with StepProgress(summary=False) as progress:
        progress(Step(title=f"{TITLE}: read", function="a:b", worker="plain"), "failed")

    assert capsys.readouterr().err == "  FAILED   \\x1b]0;owned\\x07\\x1b[2J\\r\\x9b31m: read\n"
