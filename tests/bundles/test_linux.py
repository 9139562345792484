"""The bundle for Linux: what is in it, what is refused, and that equal input gives equal bytes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.bundles import About, bundle_linux, verify_bundle
from edgekit.bundles.readme import code, escape
from edgekit.core.build import Build, load_build, save_build
from edgekit.core.errors import (
    EdgekitError,
    InputError,
    OutputError,
    RejectedError,
    UnknownNameError,
    UsageError,
)
from edgekit.core.preprocess_text import parse_preprocessing
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.tensor import TensorSpec
from tests.samples import LABELS, result, write_build


@pytest.fixture
def build(tmp_path: Path) -> Build:
    write_build(tmp_path / "build")
    return load_build(tmp_path / "build")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_best_accepted_one_unless_told_otherwise(build: Build, out: Path) -> None:
    made = bundle_linux(build, out)
    assert sorted(tree(out)) == [
        "README.md",
        "bom.cdx.json",
        "digits.py",
        "example.py",
        "labels.txt",
        "manifest.json",
        "manifest.sha256",
        "models/digits-int8.tflite",
    ]
    assert made.manifest.default == "int8"
    assert (out / "labels.txt").read_text().split("\n") == [*LABELS, ""]
    artifact = build.variant("int8").artifact
    assert artifact is not None
    path = out / "models" / "digits-int8.tflite"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == artifact.files[0].sha256
    verify_bundle(out, digest=made.digest)
    assert made.digest == hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest()


def test_all_that_were_accepted(build: Build, out: Path) -> None:
    made = bundle_linux(build, out, every=True)
    variants = [artifact.variant for artifact in made.manifest.artifacts]
    assert variants == ["float32", "float16", "dynamic", "int8"]
    assert made.manifest.default == "int8"
    assert made.manifest.notices == ()


def test_the_manifest_says_what_it_was_made_from(build: Build, out: Path) -> None:
    parent = build.variant("float32").artifact
    variant = build.variant("int8")
    assert parent is not None
    assert variant.artifact is not None
    made_from = variant.artifact.model_copy(update={"parent": parent.files[0].sha256})
    child = variant.model_copy(update={"artifact": made_from})
    others = tuple(v for v in build.variants if v.recipe.name != "int8")
    about = About(name="reader", version="2.0.0", licence="MIT", maintainer="Ada <a@example.org>")
    build = build.model_copy(update={"variants": (child, *others)})
    manifest = bundle_linux(build, out, about=about).manifest
    assert (manifest.name, manifest.version, manifest.licence) == ("reader", "2.0.0", "MIT")
    assert manifest.artifact("int8").parent_variant == "float32"
    assert manifest.artifact("int8").recipe_digest == child.recipe.fingerprint()
    assert (out / "reader.py").exists()
    text = (out / "README.md").read_text()
    assert "| Licence | MIT |" in text
    assert "from reader import Int8" in text


def test_the_readme_tells_the_metric_that_it_was_judged_by(build: Build, out: Path) -> None:
    def bundled(**changed: Any) -> str:
        variant = build.variant("int8")
        assert variant.verdict.score is not None
        score = variant.verdict.score.model_copy(update=changed)
        verdict = variant.verdict.model_copy(update={"score": score})
        other = (variant.model_copy(update={"verdict": verdict}),)
        bundle_linux(build.model_copy(update={"variants": other}), out)
        return (out / "README.md").read_text()

    assert "top-1 98.06 % (-0.55 points)" in bundled()
    error = {"metric": "rmse", "title": "RMSE", "unit": "percent"}
    assert "RMSE 0.9806 (0.55 % lost)" in bundled(**error)
    assert "RMSE 0.9806 (2.00 % gained)" in bundled(**error, drop=-2.0)
    assert "RMSE 0.9806 (no drop)" in bundled(**error, drop=0.0)


@pytest.mark.parametrize("variant", ["int8-io", "int16x8"])
def test_one_that_was_not_accepted_only_by_name_and_never_quietly(
    build: Build, out: Path, variant: str
) -> None:
    made = bundle_linux(build, out, variants=[variant, variant])
    (notice,) = made.manifest.notices
    status = build.variant(variant).verdict.status
    assert notice.startswith(f"{variant} was {status}")
    text = (out / "README.md").read_text()
    assert "**Warning:**" in text
    assert status in text


def test_refusals_leave_nothing(build: Build, out: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean int8"):
        bundle_linux(build, out, variants=["int9"])
    with pytest.raises(RejectedError, match="dynamic-old was not made"):
        bundle_linux(build, out, variants=["dynamic-old"])
    for version in ("1", "a b", "1.2.3\n", "1.2.3-" + "x" * 100):
        with pytest.raises(UsageError, match=r"^--version '.*' is not of the form 1\.2\.3$"):
            bundle_linux(build, out, about=About(version=version))
    rejected = build.model_copy(
        update={"variants": tuple(v for v in build.variants if v.verdict.status != "accepted")}
    )
    with pytest.raises(RejectedError, match="no accepted artifact"):
        bundle_linux(rejected, out, every=True)
    assert [path.name for path in out.parent.iterdir()] == ["build"]


def test_a_file_changed_since_the_build_was_read(build: Build, out: Path) -> None:
    path = build.folder / "artifacts" / "digits-int8.tflite"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(InputError, match="was changed after the build"):
        bundle_linux(build, out)
    path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        bundle_linux(build, out)
    assert [path.name for path in out.parent.iterdir()] == ["build"]


def test_equal_input_gives_equal_bytes(build: Build, out: Path, tmp_path: Path) -> None:
    results = [result(build, "int8"), result(build, "float32")]
    old = os.umask(0o077)
    try:
        one = bundle_linux(build, out, every=True, results=results)
    finally:
        os.umask(old)
    two = bundle_linux(build, tmp_path / "two", every=True, results=results)
    assert tree(out) == tree(tmp_path / "two")
    assert one.digest == two.digest
    assert [p.stat().st_mode for p in sorted(out.rglob("*"))] == [
        p.stat().st_mode for p in sorted((tmp_path / "two").rglob("*"))
    ]


def test_an_older_bundle_is_replaced_and_nothing_else_is(build: Build, out: Path) -> None:
    bundle_linux(build, out, every=True)
    bundle_linux(build, out)
    assert not (out / "models" / "digits-float32.tflite").exists()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"something of yours in it: 'notes\.txt'"):
        bundle_linux(build, out)
    with pytest.raises(OutputError, match="exists and is not a bundle"):
        bundle_linux(build, build.folder)
    with pytest.raises(OutputError, match="exists and is not a bundle"):
        bundle_linux(build, out / "notes.txt")
    assert (out / "notes.txt").read_text() == "mine"
    load_build(build.folder)


def test_a_place_that_cannot_be_written(build: Build, out: Path) -> None:
    out.write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        bundle_linux(build, out / "below")


def test_an_empty_folder_is_filled(build: Build, out: Path) -> None:
    out.mkdir()
    bundle_linux(build, out)
    verify_bundle(out)


def test_measured_results_come_with_their_device_and_without_its_address(
    build: Build, out: Path
) -> None:
    made = bundle_linux(
        build, out, results=[result(build, "int8", emulated=True), result(build, "float32")]
    )
    (measured,) = made.manifest.artifact("int8").measured
    assert measured.device == "raspberry-pi-5"
    assert measured.runtime == "ai_edge_litert 2.3.0"
    assert "10.0.0.7" not in (out / "manifest.json").read_text()
    assert "samples_ns" not in (out / "manifest.json").read_text()
    assert made.manifest.notices == ("int8 was measured on an emulated processor",)


def test_the_readme_says_where_numbers_are_not_the_boards(build: Build, out: Path) -> None:
    here, there = result(build, "int8"), result(build, "float32")
    hello = {**here.measurement.hello, "machine": "x86_64"}
    taken = here.measurement.model_copy(update={"hello": hello})
    results = [here.model_copy(update={"measurement": taken}), there]
    bundle_linux(build, out, every=True, results=results)
    words = "x86_64: measured on another kind of machine than the board"
    rows = (out / "README.md").read_text().partition("## Measured")[2].splitlines()
    (marked,) = [row for row in rows if words in row.replace("\\", "")]
    assert marked.startswith("| `int8`")


@pytest.mark.parametrize(
    ("judged_on", "says"),
    [
        ("evaluation", "| 360 samples, SHA-256"),
        ("calibration", "| 360 samples, which are the calibration's"),
        ("random", "| 360 samples of random numbers: "),
    ],
)
def test_the_readme_says_what_verdicts_rest_on(
    build: Build, out: Path, judged_on: str, says: str
) -> None:
    data = build.data.model_copy(update={"judged_on": judged_on})
    bundle_linux(build.model_copy(update={"data": data}), out)
    assert f"| Evaluation {says}" in (out / "README.md").read_text()


def _spec(dtype: str, *shape: int, name: str = "image") -> TensorSpec:
    return TensorSpec(name=name, shape=(1, *shape), dtype=dtype)


@pytest.mark.parametrize(
    ("line", "spec", "says"),
    [
        ("resize=8x8:bilinear,color=gray,cast=float32", _spec("float32", 8, 8, 1), "a picture"),
        ("resize-short-side=9:nearest,center-crop=8x8", _spec("uint8", 8, 8, 3), "a picture"),
        ("resize=8x8:bilinear", _spec("int8", 8, 8, 3), "uint8 height×width×3"),
        ("none", _spec("float32", 8, 8, 1), "float32 8×8×1"),
        ("none", _spec("int64", 12), "int64 12"),
        ("none", _spec("float32"), "float32 scalar"),
        ("normalize=127.5/127.5", _spec("float32", 8, 8, 3), "float32 8×8×3"),
        ("layout=CHW", _spec("float32", 3, 8, 9), "float32 8×9×3"),
        ("center-crop=8x8,cast=float32", _spec("float32", 8, 8, 3), "at least 8×8"),
        ("resize=8x8:bilinear,cast=float32", _spec("float32", 8, 8, 1), "uint8 height×width×1"),
        ("resize-short-side=9:nearest", _spec("uint8", 9, 9, 3), "uint8 height×width×3"),
    ],
)
def test_the_readme_says_a_picture_only_where_any_picture_fits(
    build: Build, out: Path, line: str, spec: TensorSpec, says: str
) -> None:
    (command,) = run_it(with_inputs(build, parse_preprocessing(line), spec), out)
    assert command.startswith("python3 example.py INPUT    # a ")
    assert says in command
    assert ("a picture" in command) is (says == "a picture")


def test_the_readme_lists_every_input_in_order(build: Build, out: Path) -> None:
    names = ("image", "left\n```\nrm -rf ~")
    specs = [_spec("float32", 8, 8, 1, name=names[0]), _spec("int32", 3, name=names[1])]
    resize = parse_preprocessing("resize=8x8:bilinear,color=gray,cast=float32")
    assert run_it(with_inputs(build, resize, *specs), out) == [
        "python3 example.py INPUT1 INPUT2",
        "# INPUT1 is image: a picture (needs pillow) or a .npy file",
        "# INPUT2 is left ``` rm -rf ~: a .npy file with int32 3",
    ]


def with_inputs(build: Build, preprocessing: Preprocessing, *specs: TensorSpec) -> Build:
    variant = build.variant("int8")
    assert variant.artifact is not None
    signature = variant.artifact.signature.model_copy(update={"inputs": specs})
    update = {"signature": signature, "preprocessing": preprocessing}
    artifact = variant.artifact.model_copy(update=update)
    return build.model_copy(
        update={"variants": (variant.model_copy(update={"artifact": artifact}),)}
    )


def run_it(build: Build, out: Path) -> list[str]:
    """The README's lines about running example.py."""
    bundle_linux(build, out)
    fence = (out / "README.md").read_text().partition("```sh\n")[2].partition("\n```\n")[0]
    return fence.splitlines()[1:]


