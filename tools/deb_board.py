"""Installs a build's .deb on an aarch64 Debian 12, runs the model there, and compares the answers.

    sudo .venv/bin/python tools/deb_board.py BUILD FOLDER [--variant int8 …]

The board is that of tools/arm64_board.py: qemu's user mode, reached over SSH. On it dpkg installs
the package (its dependencies are there and are checked), a program imports the module by its name
and predicts, and dpkg takes the package away again. The same program with the same numbers runs
here from the bundle. Exit code 1 where the answers differ by more than rounding does.

FOLDER keeps the board's root for the next time: making it takes minutes, all else seconds. The
runtime comes from pip, as nobody has it in a .deb.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

import arm64_board  # noqa: E402

from edgekit.bundles import About, package_linux  # noqa: E402
from edgekit.bundles.classes import class_names, module_name  # noqa: E402
from edgekit.core.build import load_build  # noqa: E402
from tests.sshd import free_port  # noqa: E402

ABOUT = About(
    version="1.2.0", licence="Apache-2.0", maintainer="Ada Byron <ada@example.org>"
)  # fmt: skip
RUNTIME = ("ai-edge-litert==2.3.0", "flatbuffers")
PLATFORMS = ("manylinux_2_34_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64", "any")
SITE = "usr/local/lib/python3.11/dist-packages"
STEP = 1 / 256  # a quantized output may differ by one: its sums are rounded in another order

PROGRAM = """
import json, platform, sys
import numpy
from {module} import {kind}
with {kind}() as model:
    made = numpy.random.RandomState(7)
    samples = []
    for spec in model.INPUTS:
        size = [n if isinstance(n, int) else 32 for n in spec.shape[1:]]
        if "height" in spec.takes:
            size = [48, 40, 3]
        dtype = spec.takes.split()[0]
        low, high = (0, 256) if dtype == "uint8" else (-1, 1)
        samples.append(made.uniform(low, high, size).astype(dtype))
    answers = {{name: array.tolist() for name, array in model.predict(*samples).items()}}
    print(json.dumps([platform.machine(), model.applied, answers]))
"""


def output(*command: object, text: bytes | str | None = None) -> str:
    given = text.encode() if isinstance(text, str) else text
    done = subprocess.run(list(map(str, command)), input=given, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))[:200]}: {done.stderr.decode()[-2000:]}")
    return done.stdout.decode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("folder", type=lambda text: Path(text).absolute())
    parser.add_argument("--variant", action="append", default=[])
    asked = parser.parse_args()
    build, folder = load_build(asked.build), asked.folder
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "root"
    arm64_board.register_qemu()
    if not root.exists():
        part = folder / "part"
        shutil.rmtree(part, ignore_errors=True)
        arm64_board.make_root(part, packages=True)
        part.rename(root)
    output(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade",
        "--only-binary=:all:", *(f"--platform={name}" for name in PLATFORMS),
        "--python-version=3.11", f"--target={root / SITE}", *RUNTIME,
    )  # fmt: skip

    shutil.rmtree(folder / "dist", ignore_errors=True)
    made = package_linux(
        build, folder / "dist", variants=asked.variant, about=ABOUT, abis=["arm64"]
    )
    deb = made.packages[1]
    module, names = module_name(made.manifest.name), [a.variant for a in made.manifest.artifacts]
    state = folder / "state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    (state / "root").symlink_to(root)
    arm64_board.start(state, free_port())
    ssh = ("ssh", "-F", state / "ssh_config", "board")
    bad = False
    try:
        output(*ssh, f"cat > /root/{deb.name}", text=deb.read_bytes())
        print(output(*ssh, f"dpkg -i /root/{deb.name}").strip())
        print(output(*ssh, f"dpkg -s {deb.name.partition('_')[0]} | head -2").strip())
        for variant, kind in class_names(names).items():
            program = PROGRAM.format(module=module, kind=kind)
            there = json.loads(output(*ssh, "python3 -B -", text=program).splitlines()[-1])
            here = json.loads(
                output(
                    "env", f"PYTHONPATH={made.folder}", sys.executable, "-B", "-", text=program
                ).splitlines()[-1]
            )
            for name, answer in here[2].items():
                one, other = np.array(answer), np.array(there[2][name])
                differ = float(np.abs(one - other).max())
                floats = build.variant(variant).recipe.quantization in ("none", "float16")
                allowed = float(np.abs(one).max()) * (1e-4 if floats else STEP) + 1e-6
                bad |= not differ <= allowed
                print(
                    f"{kind}: {name} {list(one.shape)} on {there[0]} by {there[1]} and on "
                    f"{here[0]} by {here[1]}: differ by {differ:.2g}, {allowed:.2g} allowed: "
                    f"{'ok' if differ <= allowed else 'NOT OK'}"
                )
                print(f"  board {np.ravel(other)[:6]}\n  here  {np.ravel(one)[:6]}")
        package = deb.name.partition("_")[0]
        print(f"dpkg --verify says: {output(*ssh, f'dpkg --verify {package}').strip() or 'whole'}")
        print(output(*ssh, f"dpkg -P {package}").strip().splitlines()[-1])
        output(*ssh, f"test ! -e /usr/share/{package}")
    finally:
        arm64_board.stop(state)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
