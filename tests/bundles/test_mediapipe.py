"""What MediaPipe reads of an image classifier: read back by the format's own text, and by runtimes.

MediaPipe itself is asked by tools/mediapipe_check.py.
"""

from __future__ import annotations

import hashlib
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bundles import About, bundle_android, bundle_linux, verify_bundle
from edgekit.bundles.mediapipe import InexpressibleError, check_scores, head_of, pictures_of
from edgekit.core.build import Build
from edgekit.core.errors import InputError
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.tensor import OpenAxis, Quantization, Signature, TensorSpec
from edgekit.inspection.flatbuffer import File, Schema
from tests.android_nets import IMAGE, SCORES, by, make_build, spec
from tests.tiny_tflite import dense_model

LABELS = ("cat", "dog", "ünïcorn")
STEPS = "resize=8x8,cast=float32,normalize=127.5/63.75"
# From mediapipe/tasks/metadata/metadata_schema.fbs and TFLite's schema.fbs; a union is two fields.
SCHEMA = Schema(
    """
table Buffer { data:[ubyte]; }
table Metadata { name:string; buffer:uint; }
table Model { version:uint; operator_codes:offset; subgraphs:offset; description:string;
  buffers:[Buffer]; metadata_buffer:[int]; metadata:[Metadata]; }
table AssociatedFile { name:string; description:string; type:byte; locale:string; }
table ImageSize { width:uint; height:uint; }
table ImageProperties { color_space:byte; default_size:ImageSize; }
table Content { content_properties_type:ubyte; content_properties:union; range:offset; }
table NormalizationOptions { mean:[float]; std:[float]; }
table ProcessUnit { options_type:ubyte; options:union; }
table TensorMetadata { name:string; description:string; dimension_names:offset; content:Content;
  process_units:[ProcessUnit]; stats:offset; associated_files:[AssociatedFile]; }
table SubGraphMetadata { name:string; description:string; input_tensor_metadata:[TensorMetadata];
  output_tensor_metadata:[TensorMetadata]; }
table ModelMetadata { name:string; description:string; version:string;
  subgraph_metadata:[SubGraphMetadata]; author:string; license:string; associated_files:offset;
  min_parser_version:string; }
"""
)


def build_of(folder: Path, **more: Any) -> Build:
    content = dense_model(folder / "net.tflite", inputs=192, shape=(8, 8, 3)).read_bytes()
    settings = {"steps": STEPS, "labels": LABELS, "content": content, **more}
    outputs = (spec("y", "float32", 3),)
    return make_build(folder / "build", (spec("x", "float32", 8, 8, 3),), outputs, **settings)


def metadata_in(model: bytes) -> Any:
    """The table ModelMetadata of a file, read with nothing of the code that wrote it."""
    root = File(SCHEMA, model).root("Model")
    (entry,) = [entry for entry in root.metadata if entry.name == "TFLITE_METADATA"]
    content = bytes(root.buffers[entry.buffer].data)
    assert content[4:8] == b"M001"
    return File(SCHEMA, content).root("ModelMetadata")


def answers(model: bytes, *, delegates: bool) -> bytes:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.AUTO if delegates else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runtime = Interpreter(model_content=model, experimental_op_resolver_type=kind)
    runtime.allocate_tensors()
    given = np.random.default_rng(7).normal(size=(1, 8, 8, 3)).astype(np.float32)
    return bytes(runtime.get_signature_runner()(x=given)["y"].tobytes())


