"""What every kind of bundle has in it: the chosen artifacts, their labels, and the manifest."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgekit import __version__
from edgekit.bundles.manifest import (
    MANIFEST,
    MAX_VERSION,
    SCHEMA,
    SIDECAR,
    SIGNATURE,
    VERSION,
    BundledArtifact,
    BundledFile,
    Kind,
    Manifest,
    Measured,
    Provenance,
    decode,
    encode,
    parents,
    path_problem,
    sidecar,
)
from edgekit.bundles.mediapipe import InexpressibleError, Wrapping, wrapping
from edgekit.bundles.readme import takes_pictures
from edgekit.bundles.signing import Signer, sign
from edgekit.bundles.verify import inspect_bundle
from edgekit.core.artifact import Artifact
from edgekit.core.build import Build, Variant
from edgekit.core.errors import InputError, OutputError, UsageError
from edgekit.core.files import unwritable
from edgekit.core.result import Result

LABELS = "labels.txt"
MODELS = "models"
CHUNK = 1 << 16  # larger ones were at times several times as slow to write (tools/bench_bundle.py)


def check_target(target: Path) -> None:
    """Refuse to replace anything but an older bundle, and nothing that somebody added to it.

    Raises:
        OutputError: something else is there.
    """
    if not os.path.lexists(target):
        return
    if target.is_dir() and not any(target.iterdir()):
        return
    inspection = inspect_bundle(target) if target.is_dir() else None
    if inspection is None or inspection.manifest is None:
        raise OutputError(
            f"{str(target)!r} exists and is not a bundle; it is left as it is",
            hint="choose another place with -o",
        )
    extra = [finding.path for finding in inspection.findings if finding.kind in ("extra", "unsafe")]
    if extra:
        raise OutputError(
            f"the bundle {str(target)!r} has something of yours in it: {extra[0]!r}",
            hint="move that elsewhere, or choose another place with -o",
        )


@dataclass(frozen=True)
class About:
    """What whoever makes a bundle says of it; each a line.

    Attributes:
        name: the build's if empty.
        version: semantic, like 1.2.3 or 1.2.3-rc.1.
        licence: SPDX expression of the model's licence.
        maintainer: name and address of who answers for it.
    """

    name: str = ""
    version: str = "0.1.0"
    description: str = ""
    licence: str = ""
    maintainer: str = ""

    def check(self) -> None:
        """Raise UsageError for what no manifest can hold; says which option it was."""
        if len(self.version) > MAX_VERSION or not re.fullmatch(VERSION, self.version):
            raise UsageError(f"--version {self.version!r} is not of the form 1.2.3")
        for option in ("name", "description", "licence", "maintainer"):
            text = getattr(self, option)
            if len(text) > 500 or not all(c.isprintable() for c in text):
                raise UsageError(
                    f"--{option} {text[:40]!r} is not one printable line of at most 500"
                )


class Contents:
    """Fills a folder with files and remembers their digests; `finish` writes the manifest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[BundledFile] = []

    def add(self, path: str, data: bytes) -> None:
        """Write a file of our own making. Raises OutputError."""
        place = self._place(path)
        try:
            place.write_bytes(data)
        except OSError as exc:
            raise unwritable(place, exc) from exc
        self._note(path, len(data), hashlib.sha256(data).hexdigest())

    def copy(self, source: Path, path: str, head: bytes = b"", tail: bytes = b"") -> str:
        """Copy a file, in pieces, between `head` and `tail`; the SHA-256 of what was copied.

        Raises:
            InputError: `source` cannot be read.
            OutputError: the copy cannot be written.
        """
        place = self._place(path)
        copied, total = hashlib.sha256(), hashlib.sha256(head)
        size = len(head) + len(tail)
        try:
            reader = open(source, "rb", buffering=0)  # noqa: SIM115 - reading and writing fail differently
        except OSError as exc:
            raise InputError(f"cannot read {str(source)!r}: {exc.strerror}") from exc
        with reader:
            try:
                # One buffer that stays in the processor's cache between writing and summing.
                buffer = memoryview(bytearray(CHUNK))
                # Both digests at once: what is shipped has another one than what was verified.
                with open(place, "xb", buffering=0) as writer, ThreadPoolExecutor(1) as beside:
                    _write(writer, head)
                    while count := reader.readinto(buffer):
                        piece = buffer[:count]
                        other = beside.submit(total.update, piece) if head or tail else None
                        _write(writer, piece)
                        copied.update(piece)
                        if other is not None:
                            other.result()
                        size += count
                    _write(writer, tail)
            except OSError as exc:
                raise unwritable(place, exc) from exc
        total.update(tail)
        shipped = total if head or tail else copied
        self._note(path, size, shipped.hexdigest())
        return copied.hexdigest()

    def finish(self, manifest: Manifest, signer: Signer | None = None) -> str:
        """Write ``manifest.json``, ``manifest.sha256`` and ``model.sig``; the manifest's SHA-256.

        Nothing is read again: the signature is over the digests that were taken while copying.
        """
        data = encode(manifest)
        decode(data)  # what a reader would refuse must not be written in the first place
        own = {MANIFEST: data, SIDECAR: sidecar(data)}
        if signer is not None:
            files = {file.path: file.sha256 for file in self.files}
            files |= {name: hashlib.sha256(content).hexdigest() for name, content in own.items()}
            own[SIGNATURE] = sign(files, manifest.name, signer)
        for name, content in own.items():
            place = self.folder / name
            try:
                place.write_bytes(content)
                place.chmod(0o644)
            except OSError as exc:
                raise unwritable(place, exc) from exc
        return hashlib.sha256(data).hexdigest()

    def _place(self, path: str) -> Path:
        if problem := path_problem(path):
            raise InputError(problem)
        place = self.folder / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            for folder in parents([path]):
                (self.folder / folder).chmod(0o755)  # like the files' modes below
        except OSError as exc:
            raise unwritable(place, exc) from exc
        return place

    def _note(self, path: str, size: int, sha256: str) -> None:
        (self.folder / path).chmod(0o644)  # the same for everyone, whatever the umask
        self.files.append(BundledFile(path=path, size_bytes=size, sha256=sha256))


