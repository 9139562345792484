"""TFLite models: a ``.tflite`` file, to requantize, verify, measure or bundle.

    edgekit convert model.tflite --for raspberry-pi-5
    edgekit convert model.tflite --for raspberry-pi-5 --shape image=1,224,224,3

Schema: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/converter/schema/schema.fbs
"""

from __future__ import annotations

import struct
from pathlib import Path

from edgekit.core.errors import ModelError, UsageError
from edgekit.core.files import readable_bytes, sha256_file
from edgekit.core.model import Model, ModelOptions
from edgekit.sources.files import require_file
from edgekit.sources.options import refuse_nms, refuse_weights
from edgekit.work.steps import Step

WORKER = "litert"
LOADER = "edgekit.sources.tflite_worker:load"
TOOLS = ("ai-edge-litert",)
IDENTIFIER = b"TFL3"  # at offset 4 of every file
LIMIT_BYTES = 2**31 - 1  # what one flatbuffer can hold
SCHEMA_VERSION = 3
_VERSION, _SUBGRAPHS = 0, 2  # fields of the table Model
_AGAIN = "copy it again and compare the sizes, or convert the model again"


class TFLiteSource:
    """Opens TFLite files; a `Source`."""

    def accepts(self, reference: str) -> bool:
        """Whether `reference` is called like a TFLite file."""
        return Path(reference).suffix.lower() == ".tflite"

    def open(self, reference: str, options: ModelOptions) -> Model:
        """See `Source.open`."""
        refuse_weights(options, "a TFLite file holds its weights")
        refuse_nms(options)
        if options.forms:
            raise UsageError(
                "a TFLite file's inputs are taken as they are: no layout, raw pixels or "
                "normalisation can be put in front of its graph",
                hint="give these when converting the model that the file was made from",
            )
        if options.dims:
            raise UsageError(
                f"--dim {sorted(options.dims)[0]}: the dimensions of a TFLite file have no names",
                hint="give the shape of an input instead: --shape NAME=1,SIZE,…",
            )
        path = Path(reference)
        _examine(path)
        try:
            digest = sha256_file(path)
        except OSError as exc:
            raise ModelError(f"cannot read {reference!r}: {exc.strerror or exc}") from exc
        return Model(
            name=path.stem,
            reference=reference,
            path=str(path.resolve()),
            framework="tflite",
            kind="tflite",
            digest=digest,
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
            function="edgekit.sources.tflite_worker:inspect",
            worker=WORKER,
            arguments={"model": model.to_json()},
            identity=model.identity(),
            tools=TOOLS,
        )


def _examine(path: Path) -> None:
    """Look at the file's size and its root table; LiteRT looks at the rest, in a worker.

    Raises:
        ModelError: missing, or not a whole TFLite file.
    """
    try:
        require_file(path)
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            raise ModelError(
                f"{str(path)!r} takes {readable_bytes(size)}; a TFLite file has at most "
                f"{readable_bytes(LIMIT_BYTES)}"
            )
        content = path.read_bytes()
    except OSError as exc:
        raise ModelError(f"cannot read {str(path)!r}: {exc.strerror or exc}") from exc
    if content[4:8] != IDENTIFIER:
        what = "it is empty" if not content else "its identifier is not TFL3"
        raise ModelError(
            f"{str(path)!r} is not a TFLite file: {what}",
            hint="make one with edgekit convert, or with LiteRT's converter",
        )
    try:
        version = _number(content, _field(content, _VERSION))
        place = _field(content, _SUBGRAPHS)
        graphs = 0 if place is None else _number(content, place + _number(content, place))
    except (struct.error, ValueError) as exc:
        raise ModelError(f"{str(path)!r} is not a whole TFLite file", hint=_AGAIN) from exc
    if version != SCHEMA_VERSION or not 0 < graphs <= len(content) // 4:
        raise ModelError(f"{str(path)!r} is not a whole TFLite file: no graph in it", hint=_AGAIN)


def _field(content: bytes, index: int) -> int | None:
    """Where the root table's field lies; None if it has none.

    Format: https://flatbuffers.dev/internals/: the root's offset stands first; a table starts with
    the distance back to its vtable, which holds its own size, the table's, and a place for each
    field.
    """
    root = _number(content, 0)
    table = root - struct.unpack_from("<i", content, root)[0]
    if not 0 <= table < len(content):
        raise ValueError("a vtable outside of the file")
    (size,) = struct.unpack_from("<H", content, table)
    at = 4 + 2 * index
    if at + 2 > size:
        return None
    (place,) = struct.unpack_from("<H", content, table + at)
    return root + place if place else None


def _number(content: bytes, at: int | None) -> int:
    if at is None:
        return 0
    number: int = struct.unpack_from("<I", content, at)[0]
    return number