def test_what_mediapipe_looks_for_is_in_the_file(tmp_path: Path) -> None:
    build = build_of(tmp_path)
    about = About("pets", "1.2.0", "Tells pets apart", "MIT", "Ada <a@example.org>")
    made = bundle_linux(build, tmp_path / "out", about=about)
    path = made.folder / made.manifest.artifacts[0].files[0]
    model = path.read_bytes()

    found = metadata_in(model)
    said = (found.name, found.version, found.description, found.license, found.author)
    assert said == ("pets", "1.2.0", "Tells pets apart", "MIT", "Ada <a@example.org>")
    assert found.min_parser_version == "1.0.0"
    (graph,) = found.subgraph_metadata
    (taken,), (given,) = graph.input_tensor_metadata, graph.output_tensor_metadata
    assert (taken.name, given.name) == ("x", "y")
    assert taken.content.content_properties_type == 2
    image = taken.content.open("content_properties", "ImageProperties")
    size = image.default_size
    assert (image.color_space, size.height, size.width) == (1, 8, 8)
    (unit,) = taken.process_units
    assert unit.options_type == 1
    options = unit.open("options", "NormalizationOptions")
    assert (tuple(options.mean), tuple(options.std)) == ((127.5,), (63.75,))
    (labels,) = given.associated_files
    assert (labels.name, labels.type) == ("labels.txt", 2)
    with zipfile.ZipFile(path) as archive:
        (entry,) = archive.infolist()
        assert (entry.filename, entry.compress_type) == ("labels.txt", zipfile.ZIP_STORED)
        assert archive.read(entry) == (made.folder / "labels.txt").read_bytes()
        # Readers that do not look for a beginning find it where the zip says.
        assert model[entry.header_offset :].startswith(b"PK\3\4")

    (note,) = made.manifest.artifacts[0].notes
    assert note.startswith("MediaPipe Tasks' ImageClassifier reads it as it is: labels, mean 127.5")
    assert "mean 127.5 and std 63.75" in (made.folder / "README.md").read_text()


@pytest.mark.parametrize("target", [bundle_linux, bundle_android])
def test_it_is_the_model_that_was_verified(tmp_path: Path, target: Any) -> None:
    build = build_of(tmp_path)
    original = (tmp_path / "net.tflite").read_bytes()
    made = target(build, tmp_path / "out")
    path = made.manifest.artifacts[0].files[0]
    shipped = (made.folder / path).read_bytes()
    assert shipped.count(original) == 1
    assert shipped.index(original) % 64 == 0  # as aligned as before
    for delegates in (True, False):
        assert answers(shipped, delegates=delegates) == answers(original, delegates=delegates)

    (listed,) = [file for file in made.manifest.files if file.path == path]
    assert (listed.sha256, listed.size_bytes) == (hashlib.sha256(shipped).hexdigest(), len(shipped))
    verify_bundle(made.folder, digest=made.digest)
    again = target(build, tmp_path / "again")
    assert (again.folder / path).read_bytes() == shipped


