"""What an export leaves: files with named signatures, and how they came to be."""

from __future__ import annotations

from pydantic import Field

from edgekit.core.noun import Noun
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.tensor import Signature


class File(Noun):
    """A file of an artifact: its path in the build, size in bytes, SHA-256 in hex."""

    path: str
    size_bytes: int
    sha256: str


class Artifact(Noun):
    """Files that a runtime loads.

    Attributes:
        variant: the recipe's name.
        files: the first is the one that the runtime opens.
        way: in words, which converter made it.
        parent: SHA-256 of the artifact it was made from; the source model's digest otherwise.
        tools: package name to version, for what had a hand in it.
        zipped_bytes: of all files after deflate, as in an app's download; None where it is not
            known, in builds of versions that did not weigh it.
        notes: what a person should know of how it was made or is used: ways that were tried before,
            a command to run on the device.
    """

    variant: str
    format: str
    files: tuple[File, ...] = Field(min_length=1)
    signature: Signature
    preprocessing: Preprocessing
    recipe_digest: str
    parent: str
    way: str
    tools: dict[str, str]
    zipped_bytes: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)