def _write(writer: io.FileIO, piece: bytes | memoryview) -> None:
    rest = memoryview(piece)
    while rest:  # an unbuffered write may take a part only
        rest = rest[writer.write(rest) :]


def usual_folder(_: str) -> str:
    """Where the artifacts of a variant go."""
    return MODELS


def add_artifacts(
    contents: Contents,
    build: Build,
    variants: Iterable[Variant],
    results: Sequence[Result],
    *,
    about: About,
    models: Callable[[str], str] = usual_folder,
    labels_path: str = LABELS,
) -> tuple[BundledArtifact, ...]:
    """Copy the artifacts of `variants` and write the labels; their entries for the manifest.

    Image classifiers in TFLite get what MediaPipe reads around their own bytes.

    Args:
        about: what of it MediaPipe's metadata say.
        models: folder in the bundle that the artifacts of a variant go to, by its name.
        labels_path: where in the bundle the labels go.

    Raises:
        InputError: a file was changed after the build, or two would have the same name.
        OutputError: the bundle cannot be written.
    """
    labels = labels_path if build.labels else None
    if labels is not None:
        if problem := next((label for label in build.labels if len(label.splitlines()) > 1), ""):
            raise InputError(
                f"the label {problem!r} has a line break in it, but {LABELS} has one label a line"
            )
        contents.add(labels, "".join(f"{label}\n" for label in build.labels).encode())
    return tuple(
        _bundled(contents, build, variant, variant.artifact, labels, results, models, about)
        for variant in variants
        if variant.artifact is not None
    )


def _bundled(
    contents: Contents,
    build: Build,
    variant: Variant,
    artifact: Artifact,
    labels: str | None,
    results: Sequence[Result],
    models: Callable[[str], str],
    about: About,
) -> BundledArtifact:
    around = _around(build, variant, artifact, about)
    paths = []
    for index, file in enumerate(artifact.files):
        # The build keeps them under artifacts/; app developers look for models.
        path = str(PurePosixPath(models(variant.recipe.name), file.path.removeprefix("artifacts/")))
        if any(known.path == path for known in contents.files):
            raise InputError(f"two files of the build would both be {path!r} in the bundle")
        more = (around.head, around.tail) if index == 0 else ()
        if contents.copy(build.folder / file.path, path, *more) != file.sha256:
            raise InputError(
                f"{str(build.folder / file.path)!r} was changed after the build",
                hint="run edgekit convert again; what did not change comes from the cache",
            )
        paths.append(path)
    main = artifact.files[0].sha256
    return BundledArtifact(
        variant=variant.recipe.name,
        format=artifact.format,
        files=tuple(paths),
        signature=artifact.signature,
        preprocessing=artifact.preprocessing,
        labels=labels,
        recipe=variant.recipe,
        recipe_digest=artifact.recipe_digest,
        verdict=variant.verdict,
        way=artifact.way,
        parent=artifact.parent,
        parent_variant=_parent(build, artifact),
        tools=dict(sorted(artifact.tools.items())),
        notes=(*artifact.notes, *([around.note] if around.note else [])),
        measured=tuple(_measured(r) for r in results if r.measurement.artifact_sha256 == main),
    )


