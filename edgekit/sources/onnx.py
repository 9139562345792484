"""ONNX models: ``.onnx``, with the files beside it that hold its weights where there are some.

    edgekit convert model.onnx --for raspberry-pi-5
    edgekit convert model.onnx --for raspberry-pi-5 --dim seq=128
    edgekit convert model.onnx --for raspberry-pi-5 --layout nhwc
    edgekit convert detector.onnx --for raspberry-pi-5 --nms outside

See https://onnx.ai/onnx/intro/concepts.html. No code of the model's is ever run: operators that
are not ONNX's own are refused.
"""

from __future__ import annotations

from pathlib import Path

from edgekit.core.errors import ModelError
from edgekit.core.files import sha256_with
from edgekit.core.model import Model, ModelOptions
from edgekit.sources.onnx_files import examine
from edgekit.sources.options import refuse_weights, suppression
from edgekit.work.steps import Step

WORKER = "onnx"
LOADER = "edgekit.sources.onnx_worker:load"
TOOLS = ("onnx", "onnxruntime")


class ONNXSource:
    """Opens ONNX models; a `Source`."""

    def accepts(self, reference: str) -> bool:
        """Whether `reference` is called like an ONNX file."""
        return Path(reference).suffix.lower() == ".onnx"

    def open(self, reference: str, options: ModelOptions) -> Model:
        """See `Source.open`."""
        refuse_weights(options, "an ONNX file holds its weights, or names the files that do")
        if options.nms:
            suppression(options.nms)
        path = Path(reference)
        found = examine(path)
        try:
            content = sha256_with(path, found.files)
        except OSError as exc:
            raise ModelError(f"cannot read {reference!r}: {exc.strerror or exc}") from exc
        return Model(
            name=path.stem,
            reference=reference,
            path=str(path.absolute()),  # not past a link: the weights lie beside that
            framework="onnx",
            kind="onnx",
            digest=content,
            loader=LOADER,
            worker=WORKER,
            **dict(options),
        )

    def materialise(self, model: Model) -> Step | None:
        """See `Source.materialise`."""
        return None

    def inspect(self, model: Model) -> Step:
        """See `Source.inspect`."""
        return Step(
            title=f"{model.name}: read",
            function="edgekit.sources.onnx_worker:inspect",
            worker=WORKER,
            arguments={"model": model.to_json()},
            identity=model.identity(),
            tools=TOOLS,
        )
