"""What a toolchain needs that may not be on this computer, and how to get it."""

from __future__ import annotations

from typing import Literal

from edgekit.core.noun import Noun


class Requirement(Noun):
    """One thing that has to be there.

    Attributes:
        kind: "package" (a distribution that pip installs here), "toolchain" (a managed environment
            of edgekit's, made by ``edgekit toolchain add NAME``), "program" (on PATH), "variable"
            (set, and leading to a folder that is there), "file" (a shared library or a file).
        name: of the distribution, toolchain, program, variable or file.
        how: the command or the step that brings it, for people, with the maker's page where it
            is a maker's SDK.
    """

    kind: Literal["package", "toolchain", "program", "variable", "file"]
    name: str
    how: str

    def __str__(self) -> str:
        return {"variable": f"the variable {self.name}"}.get(self.kind, self.name)
