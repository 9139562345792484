"""Builds the native runner for kinds of boards, to look at or to try by hand.

    python tools/build_native.py [MACHINE …] [--executorch] [-o build/native]

MACHINE is what `uname -m` says there; all that zig builds for if none is given. With --executorch
also the module for ExecuTorch and the libraries that it is loaded after, where there is a wheel.
edgekit itself builds what it needs when it needs it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgekit.core.errors import EdgekitError
from edgekit.measure.native_executorch import executorch_for, native_module
from edgekit.measure.native_program import NAME, TARGETS, native_program
from edgekit.measure.native_wheel import PLATFORMS


def main() -> int:
    parser = argparse.ArgumentParser(description="builds the native runner")
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help=", ".join(TARGETS))
    parser.add_argument("--executorch", action="store_true", help="also its module and libraries")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/native"))
    options = parser.parse_args()
    for machine in options.machines or TARGETS:
        try:
            made = [(native_program(machine), options.output / f"{NAME}-{machine}")]
            if options.executorch and machine in PLATFORMS:
                package = executorch_for(machine)
                there = options.output / f"executorch-{machine}"
                files = [*package.libraries, native_module(package)]
                made += [(path, there / path.name) for path in files]
        except EdgekitError as exc:
            print(f"error: {exc}", file=sys.stderr)
            return exc.exit_code
        for path, target in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
            print(f"{target}  {target.stat().st_size / 1000:.1f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
