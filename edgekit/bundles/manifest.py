"""``manifest.json``: what a bundle holds, where it comes from, and the digest of every file.

``manifest.sha256`` beside it, in the form that ``sha256sum -c`` reads, holds the manifest's own
digest. Every kind of bundle has these two; only they are not listed in the manifest itself.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field

from edgekit.core.errors import EdgekitError, InputError, IntegrityError
from edgekit.core.files import is_safe_relative
from edgekit.core.measurement import MeasureSettings
from edgekit.core.noun import Noun
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.recipe import Recipe
from edgekit.core.result import Summary
from edgekit.core.tensor import Signature
from edgekit.core.verdict import Verdict

MANIFEST = "manifest.json"
SIDECAR = "manifest.sha256"
SIGNATURE = "model.sig"
SCHEMA = 2  # of what is written; 1 had no licence, description, maintainer, bill and signature
# A manifest of a hundred artifacts is 0.5 MB; whatever is far larger is not for us to parse.
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_FILES = 10_000
MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MAX_VERSION = 100
VERSION = r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?"
Version = Annotated[str, Field(pattern=f"^{VERSION}$", max_length=MAX_VERSION)]
# One line that a control file, a table and a terminal can show as it is.
Line = Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")]


class BundledFile(Noun):
    """A file: path inside the bundle (forward slashes), size in bytes, SHA-256 in hex."""

    path: str
    size_bytes: int = Field(ge=0)
    sha256: Sha256


class Measured(Noun):
    """What one measurement of an artifact came to, and on what.

    The device's address is left out: a bundle goes to people who have no business with it.

    Attributes:
        created: UTC, ISO 8601.
        device: its kind or name ("raspberry-pi-5").
        machine: what ``uname -m`` says there; empty where it is not known.
        emulated: the processor was emulated, so that the times mean nothing.
    """

    created: str
    device: str
    machine: str = ""
    runtime: str
    emulated: bool
    settings: MeasureSettings
    summary: Summary


class BundledArtifact(Noun):
    """Something that a runtime loads.

    Attributes:
        files: paths in the bundle; the first is the one that the runtime opens.
        labels: path of the file that names the classes, one a line, in the order of the scores.
        verdict: what verification found. Anything but "accepted" is in here only because somebody
            named the variant on purpose.
        recipe_digest: SHA-256 of the recipe that made it, as it was then; empty in schema 1.
        parent: SHA-256 of the artifact it was made from; the source model's digest otherwise.
        parent_variant: the build's variant that `parent` is; empty if it is none of the build's.
        tools: package name to version.
        notes: what a person should know of it, a command to run on the device for one.
        measured: newest first; empty if it was not measured.
    """

    variant: str
    format: str
    files: tuple[str, ...] = Field(min_length=1)
    signature: Signature
    preprocessing: Preprocessing
    labels: str | None = None
    recipe: Recipe
    recipe_digest: str = ""
    verdict: Verdict
    way: str
    parent: str
    parent_variant: str = ""
    tools: dict[str, str]
    notes: tuple[str, ...] = ()
    measured: tuple[Measured, ...] = ()


class Provenance(Noun):
    """Where it all comes from. Digests are SHA-256 in hex; empty where there was no such data.

    Attributes:
        arch: of the board that it was made for.
        judged_on: what the verdicts rest on: held-out data, the calibration data, random numbers.
    """

    model_name: str
    model_digest: str
    model_kind: str
    profile: str
    arch: str = ""
    edgekit_version: str
    bundled_by: str
    calibration_digest: str
    calibration_samples: int
    evaluation_digest: str
    evaluation_samples: int
    judged_on: Literal["evaluation", "calibration", "random"] = "evaluation"
    overlap: int


Kind = Literal["linux", "android", "ios"]


class Manifest(Noun):
    """A bundle. `created` is the build's time, so that the same build gives the same bytes.

    Attributes:
        kind: what it is for.
        default: the variant to use unless another is asked for.
        notices: what whoever ships this must know, a sentence each.
        licence: of the model, as an SPDX expression; empty where whoever bundled it did not say.
        maintainer: who answers for the bundle ("Ada <ada@example.org>"); empty if not said.
        bill: path of the bill of materials; None in schema 1.
        signature: path of the signature over everything else; None if the bundle is not signed.
    """

    schema_version: Literal[1, 2] = Field(alias="schema")
    name: str
    version: Version
    description: Line = ""
    licence: Line = ""
    maintainer: Line = ""
    kind: Kind
    created: str
    default: str
    notices: tuple[str, ...]
    artifacts: tuple[BundledArtifact, ...] = Field(min_length=1)
    files: tuple[BundledFile, ...] = Field(min_length=1, max_length=MAX_FILES)
    provenance: Provenance
    bill: str | None = None
    signature: Literal["model.sig"] | None = None

    @property
    def own(self) -> tuple[str, ...]:
        """The files that the manifest does not list: itself, and what covers it."""
        return (MANIFEST, SIDECAR, *([self.signature] if self.signature else []))

    def artifact(self, variant: str) -> BundledArtifact:
        return next(a for a in self.artifacts if a.variant == variant)


def encode(manifest: Manifest) -> bytes:
    """The bytes of ``manifest.json``; the same for an equal manifest.

    Raises:
        InputError: a number in it is not finite, which JSON cannot hold.
    """
    try:
        text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as exc:
        raise InputError(
            "a verdict or a measurement has a number that is not finite, so it cannot be bundled",
            hint="edgekit report BUILD shows which; bundle the other variants",
        ) from exc
    return (text + "\n").encode()


def sidecar(manifest: bytes) -> bytes:
    """The bytes of ``manifest.sha256`` for those of ``manifest.json``."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def decode(data: bytes) -> Manifest:
    """The manifest in `data`, which may come from anybody.

    Raises:
        IntegrityError: not JSON, a key twice, unknown or missing, a wrong type, too large, or
            paths that could leave the bundle, collide or contradict each other.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise IntegrityError(f"{MANIFEST} is larger than the {MAX_MANIFEST_BYTES} bytes allowed")
    try:
        content = json.loads(
            data.decode(), object_pairs_hook=_no_repeats, parse_constant=_no_constant
        )
        # JSON can spell half a character ("\ud800"), which nothing can print or write.
        json.dumps(content, ensure_ascii=False).encode()
        manifest = Manifest.from_json(content, where=MANIFEST)
    except EdgekitError as exc:
        raise IntegrityError(exc.message) from exc
    except (ValueError, RecursionError) as exc:
        raise IntegrityError(f"{MANIFEST} is not valid JSON: {exc}") from exc
    problems = [*_path_problems(manifest), *_reference_problems(manifest)]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise IntegrityError(f"{MANIFEST}: {problems[0]}{more}")
    return manifest


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Readers disagree on which of two equal keys counts; that is a way to show them two contents.
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")


def folded(path: str) -> str:
    """What file systems that ignore case or Unicode form take `path` for."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def parents(paths: Iterable[str]) -> set[str]:
    """The folders that the files at `paths` lie in, the bundle itself not among them."""
    return {
        str(folder)
        for path in paths
        for folder in PurePosixPath(path).parents
        if str(folder) != "."
    }


