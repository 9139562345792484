"""What can be told about a Keras file without Keras: what it is, whether it is whole, and whether
loading it would run code that came with it.

Formats: https://keras.io/api/models/model_saving_apis/ (``.keras`` is a zip of ``metadata.json``,
``config.json`` and ``model.weights.h5``; the older ``.h5`` is HDF5 with the same JSON in an
attribute) and https://www.tensorflow.org/guide/saved_model#the_savedmodel_format_on_disk.
"""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit.core.errors import ModelError
from edgekit.core.files import is_safe_relative, readable_bytes
from edgekit.sources.protobuf import (
    WireError,
    saved_model_called,
    saved_model_ops,
    saved_model_signatures,
)

Kind = Literal["keras3", "keras2", "savedmodel"]

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
CONFIG_LIMIT_BYTES = 64 * 2**20
# Weights hardly compress. An archive that unfolds to far more than its size is meant to fill a
# disk, not to be a model.
UNFOLDED_LIMIT = 100
UNFOLDED_ALWAYS_FINE_BYTES = 100 * 2**20
SERVING = "serving_default"

# Operations that run Python, and those that read, write or print to files, or speak to other
# computers, that the model names. Every SavedModel holds operations that save its variables; they
# count where calling the model reaches them. RestoreV2 reads nothing but TensorFlow's own weights.
CODE_OPS = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
FILE_OPS = re.compile(
    r"Reader|Dataset|(?<!Text)File(?!name|spec)|^PrintV2|^Dump|^Debug(?!Gradient)|Summary\w*Writer|"
    r"^Write\w*Summary|StatisticsSaver|ImmutableConst|TRTResource|^Rpc"
)
SAVE_OPS = frozenset({"Save", "SaveSlices", "SaveV2", "MergeV2Checkpoints"})


@dataclass(frozen=True)
class Finding:
    """What a file is, and what in it is code, in words that name the layer or operation."""

    kind: Kind
    code: tuple[str, ...] = ()


def examine(path: Path) -> Finding:
    """Look into a model file or folder.

    Raises:
        ModelError: missing, not a model, truncated, or a hostile archive.
    """
    try:
        if path.is_dir():
            return _examine_saved_model(path)
        if not path.exists():
            raise ModelError(
                f"there is no model at {str(path)!r}", hint="check the path; it is read as given"
            )
        if not path.is_file():  # opening a named pipe would wait for ever
            raise ModelError(f"{str(path)!r} is neither a plain file nor a folder")
        with open(path, "rb") as file:
            head = file.read(8)
        if head[:4] == b"PK\x03\x04":
            if path.suffix != ".keras":  # by which Keras goes: it would look for HDF5 in it
                raise ModelError(
                    f"{str(path)!r} is a zip archive, but its name does not end in .keras",
                    hint="if it was saved as .keras, give it that name again",
                )
            return _examine_zip(path)
        if head == HDF5_MAGIC:
            if zipfile.is_zipfile(path):  # Keras might read the other half of it
                raise ModelError(f"{str(path)!r} is both HDF5 and a zip archive")
            return _examine_hdf5(path)
    except OSError as exc:
        raise ModelError(f"cannot read {str(path)!r}: {exc.strerror or exc}") from exc
    size = path.stat().st_size
    what = "is empty" if size == 0 else "is neither a zip archive nor HDF5"
    raise ModelError(
        f"{str(path)!r} is not a Keras model: it {what}",
        hint="save one with model.save('model.keras')",
    )


def refuse_other_files(path: Path) -> None:
    """HDF5 can take data from other files, which then would be in the artifacts as weights.

    For a file that `examine` let through; in a worker, as h5py takes long to import.

    Raises:
        ModelError: it does so, or it is damaged.
    """
    import h5py

    def see(name: str, link: Any) -> str | None:
        if isinstance(link, h5py.ExternalLink):
            return name
        if isinstance(link, h5py.HardLink):
            found = file[name]
            if isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
                return name
        return None

    try:
        with contextlib.ExitStack() as opened:
            content: Any = path
            if zipfile.is_zipfile(path):
                archive = opened.enter_context(zipfile.ZipFile(path))
                content = opened.enter_context(archive.open("model.weights.h5"))
            file = opened.enter_context(h5py.File(content, "r"))
            name = file.visititems_links(see)
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, KeyError, ValueError) as exc:
        raise ModelError(
            f"{str(path)!r} holds damaged or truncated weights: {_first_line(exc)}",
            hint="copy it again and compare the sizes, or save the model again",
        ) from exc
    if name is not None:
        raise ModelError(f"{str(path)!r}: its {name!r} is in another file, which is never read")