def test_paths_of_this_computer_stay_on_it(build: Build, out: Path) -> None:
    bundle_linux(build, out, every=True, results=[result(build)])
    for name, data in tree(out).items():
        if not name.startswith("models/"):
            assert str(build.folder.parent).encode() not in data
            assert b"models/digits.keras" not in data
            assert b"digits-test.npz" not in data


def test_without_labels(tmp_path: Path, out: Path) -> None:
    write_build(tmp_path / "build", labelled=False)
    made = bundle_linux(load_build(tmp_path / "build"), out)
    assert not (out / "labels.txt").exists()
    assert made.manifest.artifacts[0].labels is None
    assert "signal-to-noise 27.9 dB" in (out / "README.md").read_text()


def test_a_label_of_two_lines_is_refused(build: Build, out: Path) -> None:
    hostile = build.model_copy(update={"labels": ("cat", "dog\nmouse")})
    with pytest.raises(InputError, match="line break"):
        bundle_linux(hostile, out)


def test_hostile_names_just_show(tmp_path: Path, out: Path) -> None:
    name = "a; rm -rf ~ <script>alert(1)</script> | `x` [l](http://evil.example)"
    build = write_build(tmp_path / "build", name="digits").model_copy(update={"name": name})
    build = build.model_copy(
        update={"model": build.model.model_copy(update={"name": name}), "labels": ("<b>", "")}
    )
    save_build(build, tmp_path / "build")
    made = bundle_linux(load_build(tmp_path / "build"), out)
    assert made.manifest.name == name
    title = (out / "README.md").read_text().splitlines()[0]
    assert "\\<script\\>" in title
    assert "\\[l\\](http\\://evil" in title
    verify_bundle(out)


