"""A trained model as a handle that can cross processes: never a live framework object."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from edgekit.core.noun import Noun


class Model(Noun):
    """Where a model is and what it is, known without importing its framework.

    Attributes:
        name: for file names and titles.
        reference: what the user gave: a path, or ``package.module:function``.
        path: the file or folder; empty for a function whose model was not saved yet.
        framework: the source plugin that reads it, a name in `edgekit.sources.SOURCES`.
        kind: the plugin's own word for the file ("keras3", "keras2", "savedmodel", "function").
        digest: SHA-256 of the content; empty for a function.
        loader: ``module:function`` that, in a worker process, turns this into a `LoadedModel`.
        worker: the kind of worker process that loader needs.
        shapes: sizes given by the user for inputs whose dimensions are open.
        trusted: whether code inside the model may run.
    """

    name: str
    reference: str
    path: str
    framework: str
    kind: str
    digest: str
    loader: str
    worker: str
    shapes: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    trusted: bool = False

    @property
    def file(self) -> Path:
        return Path(self.path)
