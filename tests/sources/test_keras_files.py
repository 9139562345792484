"""What is told about Keras files without Keras: kinds, damage, and code inside."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import ModelError, UntrustedModelError
from edgekit.core.model import ModelOptions
from edgekit.sources.keras import KerasSource
from edgekit.sources.keras_files import HDF5_MAGIC, code_in, examine, refuse_other_files

METADATA = json.dumps({"keras_version": "3.15.1"})


def archive(path: Path, members: Mapping[str, str | bytes] | None = None) -> Path:
    """A ``.keras`` file with a plausible content, `members` added or replaced."""
    content: dict[str, str | bytes] = {
        "metadata.json": METADATA,
        "config.json": "{}",
        "model.weights.h5": HDF5_MAGIC + bytes(100),
        **(members or {}),
    }
    with zipfile.ZipFile(path, "w") as file:
        for name, data in content.items():
            file.writestr(name, data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        examine(path)
    text = str(caught.value)
    assert len(text.splitlines()) <= 2
    return text


# ----------------------------------------------------------------------------- kinds


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_tells_keras_3_from_keras_2(keras3: Path, keras2: Path, suffix: str) -> None:
    assert examine(keras3 / f"cnn.{suffix}").kind == "keras3"
    assert examine(keras2 / f"cnn.{suffix}").kind == "keras2"


@pytest.mark.slow
def test_a_saved_model_is_a_folder(zoo: Path) -> None:
    assert examine(zoo / "cnn").kind == "savedmodel"


@pytest.mark.parametrize("name", ["cnn", "dict", "list", "nested", "lstm", "open"])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_ordinary_models_hold_no_code(zoo: Path, name: str, suffix: str) -> None:
    assert examine(zoo / f"{name}.{suffix}").code == ()


def test_opening_imports_no_framework(keras3: Path) -> None:
    program = (
        "import sys; from edgekit.sources import SOURCES;"
        "from edgekit.core.model import ModelOptions;"
        f"SOURCES['keras']().open({str(keras3 / 'cnn.keras')!r}, ModelOptions());"
        "print(sorted({'tensorflow', 'keras', 'tf_keras', 'h5py'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"


# ---------------------------------------------------------------------- code in a model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("lambda", "'plus_one' (Lambda)"),
        ("lambda_inside", "'hidden' (Lambda)"),
        ("registered", "'doubled'"),
        ("function", "'tripled'"),
    ],
)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_code_is_refused_by_name(zoo: Path, name: str, what: str, suffix: str) -> None:
    path = str(zoo / f"{name}.{suffix}")

    with pytest.raises(UntrustedModelError) as caught:
        KerasSource().open(path, ModelOptions())

    assert what in caught.value.message
    assert "--trust-code" in caught.value.hint
    assert KerasSource().open(path, ModelOptions(trusted=True)).trusted


def test_an_unregistered_class_is_code(zoo: Path) -> None:
    assert examine(zoo / "unregistered.keras").code == ("custom Plain 'plain'",)


@pytest.mark.parametrize(
    ("name", "what"), [("python", "PyFunc (runs Python)"), ("file", "ReadFile (touches files)")]
)
def test_operations_that_run_code_or_touch_files_are_refused(
    keras3: Path, name: str, what: str
) -> None:
    with pytest.raises(UntrustedModelError, match=what.replace("(", r"\(").replace(")", r"\)")):
        KerasSource().open(str(keras3 / name), ModelOptions())


@pytest.mark.parametrize(
    "gadget",
    [
        {"module": "os", "class_name": "system", "config": {}},
        {"module": "builtins", "class_name": "eval", "config": {}},
        {"module": "builtins", "class_name": "function", "config": "exec"},
        {"module": "keras.utils", "class_name": "function", "config": "get_file"},
        {"module": None, "class_name": "Mine", "config": {}, "registered_name": "Mine"},
        {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}},
        {"class_name": "Lambda", "config": {"name": "l"}},
        {"class_name": "mine>Layer", "config": {}},
        {
            "module": "keras.layers",
            "class_name": "TFOpLambda",
            "config": {"function": "io.write_file"},
        },
        {"class_name": "TFOpLambda", "config": {"function": "numpy_function"}},
        {"class_name": "TFOpLambda", "config": {"function": "keras.utils.get_file"}},
        {"class_name": "TFOpLambda", "config": {"function": "keras.models.load_model"}},
        {"class_name": "TFOpLambda", "config": {"function": "compat.v1.gfile.Copy"}},
        {"class_name": "TFOpLambda", "config": {"function": "compat.v1.read_file"}},
        {"class_name": "TFOpLambda", "config": {"function": "load_library"}},
        {"class_name": "ClassMethod", "config": {"cls_symbol": "Module", "method_name": "x"}},
        {"class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": "WriteFile"}}},
        {"class_name": "TensorFlowOpLayer", "config": {"node_def": "CgF3"}},
        {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
        {"module": "tf_keras.src.layers.core", "class_name": "lambda_layer.Lambda", "config": {}},
        {"module": "keras.layers", "class_name": "__typespec__", "spec_name": "Lambda"},
        {"module": "keras.losses", "class_name": "function", "config": "os.system"},
    ],
)
def test_gadgets_are_found_wherever_they_hide(gadget: dict[str, object]) -> None:
    for hidden in (gadget, [gadget], {"config": {"layers": [{"config": {"cell": gadget}}]}}):
        assert len(list(code_in(hidden))) == 1


@pytest.mark.parametrize(
    "harmless",
    [
        {"module": "keras.layers", "class_name": "Dense", "config": {"activation": "relu"}},
        {"class_name": "Dense", "config": {}},
        {"module": "keras.activations", "class_name": "function", "config": "gelu"},
        {"module": "tf_keras.src.layers.core.tf_op_layer", "class_name": "TFOpLambda",
         "config": {"function": "math.add"}},
        {"class_name": "SlicingOpLambda", "config": {"function": "__operators__.getitem"}},
        {"class_name": "TFOpLambda", "config": {"function": "compat.v1.nn.relu6"}},
        {"class_name": "TFOpLambda", "config": {"function": "reshape"}},
        {"class_name": "ClassMethod", "config": {"cls_symbol": "RaggedTensor"}},
        {"class_name": "TensorFlowOpLayer", "config": {"node_def": {"op": "AddV2"}}},
        {"class_name": "StringLookup", "config": {"vocabulary": ["a", "b"]}},
        {"class_name": "__keras_tensor__", "config": {"keras_history": ["a", 0, 0]}},
    ],
)  # fmt: skip
def test_what_is_keras_own_is_no_code(harmless: dict[str, object]) -> None:
    assert list(code_in(harmless)) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["class_name", "config", "module", "x"]), inner, max_size=4
        )
    ),
    max_leaves=25,
)


@given(JSON)
def test_any_configuration_is_searched_without_a_crash(config: object) -> None:
    assert all(isinstance(found, str) for found in code_in(config))


def test_a_file_that_is_both_hdf5_and_a_zip_archive_is_refused(tmp_path: Path) -> None:
    zipped = archive(tmp_path / "model.keras").read_bytes()
    in_front = tmp_path / "model.h5"  # HDF5 behind a block of the user's own is found by h5py
    with h5py.File(in_front, "w", userblock_size=4096) as file:
        file.attrs["model_config"] = "{}"
    content = in_front.read_bytes()
    in_front.write_bytes(zipped[:512].ljust(512, b"\0") + content[512:])
    behind = tmp_path / "behind.keras"
    behind.write_bytes(HDF5_MAGIC + zipped)

    assert "does not end in .keras" in refusal(in_front)
    assert "both HDF5 and a zip" in refusal(behind)


@pytest.mark.parametrize("kind", ["external", "virtual", "link"])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_weights_that_lie_in_another_file_are_refused(
    tmp_path: Path, suffix: str, kind: str
) -> None:
    path = tmp_path / f"model.{suffix}"
    weights = path if suffix == "h5" else tmp_path / "weights"
    with h5py.File(weights, "w") as file:
        file.attrs.update({"model_config": "{}", "keras_version": "2.15.0"})
        layer = file.create_group("model_weights/dense")
        if kind == "external":
            layer.create_dataset("bias", (4,), "f4", external=[("/etc/passwd", 0, 16)])
        elif kind == "virtual":
            layout = h5py.VirtualLayout((4,), "f4")
            layout[:] = h5py.VirtualSource("/elsewhere.h5", "bias", (4,))
            layer.create_virtual_dataset("bias", layout)
        else:
            layer["bias"] = h5py.ExternalLink("/elsewhere.h5", "bias")
    if suffix == "keras":
        archive(path, {"model.weights.h5": weights.read_bytes()})

    with pytest.raises(ModelError, match="'model_weights/dense/bias' is in another file"):
        refuse_other_files(path)


@given(st.integers(1, 200))
def test_a_lambda_is_found_at_any_depth(depth: int) -> None:
    config: object = {"class_name": "Lambda", "config": {}}
    for index in range(depth):
        config = (
            {"config": {"layers": [config]}}
            if index % 2
            else [{"class_name": "Model", "config": config}]
        )

    assert len(list(code_in(config))) == 1


# ------------------------------------------------------------------------------ damage


def test_nothing_there(tmp_path: Path) -> None:
    assert "no model at" in refusal(tmp_path / "missing.keras")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "model.keras").touch()

    assert "is empty" in refusal(tmp_path / "model.keras")


def test_something_else(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_text("weights, honest", encoding="utf-8")

    assert "neither a zip archive nor HDF5" in refusal(tmp_path / "model.keras")


def test_some_other_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as file:
        file.writestr("holiday.jpg", "…")

    assert "no config.json" in refusal(tmp_path / "model.keras")


def test_some_other_folder(tmp_path: Path) -> None:
    assert "no saved_model.pb" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file(zoo: Path, tmp_path: Path, suffix: str, share: float) -> None:
    whole = (zoo / f"cnn.{suffix}").read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole[: int(len(whole) * share)])

    assert "truncated" in refusal(cut)


def test_a_truncated_saved_model(keras3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(keras3 / "cnn", folder)
    graph = folder / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-100])

    assert "damaged or truncated" in refusal(folder)


def test_a_saved_model_without_its_variables(keras3: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    shutil.copytree(keras3 / "cnn", folder)
    (folder / "variables" / "variables.data-00000-of-00001").unlink()

    assert "variables.data" in refusal(folder)


def test_a_saved_model_without_a_signature(keras3: Path) -> None:
    assert "no signature called serving_default" in refusal(keras3 / "no_signature")


def test_weights_alone(zoo: Path) -> None:
    assert "weights only" in refusal(zoo / "only.weights.h5")


def test_hdf5_of_something_else(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["temperatures"] = [20.5, 21.0]

    assert "no Keras model" in refusal(tmp_path / "data.h5")


def test_a_version_of_the_future(tmp_path: Path) -> None:
    metadata = json.dumps({"keras_version": "9.0.0"})

    assert "'9.0.0'" in refusal(archive(tmp_path / "m.keras", {"metadata.json": metadata}))


@pytest.mark.parametrize("text", ["{", "\xff", "[" * 100_000])
def test_a_configuration_that_is_no_json(tmp_path: Path, text: str) -> None:
    assert "is not JSON" in refusal(archive(tmp_path / "m.keras", {"config.json": text}))


def test_weights_that_are_no_hdf5(tmp_path: Path) -> None:
    assert "not HDF5" in refusal(archive(tmp_path / "m.keras", {"model.weights.h5": b"x" * 100}))


# --------------------------------------------------------------------------- hostility


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "assets/../../evil", "a\\..\\b"])
def test_a_path_outside_the_archive(tmp_path: Path, name: str) -> None:
    assert "outside itself" in refusal(archive(tmp_path / "m.keras", {name: "x"}))


def test_a_name_twice(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras")
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("config.json", "{}")

    assert "twice" in refusal(path)


def test_a_zip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    archive(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("assets/bomb", bytes(200 * 2**20))

    assert "would unfold to" in refusal(path)


def test_an_encrypted_member(tmp_path: Path) -> None:
    path = archive(tmp_path / "m.keras")
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag in both headers
        at = content.find(signature)
        while at >= 0:
            (flags,) = struct.unpack_from("<H", content, at + offset)
            struct.pack_into("<H", content, at + offset, flags | 1)
            at = content.find(signature, at + 4)
    path.write_bytes(content)

    assert "damaged" in refusal(path)


@given(st.data())
def test_flipped_bytes_are_read_or_refused(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("metadata.json", METADATA)
        file.writestr("config.json", '{"class_name": "Dense", "config": {}}')
        file.writestr("model.weights.h5", HDF5_MAGIC + bytes(8))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    said = ""
    with tempfile.NamedTemporaryFile(suffix=".keras") as file:  # hypothesis runs this many times
        file.write(content)
        file.flush()
        try:
            examine(Path(file.name))
        except ModelError as exc:
            said = str(exc)
    assert len(said.splitlines()) <= 2


# ------------------------------------------------------------------------------ source


def test_what_the_source_accepts(zoo: Path, tmp_path: Path) -> None:
    source = KerasSource()

    assert source.accepts(str(zoo / "cnn.keras"))
    assert source.accepts(str(zoo / "cnn.h5"))
    assert source.accepts(str(zoo / "cnn"))
    assert source.accepts("keras:package.module:function")
    assert not source.accepts("torch:package.module:function")
    assert not source.accepts(str(tmp_path))
    assert not source.accepts("model.onnx")


def test_the_digest_is_that_of_the_content(keras3: Path, tmp_path: Path) -> None:
    shutil.copy(keras3 / "cnn.keras", tmp_path / "other name.keras")
    shutil.copytree(keras3 / "cnn", tmp_path / "folder")
    open_ = KerasSource().open

    for one, other in (("cnn.keras", "other name.keras"), ("cnn", "folder")):
        first = open_(str(keras3 / one), ModelOptions())
        second = open_(str(tmp_path / other), ModelOptions())
        assert first.digest == second.digest
        assert KerasSource().inspect(first).key == KerasSource().inspect(second).key


def test_a_function_is_made_anew_each_time() -> None:
    source = KerasSource()
    model = source.open("package.models:build", ModelOptions())
    first, second = source.materialise(model), source.materialise(model)

    assert (model.kind, model.name, model.path) == ("function", "build", "")
    assert first is not None
    assert second is not None
    assert first.key != second.key


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.keras")
    with pytest.raises(ModelError, match="neither a plain file nor a folder"):
        examine(tmp_path / "pipe.keras")