def path_problem(path: str) -> str:
    """Why `path` may not stand in a bundle; empty if it may."""
    if not is_safe_relative(path):
        return f"path {path!r} is not a plain relative path"
    if len(path.encode()) > MAX_PATH_BYTES or any(
        len(part.encode()) > MAX_NAME_BYTES for part in path.split("/")
    ):
        return f"path {path[:40]!r}… is too long"
    if any(unicodedata.category(char) == "Cc" for char in path):
        return f"path {path!r} has control characters in it"
    return ""


def _path_problems(manifest: Manifest) -> Iterable[str]:
    seen: dict[str, str] = {folded(own): own for own in (MANIFEST, SIDECAR, SIGNATURE)}
    for file in manifest.files:
        if problem := path_problem(file.path):
            yield problem
            continue
        other = seen.setdefault(folded(file.path), file.path)
        if other is not file.path:
            yield (
                f"path {file.path!r} is there twice"
                if other == file.path
                else f"paths {other!r} and {file.path!r} are the same file on some systems"
            )
    for folder in parents(file.path for file in manifest.files):
        if folded(folder) in seen:
            yield f"path {folder!r} is both a file and a folder"


def _reference_problems(manifest: Manifest) -> Iterable[str]:
    listed = {file.path for file in manifest.files}
    names = [artifact.variant for artifact in manifest.artifacts]
    for name in {name for name in names if names.count(name) > 1}:
        yield f"variant {name!r} is there twice"
    if manifest.default not in names:
        yield f"the default {manifest.default!r} is none of its variants"
    if manifest.bill is not None and manifest.bill not in listed:
        yield f"the bill of materials {manifest.bill!r} is not listed"
    for artifact in manifest.artifacts:
        wanted = [*artifact.files, *([artifact.labels] if artifact.labels is not None else [])]
        for path in wanted:
            if path not in listed:
                yield f"variant {artifact.variant!r} needs {path!r}, which is not listed"