def _around(build: Build, variant: Variant, artifact: Artifact, about: About) -> Wrapping:
    """What MediaPipe reads; nothing, with the reason as its note, where it cannot use the file."""
    (spec, *_) = artifact.signature.inputs
    pictures = takes_pictures(spec, artifact.preprocessing) or (
        len(spec.shape) == 4 and spec.shape[-1] == 3
    )
    if artifact.format != "tflite" or not build.labels or not pictures:
        return Wrapping(b"", b"", "")
    try:
        return wrapping(
            build.folder / artifact.files[0].path,
            artifact.signature,
            artifact.preprocessing,
            delegate=variant.recipe.delegate,
            labels=build.labels,
            said={
                "name": about.name or build.name,
                "description": about.description,
                "version": about.version,
                "author": about.maintainer,
                "license": about.licence,
            },
        )
    except InexpressibleError as exc:
        return Wrapping(b"", b"", f"nothing for MediaPipe Tasks is in the file: {exc}")


def _parent(build: Build, artifact: Artifact) -> str:
    """The variant whose artifact `artifact` was made from; empty if it is none of the build's."""
    known = {
        other.artifact.files[0].sha256: other.recipe.name
        for other in build.variants
        if other.artifact is not None and other.artifact is not artifact
    }
    return known.get(artifact.parent, "")


def _measured(result: Result) -> Measured:
    taken = result.measurement
    runtime = [taken.hello.get("runtime"), taken.hello.get("runtime_version")]
    # A device that does not say what it is goes by its address, which is not for everyone.
    named = taken.device_name if taken.device_name != taken.device else "unnamed"
    return Measured(
        created=taken.created,
        device=named,
        machine=str(taken.hello.get("machine") or ""),
        runtime=" ".join(str(part) for part in runtime if part),
        emulated=taken.emulated,
        settings=taken.settings,
        summary=result.summary,
    )


def notices(artifacts: Iterable[BundledArtifact]) -> tuple[str, ...]:
    """What whoever ships these must know."""
    found = []
    for artifact in artifacts:
        if artifact.verdict.status != "accepted":
            reasons = "; ".join(artifact.verdict.reasons) or "no reason recorded"
            found.append(
                f"{artifact.variant} was {artifact.verdict.status} by verification ({reasons}); "
                "it is in this bundle because it was asked for by name"
            )
        if any(measured.emulated for measured in artifact.measured):
            found.append(f"{artifact.variant} was measured on an emulated processor")
    return tuple(found)


def manifest_of(
    contents: Contents,
    build: Build,
    artifacts: tuple[BundledArtifact, ...],
    *,
    about: About,
    kind: Kind,
    results: Sequence[Result] = (),
    bill: str | None = None,
    signed: bool = False,
) -> Manifest:
    """The manifest over everything that was added to `contents` so far.

    Args:
        bill: where the bill of materials is, once it is there.
        signed: whether a signature will lie beside the manifest.

    Raises:
        UsageError: what was said of the bundle is not of the form that a manifest has.
    """
    chosen = [build.variant(artifact.variant) for artifact in artifacts]
    part = build.model_copy(update={"variants": tuple(chosen)})
    default = part.preferred(results).variant if part.accepted else chosen[0]
    return Manifest.from_json(
        {
            "schema": SCHEMA,
            "name": about.name or build.name,
            "version": about.version,
            "description": about.description,
            "licence": about.licence,
            "maintainer": about.maintainer,
            "kind": kind,
            "created": build.created,
            "default": default.recipe.name,
            "notices": notices(artifacts),
            "artifacts": artifacts,
            "files": sorted(contents.files, key=lambda file: file.path),
            "provenance": Provenance(
                model_name=build.model.name,
                model_digest=build.model.digest,
                model_kind=build.model.kind,
                profile=build.profile.name,
                arch=build.profile.arch,
                edgekit_version=build.edgekit_version,
                bundled_by=f"edgekit {__version__}",
                calibration_digest=build.data.calibration_digest,
                calibration_samples=build.data.calibration_samples,
                evaluation_digest=build.data.evaluation_digest,
                evaluation_samples=build.data.evaluation_samples,
                judged_on=build.data.judged_on,
                overlap=build.data.overlap,
            ),
            "bill": bill,
            "signature": SIGNATURE if signed else None,
        },
        where=MANIFEST,
    )
