"""Accessors for the inputs and outputs that real conversions of the zoo gave.

``zoo_signatures.json`` is written by tools/zoo_accessors.py, which converts, compiles and runs them
all; here all that differ are compiled at once, by one javac, and imported as one module.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit.bundles import bundle_android
from edgekit.bundles.android.accessor import check_artifact
from edgekit.bundles.android.sources import java_sources
from edgekit.bundles.classes import accessor, class_names
from edgekit.bundles.manifest import BundledArtifact, Manifest
from edgekit.core.errors import InputError
from edgekit.core.tensor import Signature
from tests.android_nets import build_of
from tests.java import api_jar, write_jar

ZOO = json.loads((Path(__file__).parent / "zoo_signatures.json").read_text())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("template")
    return bundle_android(build_of("pixels", folder / "build"), folder / "out").manifest


def artifact_of(template: Manifest, row: dict[str, Any], number: int) -> BundledArtifact:
    (artifact,) = template.artifacts
    runs_on = {"format": row["format"], "delegate": row["delegate"]}
    return artifact.model_copy(
        update={
            "variant": f"variant-{number}",
            "format": row["format"],
            "signature": Signature.from_json(row["signature"], where=row["model"]),
            "recipe": artifact.recipe.model_copy(update=runs_on),
            "labels": None,
        }
    )


@pytest.mark.slow
def test_every_java_accessor_compiles(template: Manifest, tmp_path: Path) -> None:
    api = api_jar(tmp_path)
    taken, refused = [], []
    for number, row in enumerate(ZOO):
        artifact = artifact_of(template, row, number)
        try:
            check_artifact(artifact)
            taken.append(artifact)
        except InputError as exc:
            refused.append(exc.message)
    allowed = (
        "which no Android app runs",
        "Java classes take one size",
        "Java classes have",
        "the first dimension has to be 1",
    )
    assert [text for text in refused if not any(words in text for words in allowed)] == []
    assert len(taken) > len(ZOO) / 2
    files = {file.path: file for file in template.files}
    sources = java_sources(
        tuple(taken), files, package="edgekit.zoo", model="zoo", version="1.0.0", assets=""
    )
    assert len([path for path in sources if "/ZooVariant" in path]) == len(taken)
    write_jar(tmp_path / "zoo.jar", sources, [api])


def test_the_python_accessor_has_a_class_for_each(template: Manifest, tmp_path: Path) -> None:
    artifacts = tuple(artifact_of(template, row, number) for number, row in enumerate(ZOO))
    manifest = template.model_copy(update={"artifacts": artifacts})
    names: dict[str, Any] = {"__file__": str(tmp_path / "zoo.py"), "__name__": "zoo"}
    exec(compile(accessor(manifest), "zoo.py", "exec"), names)
    classes = class_names([artifact.variant for artifact in artifacts])
    for artifact in artifacts:
        made = names[classes[artifact.variant]]
        for tensors, specs in (
            (made.INPUTS, artifact.signature.inputs),
            (made.OUTPUTS, artifact.signature.outputs),
        ):
            assert [t.name for t in tensors] == [spec.name for spec in specs]
            assert [t.dtype for t in tensors] == [spec.dtype for spec in specs]
            assert all(len(t.shape) == len(s.shape) for t, s in zip(tensors, specs, strict=True))
