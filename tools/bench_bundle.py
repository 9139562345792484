"""What bundling a large model costs, against a plain copy and SHA-256 of it.

    python tools/bench_bundle.py [--rounds 7] [--megabytes 200]

In each round, in turns and each in a process of its own: the model is copied and the copy hashed;
bundled; bundled and signed; the bundle is verified; and the file is hashed alone. Prints medians of
the ratios within a round, and by how much the peak of the memory rose above what the process had
with everything imported. What was written before is synced to disk before each of them, and none
waits for what it writes itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgekit.bundles import Signer, Trust, bundle_linux, make_key, verify_bundle
from edgekit.core.build import load_build
from edgekit.core.files import sha256_file
from tests.samples import write_build

WAYS = ("copy", "bundle", "signed", "hash", "verify")


def one(way: str, folder: Path, place: Path) -> dict[str, float]:
    """Seconds, of the processor too, and MB by which the peak of the memory rose."""
    build = load_build(folder / "build")
    model = folder / "build" / "artifacts" / "digits-int8.tflite"
    signer = Signer(folder / "key.pem")
    with tempfile.TemporaryDirectory() as name:  # imports what is imported on first use
        write_build(Path(name, "build"), variants=("int8",), failures=False)
        tiny = bundle_linux(load_build(Path(name, "build")), Path(name, "out"), signer=signer)
        verify_bundle(tiny.folder, trust=Trust(public_key=folder / "key.pub.pem"))
    actions: dict[str, Callable[[], object]] = {
        "copy": lambda: sha256_file(shutil.copyfile(model, place)),
        "bundle": lambda: bundle_linux(build, place),
        "signed": lambda: bundle_linux(build, place, signer=signer),
        "hash": lambda: hashlib.file_digest(open(model, "rb"), "sha256"),  # noqa: SIM115
        "verify": lambda: verify_bundle(
            folder / "product", trust=Trust(public_key=folder / "key.pub.pem")
        ),
    }
    os.sync()
    before = peak_kb()
    began, used = time.perf_counter(), time.process_time()
    actions[way]()
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    return {"seconds": seconds, "cpu": cpu, "megabytes": (peak_kb() - before) * 1024 / 1e6}


def peak_kb() -> int:
    """Of this program alone: getrusage also counts the process that it was started from."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def main() -> int:
    parser = argparse.ArgumentParser(description="bundling against copying and hashing")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, folder, place = options.one
        print(json.dumps(one(way, Path(folder), Path(place))))
        return 0
    taken: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = {"int8": options.megabytes * 10**6}
        write_build(folder / "build", variants=("int8",), failures=False, artifact_bytes=size)
        make_key(folder / "key.pem")
        build = load_build(folder / "build")
        bundle_linux(build, folder / "product", signer=Signer(folder / "key.pem"))
        for number in range(options.rounds):
            # In another order each time, and removed afterwards: a removal costs the next one.
            order = random.Random(number).sample(WAYS, len(WAYS))
            places = {way: folder / f"{way}-{number}" for way in order}
            for way in order:
                command = [sys.executable, __file__, "--one", way, name, str(places[way])]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                taken[way].append(json.loads(done.stdout))
            for place in places.values():
                if place.is_dir():
                    shutil.rmtree(place)
                else:
                    place.unlink(missing_ok=True)
    print(f"{options.megabytes} MB, {options.rounds} rounds")
    for way, against in (("bundle", "copy"), ("signed", "copy"), ("verify", "hash")):
        pairs = list(zip(taken[way], taken[against], strict=True))
        ratios = [ours["seconds"] / theirs["seconds"] for ours, theirs in pairs]
        cpu = statistics.median(ours["cpu"] / theirs["cpu"] for ours, theirs in pairs)
        times = [each["seconds"] for each in taken[way]]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        peak = max(each["megabytes"] for each in taken[way])
        print(
            f"{way:<7} median {statistics.median(times):.3f} s, "
            f"x{statistics.median(ratios):.2f} of {against} {spread}, "
            f"processor time x{cpu:.2f}, peak {peak:+.1f} MB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
