"""What plugins that do heavy work implement: they describe it as steps, a job runs the steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edgekit.core.dataset import DataSet
from edgekit.core.model import Model
from edgekit.core.recipe import Recipe
from edgekit.work.steps import Step


class Source(Protocol):
    """Opens models of one framework, without importing the framework on this side."""

    def accepts(self, reference: str) -> bool:
        """Whether `reference` looks like one of this source's; cheap."""

    def open(
        self, reference: str, *, trust_code: bool, shapes: Mapping[str, tuple[int, ...]]
    ) -> Model:
        """The handle of the model; all that can be checked without the framework is checked.

        Raises:
            ModelError: it is not a usable model.
            UntrustedModelError: it would run code, and `trust_code` is false.
        """

    def materialise(self, model: Model) -> Step | None:
        """For a model that is made by a function: the step that calls it and saves what it makes.

        The step's result holds ``model``, the JSON form of the handle with path and digest. Such
        a step has a fresh identity every time, since nothing tells whether the function would
        still make the same model. None for a model that is a file already.
        """

    def inspect(self, model: Model) -> Step:
        """The step that loads the model; its result holds ``signature``, a `Signature` as JSON.

        Every dimension is fixed there; the batch is 1.
        """


class Exporter(Protocol):
    """Makes artifacts of one format."""

    def step(self, model: Model, recipe: Recipe, calibration: DataSet | None) -> Step:
        """The last of the steps that make the artifact; steps that variants share are equal.

        The step's folder holds the artifact's files; its result holds ``files`` (names, the first
        is the one to open), ``signature`` (a `Signature` as JSON, read from the file itself),
        ``way`` (in words, which converter made it), ``parent`` (SHA-256 of what it was made from)
        and ``sha256`` (of the first file).

        Raises:
            PlanError: the recipe cannot be made from this model.
        """
