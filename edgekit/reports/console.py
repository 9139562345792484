"""Where reports for people are printed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

PIPE_COLUMNS = 160  # of tables, where no terminal tells how wide it is


def open_console(file: TextIO | None = None, columns: int | None = None) -> Console:
    """A console that prints text as it is; a pipe gets sentences whole, for grep.

    Args:
        file: standard output if not given; colours only on a terminal and without NO_COLOR.
        columns: width; the terminal's if not given.
    """
    from rich.console import Console

    out = file or sys.stdout
    piped = columns is None and not out.isatty()
    return Console(
        file=out,
        width=PIPE_COLUMNS if piped else columns,
        soft_wrap=piped,
        highlight=False,
        markup=False,
        emoji=False,
    )