def test_everything_of_the_file_is_still_there(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    def tree(thing: Any) -> Any:
        if isinstance(thing, np.ndarray):
            return thing.tolist()
        if isinstance(thing, list):
            return [tree(each) for each in thing]
        return {k: tree(v) for k, v in vars(thing).items()} if hasattr(thing, "__dict__") else thing

    original = dense_model(tmp_path / "net.tflite").read_bytes()
    before = schema.ModelT.InitFromPackedBuf(original, 0)
    after = schema.ModelT.InitFromPackedBuf(head_of(original, b"metadata") + original, 0)
    (entry,), last = after.metadata, after.buffers.pop()
    assert (entry.name, entry.buffer) == (b"TFLITE_METADATA", len(before.buffers))
    assert bytes(last.data) == b"metadata"
    after.metadata = None
    assert tree(after) == tree(before)


def test_metadata_that_are_there_stay(tmp_path: Path) -> None:
    model = dense_model(tmp_path / "net.tflite").read_bytes()
    twice = head_of(model, b"some") + model
    with pytest.raises(InexpressibleError, match="has metadata of its own, which stays"):
        head_of(twice, b"others")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"steps": "resize=8x8,normalize=1:2:3/4"}, "it has one mean and one std"),
        ({"steps": "resize=8x8:nearest"}, "it has no resize by the nearest pixel"),
        ({"steps": "resize-short-side=9,center-crop=8x8"}, "it has no resize-short-side"),
        ({"steps": "resize=8x8,color=bgr"}, "it has no color"),
        ({"steps": "normalize=0/255"}, "nothing says that the input is made of pixels"),
        ({"runs_on": ("tflite", "npu")}, "it computes on the CPU and the GPU only, not with npu"),
        ({"labels": ("a", "b")}, "there are 2 labels, and the output is 1×3"),
    ],
)
def test_what_mediapipe_cannot_do_is_said_and_left_out(
    tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    build = build_of(tmp_path, **settings)
    made = bundle_linux(build, tmp_path / "out")
    (artifact,) = made.manifest.artifacts
    (note,) = artifact.notes
    assert note.startswith("nothing for MediaPipe Tasks is in the file: ")
    assert says in note
    assert (made.folder / artifact.files[0]).read_bytes() == (tmp_path / "net.tflite").read_bytes()


def test_nothing_is_said_of_what_is_no_image_classifier(tmp_path: Path) -> None:
    build = build_of(tmp_path, labels=())
    assert bundle_linux(build, tmp_path / "out").manifest.artifacts[0].notes == ()


BYTES = spec("image", "uint8", 8, 8, 3)


@pytest.mark.parametrize(
    ("given", "steps", "says"),
    [
        (BYTES, "none", ""),
        (BYTES, "resize=8x8", ""),
        (spec("image", "uint8", 8, 8, 3, quantization=by(1 / 255, 0)), "normalize=0/255", ""),
        (spec("image", "uint8", 8, 8, 3, quantization=by(1 / 128, 128)), "normalize=128/128", ""),
        (
            spec("image", "uint8", 8, 8, 3, quantization=by(1 / 127, 128)),
            "normalize=128/128",
            "the pixels as they are",
        ),
        (spec("image", "int8", 8, 8, 3, quantization=by(1, -128)), "none", "the input is int8"),
        (IMAGE, "resize=8x8", "the preprocessing gives uint8, the input is float32"),
        (IMAGE, "resize=8x8,normalize=0/64,cast=uint8,cast=float32", "another sum"),
        (IMAGE, "resize=8x8,cast=float32", ""),
        (IMAGE, "resize=8x8,normalize=0/2,normalize=0/2", "normalizes once"),
        (spec("image", "float32", 8, 8, 1), "resize=8x8", "it takes 1×height×width×3"),
        (spec("image", "float32", 3, 8, 8), "resize=8x8", "it takes 1×height×width×3"),
        (spec("image", "float32", 192), "none", "it takes pictures of one size"),
        (
            TensorSpec(
                name="image",
                shape=(1, 8, 8, 3),
                dtype="float32",
                open=(OpenAxis(axis=1, name="h", least=4, largest=8),),
            ),
            "none",
            "it takes pictures of one size",
        ),
    ],
)
def test_pixels_become_what_the_preprocessing_makes_of_them(
    given: TensorSpec, steps: str, says: str
) -> None:
    signature, wanted = Signature(inputs=(given,), outputs=(SCORES,)), parse_preprocessing(steps)
    if says:
        with pytest.raises(InexpressibleError, match=says):
            pictures_of(signature, wanted)
    else:
        made = pictures_of(signature, wanted)
        assert (made.height, made.width, made.mean, made.std) == (8, 8, 0.0, 1.0)


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ((SCORES,), ""),
        ((spec("y", "float32", 1, 1, 3),), ""),
        ((spec("y", "uint8", 3, quantization=by(1 / 256, 0)),), ""),
        ((SCORES, SCORES), "this has 2"),
        ((spec("y", "int8", 3, quantization=by(1 / 256, -128)),), "the output is int8"),
        ((spec("y", "uint8", 3),), "one scale"),
        (
            (
                spec(
                    "y",
                    "uint8",
                    3,
                    quantization=Quantization(scale=(1, 2, 3), zero_point=(0,) * 3, axis=1),
                ),
            ),
            "one scale",
        ),
        ((spec("y", "float32", 2, 3),), "3 labels, and the output is 1×2×3"),
    ],
)
def test_a_score_for_each_label(outputs: tuple[TensorSpec, ...], says: str) -> None:
    signature = Signature(inputs=(IMAGE,), outputs=outputs)
    if says:
        with pytest.raises(InexpressibleError, match=says):
            check_scores(signature, 3)
    else:
        check_scores(signature, 3)


def test_a_build_with_another_file_is_refused(tmp_path: Path) -> None:
    build = build_of(tmp_path, content=b"not what it was")
    with pytest.raises(InputError, match=r"net\.tflite' is no \.tflite file"):
        bundle_linux(build, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_said_and_nothing_else(tmp_path: Path) -> None:
    model = dense_model(tmp_path / "net.tflite").read_bytes()
    with pytest.raises(InputError, match="does not say TFL3"):
        head_of(b"PK\3\4" + model, b"some")
    (root,) = struct.unpack_from("<I", model)
    for at in [*range(4), *range(root - 40, root + 40)]:
        broken = bytearray(model)
        broken[at] ^= 0xFF
        with suppress(InputError, InexpressibleError):  # or it is read: no other exception
            head_of(bytes(broken), b"some")
    for size in range(8, root + 32, 3):
        with pytest.raises(InputError, match="damaged"):
            head_of(model[:size], b"some")
