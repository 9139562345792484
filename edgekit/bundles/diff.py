"""Whether an app that runs one bundle can take another in its place, and what it gets for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit.bundles.manifest import BundledArtifact, Manifest
from edgekit.bundles.verify import whole_bundle
from edgekit.core.files import readable_bytes
from edgekit.core.preprocess_text import format_preprocessing
from edgekit.core.tensor import TensorSpec

Level = Literal["major", "minor", "patch", "none"]
LEVELS: tuple[Level, ...] = ("none", "patch", "minor", "major")


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        level: "major" where an app that was written for the old bundle fails or answers wrong.
        variant: whose it is; empty for the bundle's own.
    """

    level: Level
    variant: str
    text: str

    def __str__(self) -> str:
        return f"{self.variant}: {self.text}" if self.variant else self.text


@dataclass(frozen=True)
class Figures:
    """What a variant that both have came to, old and new; None where it is not known.

    Attributes:
        quality: title of the metric and both values, as people read them; empty if the two were
            not judged by the same metric on the same data.
        latency: on what, and both medians in ns; None if not measured alike.
    """

    variant: str
    size_bytes: tuple[int, int]
    quality: tuple[str, str, str] | None
    latency: tuple[str, float, float] | None


@dataclass(frozen=True)
class Difference:
    """What comes of comparing two bundles."""

    old: Manifest
    new: Manifest
    changes: tuple[Change, ...]
    figures: tuple[Figures, ...]

    @property
    def level(self) -> Level:
        """The greatest of the changes."""
        return max((change.level for change in self.changes), key=LEVELS.index, default="none")

    @property
    def fits(self) -> bool:
        """Whether an app written for the old bundle can take the new one."""
        return self.level != "major"

    @property
    def version_problem(self) -> str:
        """Why the new version number says something else than the changes; empty if it does not."""
        old, new = self.old.version, self.new.version
        if self.level == "none":
            return ""
        if order(new) <= order(old):
            return f"the version should rise: {old} to {new}"
        rise = _rise(old, new)
        if LEVELS.index(rise) < LEVELS.index(self.level):
            return f"the change is a {self.level} one, and {old} to {new} is a {rise} one"
        return ""

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "old": {"name": self.old.name, "version": self.old.version},
            "new": {"name": self.new.name, "version": self.new.version},
            "fits": self.fits,
            "level": self.level,
            "version_problem": self.version_problem,
            "changes": [
                {"level": each.level, "variant": each.variant, "text": each.text}
                for each in self.changes
            ],
            "figures": [
                {
                    "variant": each.variant,
                    "size_bytes": each.size_bytes,
                    "quality": each.quality,
                    "latency_ns": each.latency,
                }
                for each in self.figures
            ],
        }


def diff_bundles(old: Path, new: Path) -> Difference:
    """Compare the bundles, folders or tarballs.

    Raises:
        IntegrityError: one of them is not what its manifest says.
        InputError: one of them is no bundle.
    """
    with whole_bundle(old) as (old_folder, before), whole_bundle(new) as (new_folder, after):
        return compare(before, after, _labels(old_folder, before), _labels(new_folder, after))


