"""What the Android app makes of bundles: real ones, changed ones, and archives that mean harm."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bundles import About, bundle_linux, package_linux
from edgekit.core.build import Build
from edgekit.core.preprocess_reference import apply
from edgekit.core.preprocess_text import parse_preprocessing
from tests.android_nets import make_build, spec
from tests.tflite_graphs import cnn

pytestmark = pytest.mark.slow

STEPS = "resize-short-side=20:bilinear,center-crop=16x16,normalize=127.5:120:110/58:57:56"
LABELS = tuple(f"class {number}" for number in range(10))
ABOUT = About(version="1.2.0", licence="Apache-2.0", maintainer="Ada Byron <ada@example.org>")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("build")
    return make_build(
        folder / "build",
        (spec("image", "float32", 16, 16, 3),),
        (spec("scores", "float32", 10),),
        name="things",
        steps=STEPS,
        content=cnn(folder / "net.tflite").read_bytes(),
        labels=LABELS,
    )


@pytest.fixture(scope="module")
def tarball(build: Build) -> Path:
    out = build.folder.parent / "packages"
    return package_linux(build, out, about=ABOUT, abis=["arm64"]).packages[0]


@pytest.fixture(scope="module")
def folder(build: Build) -> Path:
    return bundle_linux(build, build.folder.parent / "bundle").folder


def zipped(folder: Path, target: Path, top: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, top + path.relative_to(folder).as_posix())
    return target


def test_a_tarball_and_a_zip_are_read(
    ask: Callable[..., list[Any]], tarball: Path, folder: Path, tmp_path: Path
) -> None:
    flat, nested = (zipped(folder, tmp_path / f"{n}.zip", top) for n, top in enumerate(("", "x/")))
    cards = ask("open", tmp_path, tarball, flat, nested)
    assert [card["name"] for card in cards] == ["things"] * 3
    assert [card["version"] for card in cards] == ["1.2.0", "0.1.0", "0.1.0"]
    sidecar = (folder / "manifest.sha256").read_text()
    assert sidecar.startswith(cards[1]["digest"])
    assert not cards[0]["signed"]
    assert cards[0]["variants"] == {
        "int8": {
            "format": "tflite",
            "refusal": "",
            "classifies": True,
            "labels": list(LABELS),
            "verdict": "accepted",
            "quality": "top-1 0.9806",
        }
    }


def test_a_picture_is_classified_as_edgekit_does(
    ask: Callable[..., list[Any]], build: Build, tarball: Path, tmp_path: Path
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    picture = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    (tmp_path / "rgb").write_bytes(picture.tobytes())
    (found,) = ask("classify", tmp_path, tarball, tmp_path / "rgb", 53, 37)
    model = Interpreter(str(build.folder / "artifacts" / "net.tflite"), num_threads=1)
    model.allocate_tensors()
    (taken,), (given,) = model.get_input_details(), model.get_output_details()
    model.set_tensor(taken["index"], apply(parse_preprocessing(STEPS), picture)[None])
    model.invoke()
    scores = model.get_tensor(given["index"])[0]
    order = np.argsort(-scores, kind="stable")
    assert [index for index, _, _ in found] == order.tolist()
    assert [name for _, name, _ in found] == [LABELS[index] for index in order]
    np.testing.assert_array_equal(np.float32([score for _, _, score in found]), scores[order])


def edited(change: Callable[[Path], object]) -> Callable[[Path, Path], Path]:
    """A zip of a copy of the bundle that was changed."""

    def made(folder: Path, target: Path) -> Path:
        copy = target.with_suffix("")
        shutil.copytree(folder, copy)
        change(copy)
        return zipped(copy, target)

    return made


def append(name: str, data: bytes = b" ") -> Callable[[Path, Path], Path]:
    return edited(lambda copy: (copy / name).write_bytes((copy / name).read_bytes() + data))


def rewritten(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Path], Path]:
    """With another manifest, whose digest is right."""

    def manifest(copy: Path) -> None:
        content = json.loads((copy / "manifest.json").read_text())
        change(content)
        data = json.dumps(content).encode()
        (copy / "manifest.json").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        (copy / "manifest.sha256").write_text(f"{digest}  manifest.json\n")

    return edited(manifest)


def entries(*names: str, **more: Any) -> Callable[[Path, Path], Path]:
    """A tarball with these entries and nothing else."""

    def made(folder: Path, target: Path) -> Path:
        with tarfile.open(target, "w:gz", format=tarfile.USTAR_FORMAT) as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = 2 if more.get("type", tarfile.REGTYPE) == tarfile.REGTYPE else 0
                for key, value in more.items():
                    setattr(info, key, value)
                archive.addfile(info, io.BytesIO(b"hi"))
        return target

    return made


def raw(data: bytes) -> Callable[[Path, Path], Path]:
    def made(folder: Path, target: Path) -> Path:
        target.write_bytes(data)
        return target

    return made


def zip_of(name: str, data: bytes) -> Callable[[Path, Path], Path]:
    def made(folder: Path, target: Path) -> Path:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, data)
        return target

    return made


HARM: dict[str, Callable[[Path, Path], Path]] = {
    "models/net.tflite' was changed": append("models/net.tflite"),
    "labels.txt' was changed": append("labels.txt", b"eleventh\n"),
    "manifest.json is not the one": append("manifest.json"),
    "'labels.txt' is missing": edited(lambda copy: (copy / "labels.txt").unlink()),
    "'more.txt' does not belong to it": edited(lambda copy: (copy / "more.txt").write_text("x")),
    "there is no manifest.json": edited(lambda copy: (copy / "manifest.json").unlink()),
    "manifest.sha256 is missing": edited(lambda copy: (copy / "manifest.sha256").unlink()),
    "its schema is 3": rewritten(lambda manifest: manifest.update(schema=3)),
    "the default 'x' is none": rewritten(lambda manifest: manifest.update(default="x")),
    "'name' is no text": rewritten(lambda manifest: manifest.update(name=5)),
    "model.sig is missing": rewritten(lambda manifest: manifest.update(signature="model.sig")),
    "path '../x' may not": rewritten(lambda manifest: manifest["files"][0].update(path="../x")),
    "'size_bytes' is no whole": rewritten(lambda m: m["files"][0].update(size_bytes="1")),
    "is listed twice": rewritten(lambda m: m["files"].append(m["files"][0])),
    "needs '/etc/passwd', which": rewritten(
        lambda m: m["artifacts"][0].update(files=["/etc/passwd"])
    ),
    "the path '../out' may not": entries("../out"),
    "the path '/etc/x' may not": entries("/etc/x"),
    "the path 'a//b' may not": entries("a//b"),
    "the path 'a?b' may not": entries("a\nb"),
    "'link' is no plain file": entries("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "'null' is no plain file": entries("null", type=tarfile.CHRTYPE),
    "'A' is there twice": entries("a", "A"),
    "neither a .tar.gz nor a .zip": raw(b"no archive"),
    "it is cut off": raw(gzip.compress(bytes(10))),
    "a header has no number": raw(gzip.compress(b"x" * 1024)),
    "the path '../y' may not": zip_of("../y", b"hi"),
    "it unpacks to more": zip_of("zeros", bytes(100 * 2**20)),
    "nothing in it": raw(gzip.compress(bytes(1024))),
}


def test_what_is_changed_or_means_harm_is_refused(
    ask: Callable[..., list[Any]], folder: Path, tmp_path: Path
) -> None:
    archives = [make(folder, tmp_path / f"{n}.zip") for n, make in enumerate(HARM.values())]
    cards = ask("open", tmp_path / "out", *archives)
    for card, said in zip(cards, HARM, strict=True):
        assert said in card.get("refused", f"it opened: {card}")
    assert not (tmp_path / "out" / "out").exists()
    assert not (tmp_path / "y").exists()


def test_a_variant_that_no_app_runs_says_why(
    ask: Callable[..., list[Any]], folder: Path, tmp_path: Path
) -> None:
    def other(manifest: dict[str, Any]) -> None:
        first = manifest["artifacts"][0]
        manifest["artifacts"] += [
            {**first, "variant": "onnx", "format": "onnx"},
            {**first, "variant": "open", "signature": json.loads(json.dumps(first["signature"]))},
        ]
        manifest["artifacts"][2]["signature"]["inputs"][0]["shape"][0] = None

    (card,) = ask("open", tmp_path / "out", rewritten(other)(folder, tmp_path / "a.zip"))
    assert "reads onnx" in card["variants"]["onnx"]["refusal"]
    assert card["variants"]["open"]["refusal"] == "'image' has no fixed size"
    assert not card["variants"]["open"]["classifies"]


def test_statistics_are_numpys(ask: Callable[..., list[Any]]) -> None:
    ns = np.random.default_rng(0).integers(10**6, 10**7, 1001).tolist()
    events = [{"event": "samples", "stream": 0, "ns": part} for part in (ns[:600], ns[600:])]
    lines = "".join(json.dumps(event) + "\n" for event in [*events, {"event": "done"}])
    (told,) = ask("statistics", given=lines.encode())
    low, median, high, most = np.percentile(ns, [25, 50, 75, 90])
    assert told["count"] == 1001
    assert told["error"] is None
    np.testing.assert_allclose(
        [told["median"], told["p90"], told["spread"]], [median, most, (high - low) / median]
    )
