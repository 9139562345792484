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


def test_the_progress_shows_what_a_step_says_while_it_runs() -> None:
    train = Step(title="small: prune", function="a:b", worker="plain")
    with StepProgress(summary=False) as progress:
        progress(train, "start")
        progress(train, "says epoch 2 of 4, step 1 of 9, loss 0.1")
        assert progress._now() == "small: prune 0 s (epoch 2 of 4, step 1 of 9, loss 0.1)"
        progress(train, "says epoch 2 of 4, step 9 of 9, loss 0.09")
        assert progress._now().endswith("(epoch 2 of 4, step 9 of 9, loss 0.09)")
        progress(train, "done")
        assert progress._now() == ""
        progress(train, "start")  # another try: what was said before is over
        assert progress._now() == "small: prune 0 s"