def compare(
    old: Manifest,
    new: Manifest,
    old_labels: Mapping[str, list[str]],
    new_labels: Mapping[str, list[str]],
) -> Difference:
    """The difference of two bundles whose labels, by variant, are those."""
    changes = list(_bundle_changes(old, new))
    figures = []
    names = {artifact.variant for artifact in new.artifacts}
    for artifact in old.artifacts:
        name = artifact.variant
        if name not in names:
            changes.append(Change("major", name, "is not in the new bundle"))
            continue
        other = new.artifact(name)
        changes += _interface(name, artifact, other)
        changes += _label_changes(name, old_labels[name], new_labels[name])
        changes += _runtimes(name, artifact, other)
        if _digests(old, artifact) != _digests(new, other):
            changes.append(Change("patch", name, "the model itself is another"))
        figures.append(_figures(old, artifact, new, other))
    if old.default != new.default:
        changes.append(Change("minor", "", f"the default was {old.default}, and is {new.default}"))
        # An app that names no variant gets the new default for the old.
        before, after = old.artifact(old.default), new.artifact(new.default)
        changes += _interface(f"default, now {new.default}", before, after)
    known = {artifact.variant for artifact in old.artifacts}
    changes += [
        Change("minor", artifact.variant, "is new")
        for artifact in new.artifacts
        if artifact.variant not in known
    ]
    ordered = sorted(changes, key=lambda change: -LEVELS.index(change.level))
    return Difference(old, new, tuple(dict.fromkeys(ordered)), tuple(figures))


def order(version: str) -> tuple[Any, ...]:
    """Of versions as semver.org has it: 1.2.0-rc.2, 1.2.0-rc.10, 1.2.0."""
    number, _, before = version.partition("-")
    # Numbers come before words, and a version without either after all of them.
    parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in before.split("."))
    return tuple(int(part) for part in number.split(".")), not before, parts


def _rise(old: str, new: str) -> Level:
    before, after = (each.partition("-")[0].split(".") for each in (old, new))
    if before[0] != after[0]:
        return "major"
    if before[1] != after[1]:
        # Before 1.0.0 anything may change with the second number.
        return "major" if before[0] == "0" else "minor"
    return "patch"


def _bundle_changes(old: Manifest, new: Manifest) -> Iterator[Change]:
    if old.name != new.name:
        yield Change("major", "", f"the bundle was {old.name!r}, and is {new.name!r}")
    if old.licence != new.licence:
        was, now = (each or "not stated" for each in (old.licence, new.licence))
        yield Change("minor", "", f"the licence was {was}, and is {now}: read it")
    if old.provenance.profile != new.provenance.profile:
        boards = (old.provenance.profile, new.provenance.profile)
        yield Change("minor", "", "it was made for {}, and is for {}".format(*boards))


def _interface(name: str, old: BundledArtifact, new: BundledArtifact) -> Iterator[Change]:
    if old.format != new.format:
        yield Change("major", name, f"the format was {old.format}, and is {new.format}")
    yield from _tensors(name, "input", old.signature.inputs, new.signature.inputs)
    yield from _tensors(name, "output", old.signature.outputs, new.signature.outputs)
    if old.preprocessing != new.preprocessing:
        was, now = (format_preprocessing(each.preprocessing) for each in (old, new))
        yield Change("major", name, f"preprocessing was {was}, and is {now}")


def _tensors(
    name: str, side: str, old: tuple[TensorSpec, ...], new: tuple[TensorSpec, ...]
) -> Iterator[Change]:
    if [spec.name for spec in old] != [spec.name for spec in new]:
        was, now = (", ".join(repr(spec.name) for spec in specs) for specs in (old, new))
        yield Change("major", name, f"{side}s were {was}, and are {now}")
        return
    for before, after in zip(old, new, strict=True):
        where = f"{side} {before.name!r}"
        if (before.dtype, before.sizes) != (after.dtype, after.sizes):
            was, now = (f"{spec.dtype} {spec.sizes}" for spec in (before, after))
            level: Level = "minor" if _takes_all(before, after) and side == "input" else "major"
            yield Change(level, name, f"{where} was {was}, and is {now}")
        elif before.quantization != after.quantization:
            # An app reads it from the manifest, or has it written in it: only the first can go on.
            yield Change("major", name, f"{where} has another scale or zero point")


def _takes_all(old: TensorSpec, new: TensorSpec) -> bool:
    """Whether `new` takes every array that `old` did, and more."""
    if old.dtype != new.dtype or len(old.shape) != len(new.shape):
        return False
    return old.quantization == new.quantization and all(
        low >= least and high <= most
        for (low, high), (least, most) in zip(_ranges(old), _ranges(new), strict=True)
    )