def _examine_zip(path: Path) -> Finding:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _refuse_hostile(path, members)
            names = {member.filename for member in members}
            for needed in ("config.json", "metadata.json", "model.weights.h5"):
                if needed not in names:
                    raise ModelError(
                        f"{str(path)!r} is not a Keras model: no {needed} in the archive",
                        hint="save it with model.save('model.keras')",
                    )
            config = _json_member(path, archive, "config.json")
            metadata = _json_member(path, archive, "metadata.json")
            with archive.open("model.weights.h5") as weights:
                if weights.read(8) != HDF5_MAGIC:
                    raise ModelError(f"{str(path)!r}: its model.weights.h5 is not HDF5")
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as exc:
        # RuntimeError: an encrypted member; NotImplementedError: a compression of its own
        raise ModelError(
            f"{str(path)!r} is a damaged or truncated .keras archive: {exc}",
            hint="copy it again and compare the sizes, or save the model again",
        ) from exc
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return Finding(_generation(path, version), tuple(code_in(config)))


def _refuse_hostile(path: Path, members: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for member in members:
        name = member.filename
        if not is_safe_relative(name.rstrip("/")):
            raise ModelError(f"{str(path)!r}: the archive names a path outside itself: {name!r}")
        if name in seen:
            raise ModelError(f"{str(path)!r}: the archive holds {name!r} twice")
        seen.add(name)
    unfolded = sum(member.file_size for member in members)
    size = path.stat().st_size
    if unfolded > UNFOLDED_ALWAYS_FINE_BYTES and unfolded > UNFOLDED_LIMIT * size:
        raise ModelError(
            f"{str(path)!r}: the archive of {readable_bytes(size)} would unfold to "
            f"{readable_bytes(unfolded)}"
        )


def _json_member(path: Path, archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > CONFIG_LIMIT_BYTES:
        raise ModelError(
            f"{str(path)!r}: its {name} is larger than {readable_bytes(CONFIG_LIMIT_BYTES)}"
        )
    return _json(path, archive.read(name), name)


def _json(path: Path, text: bytes | str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ModelError(f"{str(path)!r} is not a Keras model: its {name} is not JSON") from exc


def _examine_hdf5(path: Path) -> Finding:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
            version = file.attrs.get("keras_version")
            holds_weights = "layer_names" in file.attrs or "layers" in file
    except OSError as exc:  # h5py: "truncated file: eof = 5000, sblock->base_addr = 0, …"
        raise ModelError(
            f"{str(path)!r} is damaged or truncated HDF5: {_first_line(exc)}",
            hint="copy it again and compare the sizes, or save the model again",
        ) from exc
    except (RuntimeError, KeyError, ValueError) as exc:
        raise ModelError(f"{str(path)!r} is damaged HDF5: {_first_line(exc)}") from exc
    if config is None:
        what = "weights only, no architecture" if holds_weights else "no Keras model"
        raise ModelError(
            f"{str(path)!r} holds {what}",
            hint="save the whole model with model.save('model.keras')",
        )
    if isinstance(version, bytes):
        version = version.decode("utf-8", "replace")
    return Finding(_generation(path, version), tuple(code_in(_json(path, config, "model_config"))))


def _examine_saved_model(path: Path) -> Finding:
    graph = path / "saved_model.pb"
    if not graph.is_file():
        raise ModelError(
            f"the folder {str(path)!r} is not a SavedModel: no saved_model.pb in it",
            hint="make one with model.export('folder') or tf.saved_model.save",
        )
    for part in ("variables.index", "variables.data-00000-of-00001"):
        folder = path / "variables"
        if folder.is_dir() and any(folder.iterdir()) and not any(folder.glob(part[:14] + "*")):
            raise ModelError(f"the SavedModel {str(path)!r} is not whole: variables/{part} is gone")
    content = graph.read_bytes()
    try:
        ops = saved_model_ops(content)
        called = saved_model_called(content)
        signatures = saved_model_signatures(content)
    except WireError as exc:
        raise ModelError(
            f"{str(graph)!r} is damaged or truncated: {exc}",
            hint="copy the folder again, or export the model again",
        ) from exc
    if SERVING not in signatures:
        given = ", ".join(sorted(signatures - {"__saved_model_init_op"})) or "none"
        raise ModelError(
            f"the SavedModel {str(path)!r} has no signature called {SERVING} (it has: {given})",
            hint="make it with model.export('folder'), or pass signatures= to tf.saved_model.save",
        )
    code = [f"operation {name} (runs Python)" for name in sorted(ops & CODE_OPS)]
    touching = {name for name in ops if FILE_OPS.search(name)} | (called & SAVE_OPS)
    code += [f"operation {name} (touches files)" for name in sorted(touching)]
    return Finding("savedmodel", tuple(code))


def _generation(path: Path, version: object) -> Kind:
    text = str(version or "")
    if text.startswith("3."):
        return "keras3"
    if text.startswith(("2.", "1.")):
        return "keras2"
    raise ModelError(
        f"{str(path)!r}: it was saved by Keras {text or 'of no version'!r}, not 2 or 3"
    )


_KERAS_MODULES = ("keras", "tf_keras")
_CODE_CLASSES = frozenset({"Lambda", "__lambda__"})
# tf_keras records calls of TensorFlow functions as layers, by the function's public name.
_CALL_CLASSES = frozenset({"TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod"})
# Where Keras keeps functions that a model may name; keras.utils.get_file is one that it may not.
_MATH_MODULES = frozenset({"activations", "initializers", "losses", "metrics", "nn", "ops"})
# Functions that such a layer may call: modules of pure mathematics, and all that are in no module
# but these. TensorFlow's public names reach from load_library to keras.utils.get_file.
_PURE_MODULES = (
    r"__operators__|bitwise|dtypes|experimental\.numpy|image|keras\.(?:activations|backend|losses)|"
    r"linalg|math|nn|quantization|ragged|random|sets|signal|sparse|strings"
)
_IMPURE = (
    r"load_\w+|\w*py_func\w*|numpy_function|read_file|write_file|matching_files|[pP]rint|"
    r"import_graph_def|rpc_\w+|xla_\w+|d_tensor_\w+"
)
_CLASSES = ("RaggedTensor", "SparseTensor")
_PURE = re.compile(rf"(?:compat\.v1\.)?(?:(?:{_PURE_MODULES})\.[\w.]+|(?!(?:{_IMPURE})$)[a-z_]\w*)")


def code_in(config: Any) -> Iterator[str]:
    """Lambda layers and custom objects anywhere in a model's configuration, each in words.

    An object is ``{"class_name": …, "config": …}``; since Keras 2.12 also with ``module`` and
    ``registered_name``. The older form names no module: what is not Keras' own fails to load then.
    """
    stack = [config]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            stack.extend(reversed(part))
        elif isinstance(part, dict):
            if isinstance(part.get("class_name"), str):
                found = _code_object(part)
                if found is not None:
                    yield found
                    continue
            stack.extend(reversed(list(part.values())))


def _code_object(part: dict[str, Any]) -> str | None:
    cls = part["class_name"]
    config = part.get("config")
    inner = config if isinstance(config, dict) else {}
    name = f" {inner['name']!r}" if isinstance(inner.get("name"), str) else ""
    if cls in _CODE_CLASSES:
        return f"layer{name} (Lambda)" if cls == "Lambda" else "a lambda function"
    if cls in _CALL_CLASSES:
        if cls == "InstanceMethod":  # of a tensor
            return None
        called = str(inner.get("cls_symbol" if cls == "ClassMethod" else "function", ""))
        pure = called in _CLASSES if cls == "ClassMethod" else _PURE.fullmatch(called)
        return None if pure else f"layer{name} (calls {called})"
    if cls == "TensorFlowOpLayer":  # until TensorFlow 2.3
        node = inner.get("node_def")
        op = node.get("op") if isinstance(node, dict) else None
        fine = isinstance(op, str) and op not in CODE_OPS | SAVE_OPS and not FILE_OPS.search(op)
        return None if fine else f"layer{name} (operation {op})"
    if isinstance(inner.get("vocabulary"), str):
        return f"layer{name} (reads {inner['vocabulary']!r})"
    module = part.get("module")
    if cls == "function" and isinstance(config, str):
        own = isinstance(module, str) and _is_keras(module) and _is_math(module)
        own = own and "." not in config
        return None if own else f"function {config!r}"
    # Keras 2 takes "module.Class" apart by itself, and Keras' own models hold no __typespec__.
    own = "module" not in part or (isinstance(module, str) and _is_keras(module))
    if ">" in cls or "." in cls or cls == "__typespec__" or not own:
        return f"custom {cls}{name}"
    return None


def _is_keras(module: str) -> bool:
    return module.partition(".")[0] in _KERAS_MODULES


def _is_math(module: str) -> bool:
    return not _MATH_MODULES.isdisjoint(module.split("."))


def _first_line(exc: BaseException) -> str:
    return str(exc).strip().strip("'\"").splitlines()[0][:200] if str(exc).strip() else repr(exc)
