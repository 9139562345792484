"""Whether an old app can take a new bundle: every change that an app would notice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.bundles import About, bundle_linux, package_linux
from edgekit.bundles.diff import Difference, diff_bundles, order, said
from edgekit.core.build import Build, Variant, load_build
from edgekit.core.errors import IntegrityError
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.result import Result
from edgekit.core.tensor import OpenAxis, Quantization, TensorSpec
from tests.samples import result, write_build

TINY = {"float32": 400, "float16": 200, "dynamic": 120, "int8": 100, "int8-io": 99}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("diff") / "build"
    write_build(folder, artifact_bytes=TINY)
    return load_build(folder)


def bundled(build: Build, out: Path, version: str, *variants: str, **more: Any) -> Path:
    about = About(version=version, licence=more.pop("licence", ""))
    return bundle_linux(build, out, variants=variants or ("int8",), about=about, **more).folder


def compared(
    build: Build, tmp_path: Path, change: Callable[[Build], Build], version: str = "2.0.0"
) -> Difference:
    old = bundled(build, tmp_path / "old", "1.0.0")
    return diff_bundles(old, bundled(change(build), tmp_path / "new", version))


def with_variant(change: Callable[[Variant], Variant]) -> Callable[[Build], Build]:
    return lambda build: build.model_copy(update={"variants": (change(build.variant("int8")),)})


def with_artifact(**update: Any) -> Callable[[Build], Build]:
    def change(variant: Variant) -> Variant:
        assert variant.artifact is not None
        return variant.model_copy(update={"artifact": variant.artifact.model_copy(update=update)})

    return with_variant(change)


def with_tensor(side: str, **update: Any) -> Callable[[Build], Build]:
    def change(variant: Variant) -> Variant:
        assert variant.artifact is not None
        signature = variant.artifact.signature
        (spec,) = getattr(signature, side)
        other = signature.model_copy(update={side: (spec.model_copy(update=update),)})
        artifact = variant.artifact.model_copy(update={"signature": other})
        return variant.model_copy(update={"artifact": artifact})

    return with_variant(change)


def with_labels(*labels: str) -> Callable[[Build], Build]:
    return lambda build: build.model_copy(update={"labels": labels})


QUANTIZATION = Quantization(scale=(0.5,), zero_point=(0,))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (with_tensor("inputs", name="picture"), "inputs were 'image', and are 'picture'"),
        (with_tensor("inputs", shape=(1, 9, 9, 1)), "float32 1×8×8×1, and is float32 1×9×9×1"),
        (with_tensor("inputs", dtype="uint8"), "and is uint8 1×8×8×1"),
        (with_tensor("inputs", quantization=QUANTIZATION), "another scale or zero point"),
        (with_tensor("outputs", name="logits"), "outputs were 'scores', and are 'logits'"),
        (with_tensor("outputs", shape=(1, 11)), "output 'scores' was float32 1×10"),
        (with_artifact(format="onnx"), "the format was tflite, and is onnx"),
        (with_artifact(preprocessing=parse_preprocessing("cast=float32")), "preprocessing was"),
        (with_labels("nil", *"123456789"), "label 0 was 'zero', and is 'nil'"),
        (with_labels("zero", "one"), "there were 10 labels, and are 2"),
        (with_labels(), "the 10 labels are gone"),
        (lambda b: b.model_copy(update={"name": "faces"}), "was 'digits', and is 'faces'"),
    ],
)
def test_what_breaks_an_app(
    build: Build, tmp_path: Path, change: Callable[[Build], Build], says: str
) -> None:
    found = compared(build, tmp_path, change)
    assert not found.fits
    assert found.level == "major"
    assert any(says in str(each) for each in found.changes if each.level == "major")
    assert found.version_problem == ""


def test_a_runtime_that_refuses_the_new_one_breaks(build: Build, tmp_path: Path) -> None:
    def refuse(variant: Variant) -> Variant:
        (load,) = variant.verdict.loads
        verdict = variant.verdict.model_copy(
            update={"loads": (load.model_copy(update={"ok": False}),)}
        )
        return variant.model_copy(update={"verdict": verdict})

    found = compared(build, tmp_path, with_variant(refuse))
    assert [str(c) for c in found.changes] == ["int8: ai-edge-litert 2.3.0 refuses it"]


def test_what_an_app_can_take(build: Build, tmp_path: Path) -> None:
    wider = with_tensor("inputs", open=(OpenAxis(axis=1, name="h", least=4, largest=8),))
    for change in (wider, with_labels(*build.labels, "ten")):
        found = compared(build, tmp_path, change, "1.1.0")
        assert found.fits
        assert found.level == "minor"
        assert found.version_problem == ""


def test_more_and_fewer_variants(build: Build, tmp_path: Path) -> None:
    few = bundled(build, tmp_path / "few", "1.0.0")
    many = bundled(build, tmp_path / "many", "1.0.1", "int8", "float32")
    assert [str(c) for c in diff_bundles(few, many).changes] == ["float32: is new"]
    assert diff_bundles(few, many).version_problem == (
        "the change is a minor one, and 1.0.0 to 1.0.1 is a patch one"
    )
    back = diff_bundles(many, few)
    assert not back.fits
    assert back.version_problem == "the version should rise: 1.0.1 to 1.0.0"


def test_a_model_that_was_trained_again_is_a_patch(build: Build, tmp_path: Path) -> None:
    write_build(tmp_path / "build", artifact_bytes=TINY | {"int8": 104})
    old = bundled(build, tmp_path / "old", "1.0.0")
    new = bundled(load_build(tmp_path / "build"), tmp_path / "new", "1.0.1")
    found = diff_bundles(old, new)
    assert [str(c) for c in found.changes] == ["int8: the model itself is another"]
    assert found.level == "patch"
    (figures,) = found.figures
    assert figures.size_bytes == (100, 104)


def test_equal_ones_differ_in_nothing(build: Build, tmp_path: Path) -> None:
    old = bundled(build, tmp_path / "old", "1.0.0")
    found = diff_bundles(old, old)
    assert found.changes == ()
    assert found.level == "none"
    assert found.version_problem == ""


def test_figures_are_compared_where_they_can_be(build: Build, tmp_path: Path) -> None:
    def latency(results: tuple[Result, Result]) -> object:
        old = bundled(build, tmp_path / "old", "1.0.0", results=[results[0]])
        new = bundled(build, tmp_path / "new", "1.0.1", results=[results[1]])
        (figures,) = diff_bundles(old, new).figures
        lines = "\n".join(said(figures))
        assert "top-1 98.06 % → 98.06 %" in lines
        assert ("was not measured alike" in lines) is (figures.latency is None)
        return figures.latency

    one = result(build, "int8")
    where, before, after = latency((one, one))  # type: ignore[misc]
    assert where == "raspberry-pi-5, 4 threads"
    assert before == after
    assert latency((one, result(build, "int8", emulated=True))) is None
    taken = one.measurement.model_copy(update={"device_name": "raspberry-pi-4"})
    assert latency((one, one.model_copy(update={"measurement": taken}))) is None


def test_tarballs_and_what_is_spoiled(build: Build, tmp_path: Path) -> None:
    about = About(version="1.0.0", licence="MIT", maintainer="Ada <ada@example.org>")
    made = package_linux(build, tmp_path / "dist", about=about)
    assert diff_bundles(made.packages[0], made.folder).changes == ()
    (made.folder / "labels.txt").write_text("")
    with pytest.raises(IntegrityError, match=r"labels\.txt"):
        diff_bundles(made.packages[0], made.folder)


def test_it_is_json(build: Build, tmp_path: Path) -> None:
    found = compared(build, tmp_path, with_labels())
    document = json.loads(json.dumps(found.to_json()))
    assert document["fits"] is False
    assert document["changes"][0] == {
        "level": "major",
        "variant": "int8",
        "text": "the 10 labels are gone",
    }


def test_versions_are_ordered_as_semver_says() -> None:
    line = ["0.9.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0"]
    line += ["1.0.1-rc", "1.0.1", "1.2.0", "1.10.0"]
    assert sorted(set(line), key=order) == line


def test_a_spec_without_a_size_takes_only_itself() -> None:
    from edgekit.bundles.diff import _takes_all

    spec = TensorSpec(name="x", shape=(1, 8), dtype="float32")
    wide = spec.model_copy(update={"open": (OpenAxis(axis=1, name="n", least=2, largest=16),)})
    assert _takes_all(spec, wide)
    assert not _takes_all(wide, spec)
