"""Builds the native runner for kinds of boards, to look at or to try by hand.

    python tools/build_native.py [MACHINE …] [-o build/native]

MACHINE is what `uname -m` says there; all that zig builds for if none is given. edgekit itself
builds what it needs when it needs it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgekit.core.errors import EdgekitError
from edgekit.measure.native_program import NAME, TARGETS, native_program


def main() -> int:
    parser = argparse.ArgumentParser(description="builds the native runner")
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help=", ".join(TARGETS))
    parser.add_argument("-o", "--output", type=Path, default=Path("build/native"))
    options = parser.parse_args()
    for machine in options.machines or TARGETS:
        try:
            program = native_program(machine)
        except EdgekitError as exc:
            print(f"error: {exc}", file=sys.stderr)
            return exc.exit_code
        options.output.mkdir(parents=True, exist_ok=True)
        target = options.output / f"{NAME}-{machine}"
        shutil.copy2(program, target)
        print(f"{target}  {target.stat().st_size / 1000:.1f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