def _ranges(spec: TensorSpec) -> Iterator[tuple[int, int]]:
    opened = {each.axis: (each.least, each.largest) for each in spec.open}
    for axis, size in enumerate(spec.shape):
        yield opened.get(axis, (size or 0, size or 0))


def _label_changes(name: str, old: list[str], new: list[str]) -> Iterator[Change]:
    if old == new:
        return
    if not new:
        yield Change("major", name, f"the {len(old)} labels are gone")
    elif not old:
        yield Change("minor", name, f"{len(new)} labels were added")
    elif new[: len(old)] == old:
        yield Change("minor", name, f"{len(new) - len(old)} labels were added at the end")
    else:
        place = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), None)
        if place is None:
            yield Change("major", name, f"there were {len(old)} labels, and are {len(new)}")
        else:
            was, now = old[place], new[place]
            yield Change("major", name, f"label {place} was {was!r}, and is {now!r}")


def _runtimes(name: str, old: BundledArtifact, new: BundledArtifact) -> Iterator[Change]:
    """Runtimes that were seen to run the old one and refuse the new."""
    good = {(load.runtime, load.version) for load in old.verdict.loads if load.ok}
    for load in new.verdict.loads:
        if not load.ok and (load.runtime, load.version) in good:
            yield Change("major", name, f"{load.runtime} {load.version} refuses it")
    if old.verdict.status == "accepted" != new.verdict.status:
        yield Change("major", name, f"was accepted by verification, and is {new.verdict.status}")


def _figures(
    old_bundle: Manifest, old: BundledArtifact, new_bundle: Manifest, new: BundledArtifact
) -> Figures:
    before, after = old.verdict.score, new.verdict.score
    quality = None
    alike = old_bundle.provenance.evaluation_digest == new_bundle.provenance.evaluation_digest
    if before is not None and after is not None and alike and before.metric == after.metric:
        quality = (after.title, before.said(before.value), after.said(after.value))
    latency = None
    for taken in new.measured:
        for other in old.measured:
            same = (taken.device, taken.runtime, taken.settings) == (
                *(other.device, other.runtime, other.settings),
            )
            if latency is None and same and not (taken.emulated or other.emulated):
                values = (other.summary.median_ns.value, taken.summary.median_ns.value)
                latency = (f"{taken.device}, {taken.settings.threads} threads", *values)
    sizes = (
        sum(f.size_bytes for f in old_bundle.files if f.path in old.files),
        sum(f.size_bytes for f in new_bundle.files if f.path in new.files),
    )
    return Figures(old.variant, sizes, quality, latency)


def said(figures: Figures) -> Iterable[str]:
    """The figures of a variant in words, one a line."""
    size = " → ".join(readable_bytes(count) for count in figures.size_bytes)
    yield f"{figures.variant}: size {size}"
    if figures.quality is not None:
        yield "{}: {} {} → {}".format(figures.variant, *figures.quality)
    else:
        yield f"{figures.variant}: quality was not judged by the same metric on the same data"
    if figures.latency is not None:
        where, old, new = figures.latency
        times = f"{old / 1e6:.3g} ms → {new / 1e6:.3g} ms"
        yield f"{figures.variant}: median {times}, ×{new / old:.2f} ({where})"
    else:
        yield f"{figures.variant}: latency was not measured alike for both"


def _digests(manifest: Manifest, artifact: BundledArtifact) -> list[str]:
    known = {file.path: file.sha256 for file in manifest.files}
    return [known[path] for path in artifact.files]


def _labels(folder: Path, manifest: Manifest) -> dict[str, list[str]]:
    return {
        artifact.variant: (folder / artifact.labels).read_text(encoding="utf-8").split("\n")[:-1]
        if artifact.labels
        else []
        for artifact in manifest.artifacts
    }
