"""The demo job: the whole way once, on real handwritten digits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgekit.bundles import About, Signer, Trust, make_key, verify_bundle
from edgekit.core.build import Build
from edgekit.core.errors import OutputError
from edgekit.core.files import unwritable
from edgekit.core.recipe import BUILTIN
from edgekit.core.result import Result
from edgekit.jobs.bundle import Target, bundle
from edgekit.jobs.convert import convert, require_usable
from edgekit.jobs.plan import Wish, make_plan
from edgekit.jobs.profile import Progress as DeviceProgress
from edgekit.jobs.profile import profile
from edgekit.jobs.results import write_page
from edgekit.work.cache import Cache
from edgekit.work.pool import Pool
from edgekit.work.steps import Done, Progress, Step, run_steps

BOARD = "raspberry-pi-5"
FILES = ("digits.keras", "calibration.npz", "test.npz", "labels.txt")
SEED = 1
KEY = "key.pem"
MAINTAINER = "edgekit's demo <demo@example.org>"
TARGETS: dict[str, Target] = {"Linux": "linux", "Android": "android"}


@dataclass(frozen=True)
class Trained:
    """The demo's model and data, in the demo's folder."""

    folder: Path
    accuracy: float
    trained_on: int
    held_out: int


def train(folder: Path, *, progress: Progress) -> Trained:
    """Train the digits model, once, and put it and its data into `folder`.

    Raises:
        OutputError: the folder is there and is not a demo's, or cannot be written.
    """
    if folder.exists() and not (folder / FILES[0]).is_file() and any(folder.iterdir()):
        raise OutputError(
            f"{str(folder)!r} exists and is not a demo; it is left alone",
            hint="choose another folder with -o",
        )
    step = Step(
        title="train on handwritten digits",
        function="edgekit.jobs.demo_worker:train",
        worker="tensorflow",
        arguments={"seed": SEED},
        tools=("tensorflow", "keras", "scikit-learn"),
    )
    with Pool() as pool:
        outcome = run_steps([step], pool=pool, cache=Cache(), progress=progress)[step]
    if not isinstance(outcome, Done):
        raise outcome
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            shutil.copyfile(outcome.folder / name, folder / name)
    except OSError as exc:
        raise unwritable(folder, exc) from exc
    return Trained(folder, **outcome.result)


def convert_digits(trained: Trained, *, progress: Progress) -> Build:
    """All variants for the demo's board."""
    labels = (trained.folder / "labels.txt").read_text(encoding="utf-8").split()
    wish = Wish(
        model=str(trained.folder / "digits.keras"),
        profile=BOARD,
        variants=tuple(BUILTIN),
        calibration=str(trained.folder / "calibration.npz"),
        evaluation=str(trained.folder / "test.npz"),
        labels=tuple(labels),
    )
    build = convert(make_plan(wish), trained.folder / "build", progress=progress)
    require_usable(build)
    return build


def measure_here(build: Build, *, progress: DeviceProgress) -> list[Result]:
    """All accepted variants, on this computer."""
    results = profile(build, on="local", every=True, progress=progress)
    write_page(build, build.folder)
    return results


def bundle_best(build: Build, say: Callable[[str], None]) -> dict[str, Path]:
    """The best variant as signed bundles, for Linux and for Android, which are then checked.

    Returns:
        By what it is: the key, what a Linux board installs, and an Android app's module.
    """
    folder = build.folder.parent
    key = folder / KEY
    public = key.with_name("key.pub.pem")
    if not public.is_file():
        public = make_key(key)
    about = About(
        "digits", "1.0.0", "Which of ten digits it is", licence="Apache-2.0", maintainer=MAINTAINER
    )
    signer, places = Signer(key), {"public key": public}
    for system, target in TARGETS.items():
        made = bundle(build, folder / target, about=about, signer=signer, target=target)
        signed = verify_bundle(made.folder, trust=Trust(public_key=public)).signed
        assert signed is not None
        say(f"{system}: {len(made.manifest.files)} files as they were signed, by {signed.by}")
        root = folder / target
        inside = root / made.folder.name if made.packages else root
        places |= {f"{system} bundle": inside}
        places |= {f"{each.suffix} of it": root / each.name for each in made.packages}
    return places