def test_a_file_with_a_strange_name_is_just_a_file(tmp_path: Path, out: Path) -> None:
    write_build(tmp_path / "build", name="a; rm -rf ~", variants=("int8",), failures=False)
    made = bundle_linux(load_build(tmp_path / "build"), out)
    assert made.manifest.artifacts[0].files == ("models/a; rm -rf ~-int8.tflite",)
    verify_bundle(out)


def test_a_build_whose_files_would_leave_the_bundle(build: Build, out: Path) -> None:
    variant = build.variant("int8")
    assert variant.artifact is not None
    file = variant.artifact.files[0].model_copy(update={"path": "artifacts/../../../x"})
    bad = variant.artifact.model_copy(update={"files": (file,)})
    hostile = build.model_copy(update={"variants": (variant.model_copy(update={"artifact": bad}),)})
    with pytest.raises(InputError, match="not a plain relative path"):
        bundle_linux(hostile, out)


def test_the_manifest_can_be_checked_with_what_every_linux_has(build: Build, out: Path) -> None:
    bundle_linux(build, out)
    subprocess.run(["sha256sum", "-c", "--strict", "manifest.sha256"], cwd=out, check=True)
    listed = json.loads((out / "manifest.json").read_text())["files"]
    lines = "".join(f"{file['sha256']}  {file['path']}\n" for file in listed)
    subprocess.run(["sha256sum", "-c", "--strict"], input=lines, text=True, cwd=out, check=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b.update(name="\ud800"), "not a build"),
        (lambda b: b.update(labels=["\ud800"]), "not a build"),
        (lambda b: b["variants"][3]["artifact"].update(files=[]), "files"),
        (
            lambda b: b["variants"][3]["artifact"]["signature"]["inputs"][0].update(
                quantization={"scale": [], "zero_point": []}
            ),
            "quantization",
        ),
        (
            lambda b: b["variants"][3]["verdict"]["parity"][0].update(max_abs_error=float("nan")),
            "not finite",
        ),
    ],
    ids=["half-a-character", "in-a-label", "no-file", "no-scale", "nan"],
)
def test_builds_that_anybody_may_have_written(
    build: Build, out: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    content = json.loads((build.folder / "build.json").read_text())
    change(content)
    (build.folder / "build.json").write_text(json.dumps(content))
    with pytest.raises(EdgekitError, match=words):
        bundle_linux(load_build(build.folder), out)
    assert not out.exists()


def test_a_device_without_a_name_does_not_give_its_address_away(build: Build, out: Path) -> None:
    unnamed = result(build)
    taken = unnamed.measurement.model_copy(update={"device_name": unnamed.measurement.device})
    bundle_linux(build, out, results=[unnamed.model_copy(update={"measurement": taken})])
    assert "10.0.0.7" not in (out / "manifest.json").read_text()


def test_names_and_all_exclude_each_other(build: Build, out: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        bundle_linux(build, out, variants=["int8"], every=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a`b", "``a`b``"),
        ("``", "``` `` ```"),
        ("", "`  `"),
        ("two\nlines", "`two lines`"),
        ("a|b", "`a¦b`"),
    ],
)
def test_code_spans_hold(text: str, shown: str) -> None:
    assert code(text) == shown


def test_escaped_words_are_one_line_without_markup() -> None:
    assert escape("# *a*\n<b> \x1b[2J") == r"\# \*a\* \<b\> \[2J"
