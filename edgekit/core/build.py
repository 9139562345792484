"""A build: the folder that `convert` leaves and that `profile` and `bundle` take.

build.json              this noun
artifacts/<file>        what runs on the board
check/                  sample inputs, and what each artifact answers on this computer; what each
                        sample of the evaluation set scored
report.html             the report
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgekit.core.artifact import Artifact
from edgekit.core.choice import Choice, preferred
from edgekit.core.compression import PassReport
from edgekit.core.description import Coverage
from edgekit.core.errors import InputError, RejectedError, UnknownNameError, UsageError
from edgekit.core.files import is_safe_relative, sha256_file, write_json
from edgekit.core.model import Model
from edgekit.core.noun import Noun
from edgekit.core.preprocessing import Preprocessing
from edgekit.core.profile import DeviceProfile
from edgekit.core.recipe import Recipe
from edgekit.core.result import Result
from edgekit.core.tensor import Signature
from edgekit.core.verdict import Verdict

BUILD_FILE = "build.json"
MAX_BUILD_BYTES = 64 * 2**20


class Variant(Noun):
    """One line of the plan and what became of it; `artifact` is None if it could not be made.

    `coverage` says which operators run where, as far as it is known. `convert_seconds` and
    `convert_peak_bytes` (resident memory of one process) are what all steps that led to the
    artifact cost when they were done; steps that variants share count in each. `passes` tells what
    was done to the model before it was exported.
    """

    recipe: Recipe
    named: bool
    artifact: Artifact | None
    verdict: Verdict
    coverage: Coverage | None = None
    convert_seconds: float | None = None
    convert_peak_bytes: int | None = None
    passes: tuple[PassReport, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Of the artifact; 0 if there is none."""
        return self.artifact.size_bytes if self.artifact else 0


class CheckSet(Noun):
    """Sample inputs in the build, on which a board must answer what this computer answers.

    ``check/inputs.npz`` holds the source model's inputs (key: input name, shape (samples, …)),
    ``check/<variant>.npz`` the artifact's inputs (``in:<name>``) and outputs (``out:<name>``) as
    the artifact itself takes and gives them on this computer.
    """

    samples: int


class DataNote(Noun):
    """What data was used for what, and what was done to it that the user may not expect.

    `judged_on` says what the verdicts rest on; `overlap` counts samples that are in both sets.
    """

    calibration: str = ""
    calibration_digest: str = ""
    calibration_samples: int = 0
    evaluation: str = ""
    evaluation_digest: str = ""
    evaluation_samples: int = 0
    judged_on: Literal["evaluation", "calibration", "random"] = "evaluation"
    overlap: int = 0
    notes: tuple[str, ...] = ()


class Build(Noun):
    """A model, converted for one kind of board."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: str
    created: str
    edgekit_version: str
    model: Model
    signature: Signature
    profile: DeviceProfile
    preprocessing: Preprocessing
    labels: tuple[str, ...] = ()
    data: DataNote = DataNote()
    check: CheckSet | None = None
    variants: tuple[Variant, ...]
    folder: Path = Field(default=Path(), exclude=True)  # where it was read from or written to

    @property
    def accepted(self) -> list[Variant]:
        return [v for v in self.variants if v.verdict.status == "accepted" and v.artifact]

    def preferred(self, results: Sequence[Result] = ()) -> Choice:
        """What is taken where no variant is named; see `edgekit.core.choice.preferred`.

        Args:
            results: what was measured; without them it is a rule of thumb.

        Raises:
            RejectedError: none was accepted.
        """
        return preferred(self._usable(), self.profile, results)

    def variant(self, name: str) -> Variant:
        """The variant called `name`, accepted or not.

        Raises:
            UnknownNameError: no variant has that name.
            RejectedError: it could not be made.
        """
        for variant in self.variants:
            if variant.recipe.name == name:
                if variant.artifact is None:
                    raise RejectedError(
                        f"{name} was not made: {'; '.join(variant.verdict.reasons)}"
                    )
                return variant
        raise UnknownNameError(
            "variant in this build", name, [v.recipe.name for v in self.variants]
        )

    def choose(
        self, names: Sequence[str] = (), *, every: bool = False, results: Sequence[Result] = ()
    ) -> tuple[Variant, ...]:
        """Those called `names`, accepted or not; or every accepted one; or the preferred one.

        Raises:
            UsageError: both names and `every` are given.
            UnknownNameError, RejectedError: see `variant` and `preferred`.
        """
        if names and every:
            raise UsageError("--variant and --all exclude each other")
        if names:
            return tuple(self.variant(name) for name in dict.fromkeys(names))
        return tuple(self._usable()) if every else (self.preferred(results).variant,)

    def _usable(self) -> list[Variant]:
        if not self.accepted:
            raise RejectedError(
                f"the build {self.name!r} has no accepted artifact",
                hint="name one with --variant to use it all the same",
            )
        return self.accepted


def rows_file(folder: Path, variant: str) -> Path:
    """What the source and a variant scored on each sample, in the build in `folder`."""
    return folder / "check" / f"{variant}.rows.npz"


def save_build(build: Build, folder: Path) -> None:
    """Write ``build.json`` into `folder`. Raises OutputError."""
    write_json(folder / BUILD_FILE, build.to_json())


def load_build(folder: Path) -> Build:
    """Read the build in `folder`; every artifact file must be there with its digest.

    Raises:
        InputError: not a build, or one of its files is missing or was changed.
    """
    path = folder / BUILD_FILE if folder.is_dir() else folder
    try:
        if not path.is_file() or path.stat().st_size > MAX_BUILD_BYTES:  # a device has no end
            raise ValueError(f"no plain file of at most {MAX_BUILD_BYTES} bytes")
        data = json.loads(path.read_text(encoding="utf-8"))
        # JSON can spell half a character ("\ud800"), which nothing can print or write.
        json.dumps(data, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as exc:
        damaged = isinstance(exc, json.JSONDecodeError) and path.name == BUILD_FILE
        what = (
            f"its {BUILD_FILE} is damaged, {exc}" if damaged else f"no readable {BUILD_FILE} in it"
        )
        raise InputError(
            f"{str(folder)!r} is not a build: {what}",
            hint="edgekit convert MODEL --for PROFILE -o DIR makes one",
        ) from exc
    build = Build.from_json(data, where=str(path)).model_copy(update={"folder": path.parent})
    for variant in build.variants:
        for file in variant.artifact.files if variant.artifact else ():
            on_disk = path.parent / file.path
            if not is_safe_relative(file.path) or not on_disk.is_file():
                raise InputError(
                    f"{path}: its file {file.path!r} is missing", hint="convert the model again"
                )
            if not on_disk.resolve().is_relative_to(path.parent.resolve()):
                raise InputError(f"{path}: its file {file.path!r} is a link out of the build")
            if on_disk.stat().st_size != file.size_bytes or sha256_file(on_disk) != file.sha256:
                raise InputError(
                    f"{path}: its file {file.path!r} was changed after the build",
                    hint="run edgekit convert again; what did not change comes from the cache",
                )
    return build
