"""A trained model as a handle that can cross processes: never a live framework object."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from edgekit.core.noun import Noun

Layout = Literal["", "nhwc", "nchw"]


class InputForm(Noun):
    """How the artifact shall take an input that the model takes otherwise.

    The source puts the way from the one to the other in front of the model, so that everything
    after it (data, artifacts, verification) sees the new form: raw pixels, say, in a camera's
    layout. The real input is ``(x − mean) / std`` per channel, moved to the model's own layout.

    Attributes:
        layout: "nhwc" or "nchw": the artifact's, where the model has the other; "" leaves it.
        dtype: "uint8" takes raw pixels; "" leaves the model's type.
        mean, std: per channel, or one for all; () does nothing. In float32.
    """

    layout: Layout = ""
    dtype: Literal["", "uint8"] = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class ModelOptions(Noun):
    """What the user says of a model beyond naming it.

    Attributes:
        shapes: sizes of inputs whose dimensions are open, by input name.
        dims: sizes of named open dimensions, by name: (least, largest). Equal ones fix the
            dimension; others leave it open for the artifact, too.
        dim_names: what a dimension that `dims` names by input and axis (``ids.1``) is called
            in reports.
        forms: how the artifact shall take its inputs, by input name; "" stands for every input that
            is an image (four dimensions).
        weights: a file with weights for the model that a function makes; empty if it has its own.
        trusted: whether code inside the model may run.
        nms: "outside" makes what goes into a detector's non-maximum suppression its outputs,
            "inside[:iou=…,score=…,most=…]" puts one inside whose outputs are of fixed size.
    """

    shapes: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    dims: dict[str, tuple[int, int]] = Field(default_factory=dict)
    dim_names: dict[str, str] = Field(default_factory=dict)
    forms: dict[str, InputForm] = Field(default_factory=dict)
    weights: str = ""
    trusted: bool = False
    nms: str = ""

    @property
    def ranges(self) -> dict[str, tuple[int, int]]:
        """Of `dims`, those that stay open."""
        return {name: size for name, size in self.dims.items() if size[0] < size[1]}

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without names the form is that of versions that knew none."""
        data: dict[str, Any] = handler(self)
        if not self.dim_names:
            del data["dim_names"]
        return data


class Model(ModelOptions):
    """Where a model is and what it is, known without importing its framework.

    Attributes:
        name: for file names and titles.
        reference: what the user gave: a path, or ``package.module:function``.
        path: the file or folder; empty for a function whose model was not saved yet.
        framework: the source plugin that reads it, a name in `edgekit.sources.SOURCES`.
        kind: the plugin's own word for the file ("keras3", "pt2", "function", …).
        digest: SHA-256 of the content, of `weights` too; empty for a function.
        loader: ``module:function`` that, in a worker process, turns this into a `LoadedModel`.
        worker: the kind of worker process that loader needs.
    """

    name: str
    reference: str
    path: str
    framework: str
    kind: str
    digest: str
    loader: str
    worker: str

    def identity(self) -> dict[str, object]:
        """What decides how it loads; the place where it lies does not."""
        return {
            "digest": self.digest,
            "kind": self.kind,
            "loader": self.loader,
            "shapes": {name: list(shape) for name, shape in sorted(self.shapes.items())},
            "dims": {name: list(size) for name, size in sorted(self.dims.items())},
            "forms": {name: form.to_json() for name, form in sorted(self.forms.items())},
            "nms": self.nms,
            **({"dim_names": dict(sorted(self.dim_names.items()))} if self.dim_names else {}),
        }

    def form(self, name: str, rank: int) -> InputForm | None:
        """How the input called `name`, of `rank` dimensions, is to be taken; None as it is."""
        form = self.forms.get(name) or (self.forms.get("") if rank == 4 else None)
        return None if form == InputForm() else form

    @property
    def file(self) -> Path:
        return Path(self.path)
