"""Doubles of programs that are other people's and not to be had here, and of how any fails.

`benchmark_model` and `trtexec` print in the programs' own formats, as their sources have them, and
take the same words; they compute nothing. `put` puts a program, a double or a real one, on a
board's PATH behind a script that notes each call and can make it fail.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

# What the script does in the place of a call. `--help` and what asks for memory go on.
FAILURES = {
    "crashes": "kill -SEGV $$",
    "is killed": "kill -KILL $$",
    "ends with 3": "exit 3",
    "is another program": "echo 'usage: make coffee'; exit 0",
    "prints garbage": r"printf '\377\000\033[31m&&&& count= \] Model ms. nan\n'; exit 0",
    "is cut short": '"$real" "$@" 2>&1 | head -c 300; exit 0',
    "never ends": "while :; do sleep 0.2; done",
}
_SCRIPT = """#!/bin/sh
real={real}
printf '%s\\n' "$*" >>{folder}/calls
case " $* " in
  *' --help '*) ;;
  *) if [ -e {folder}/fails ]; then . {folder}/fails; fi;;
esac
"$real" "$@" >{folder}/out 2>{folder}/err
code=$?
cat {folder}/out
cat {folder}/err >&2
exit $code
"""


@dataclass(frozen=True)
class Put:
    """A program in `folder`, which belongs on the PATH."""

    folder: Path

    @property
    def calls(self) -> list[str]:
        """The words of each call, but those that only ask for help."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if "--help" not in line]

    @property
    def said(self) -> str:
        """What it printed last."""
        return (self.folder / "out").read_text() + (self.folder / "err").read_text()

    def fail(self, how: str) -> None:
        (self.folder / "fails").write_text(FAILURES[how] + "\n")


def put(folder: Path, name: str, real: Path) -> Put:
    folder.mkdir(exist_ok=True)
    program = folder / name
    words = {"real": shlex.quote(str(real)), "folder": shlex.quote(str(folder))}
    program.write_text(_SCRIPT.format(**words))
    program.chmod(0o755)
    return Put(folder)


def double(folder: Path, name: str, **constants: object) -> Path:
    """The double of `name` as a program in `folder`, with other values of its constants."""
    folder.mkdir(exist_ok=True)
    text = (HERE / f"{name}.py").read_text()
    for key, value in constants.items():
        assert f"\n{key} = " in text
        text = text.replace(f"\n{key} = ", f"\n{key} = {value!r}  # not ", 1)
    program = folder / f"double_of_{name}"
    program.write_text(f"#!{sys.executable}\n{text}")
    program.chmod(0o755)
    return program
