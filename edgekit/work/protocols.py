"""What plugins that do heavy work implement: they describe it as steps, a job runs the steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edgekit.core.dataset import DataSet
from edgekit.core.model import Model, ModelOptions
from edgekit.core.quantize import Choices
from edgekit.core.recipe import QuantizationKind, Recipe
from edgekit.core.requirement import Requirement
from edgekit.work.steps import Step


class Source(Protocol):
    """Opens models of one framework, without importing the framework on this side."""

    def accepts(self, reference: str) -> bool:
        """Whether `reference` looks like one of this source's; cheap."""

    def open(self, reference: str, options: ModelOptions) -> Model:
        """The handle of the model; all that can be checked without the framework is checked.

        Raises:
            ModelError: it is not a usable model.
            UntrustedModelError: it would run code, and the options do not trust it.
            UsageError: something was given that this kind of model does not take.
        """

    def materialise(self, model: Model) -> Step | None:
        """For a model that is made by a function: the step that calls it and saves what it makes.

        The step's result holds ``model``, the JSON form of the handle with path and digest. Such
        a step has a fresh identity every time, since nothing tells whether the function would
        still make the same model. None for a model that is a file already.
        """

    def inspect(self, model: Model) -> Step:
        """The step that loads the model; its result holds ``signature``, a `Signature` as JSON.

        Every dimension is fixed there; the batch is 1. Inputs are in the model's forms.
        """

    # Only where models can be changed; others have no such method.
    # def opener(self, model: Model) -> str:
    #     """``module:function`` that gives the `LiveModel` in a worker of the model's kind, called
    #     as ``function(origin, model)``: what the user named, and it or what passes made of it.
    #
    #     Raises PlanError: not of this kind of file.
    #     """


class Exporter(Protocol):
    """Makes artifacts of one format."""

    def step(self, model: Model, recipe: Recipe, calibration: DataSet | None) -> Step:
        """The last of the steps that make the artifact; steps that variants share are equal.

        The step's folder holds the artifact's files; its result holds

        ``files``       names; the first is the one to open
        ``signature``   a `Signature` as JSON, read from the file itself
        ``way``         in words, which converter made it
        ``parent``      SHA-256 of what it was made from
        ``sha256``      of the first file
        ``tools``       names of the packages that had a hand in it
        ``notes``       optional: sentences for the report (a command to run on the device, …)
        ``coverage``    optional: a `Coverage` as JSON, where the compiler knows more than the file
        ``stand_in``    optional, for an artifact that cannot run on this computer: ``file``, the
                        name of one in the folder that can; ``format``, "tflite", "onnx" or "pt2"
                        (a program of torch.export); ``what``, in words ("the INT8 file before
                        Vela")

        Raises:
            PlanError: the recipe cannot be made from this model, or a toolchain is missing.
        """


class Delegate(Protocol):
    """What takes over a graph, or a part of it: one for each format and accelerator.

    Attributes:
        title: for people ("Arm Ethos-U through Vela").
        quantizations: what numbers it computes in.
        requirements: what its compiler needs on this computer.
        runs_here: whether its artifacts can be run on this computer at all.
        choices: what of a recipe's ``[quantize]`` it can do, by kind of numbers; only the usual way
            where it says nothing.

    One whose artifacts can take any size in a range says so with ``open_sizes = True``.
    """

    title: str
    quantizations: tuple[QuantizationKind, ...]
    requirements: tuple[Requirement, ...]
    runs_here: bool
    choices: Mapping[str, Choices]


class Inspector(Protocol):
    """Looks into files of one format."""

    def accepts(self, path: str) -> bool:
        """Whether the file or folder looks like this format; cheap."""

    def step(self, path: str, *, trust_code: bool) -> Step:
        """Its result holds ``description``, a `Description` as JSON.

        Raises:
            InputError: it is not a whole file of this format.
        """


class LoadingInspector(Protocol):
    """Looks into models that only tell all when they are loaded, which their source knows how to.

    Attributes:
        source: the name of that source, which opens the model first and refuses code in it.
    """

    source: str

    def accepts(self, path: str) -> bool:
        """As an `Inspector`'s."""

    def step_of(self, model: Model) -> Step:
        """As `Inspector.step`, for the handle that the source gave."""
