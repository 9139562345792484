"""Swift for tests: a parser that is always there, and the compiler where it was fetched.

The compiler is Debian 13's, in a root folder of its own (tools/fetch_swift.sh, or
EDGEKIT_TEST_SWIFT), and is entered by chroot in a mount namespace, so that nothing stays mounted.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tree_sitter
import tree_sitter_swift

HERE = Path(__file__).parent / "bundles" / "ios"
STUBS = HERE / "stubs"
ROOT = Path(os.environ.get("EDGEKIT_TEST_SWIFT", Path(__file__).parents[1] / ".make/swift"))
WORK = "/mnt"  # where the root sees the test's folder
# By what the package is built here: doubles in place of what Xcode fetches.
DOUBLES = {
    "https://github.com/google-ai-edge/LiteRT.git": "LiteRT",
    "https://github.com/pytorch/executorch.git": "executorch",
}
ENTER = """\
root=$1; work=$2; shift 2
mount --rbind /proc "$root/proc" && mount --rbind /dev "$root/dev" || exit 125
mount --bind "$work" "$root/mnt" || exit 125
exec chroot "$root" /usr/bin/env -i PATH=/usr/libexec/swift/bin:/usr/bin HOME=/tmp "$@"
"""
DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float32", "bool")


def syntax_problems(source: bytes) -> list[str]:
    """Where a parser of Swift does not understand `source`."""
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language()))

    def found(node: tree_sitter.Node) -> Iterator[str]:
        if node.type == "ERROR" or node.is_missing:
            text = (node.text or b"").decode(errors="replace")[:60]
            yield f"line {node.start_point.row + 1}: {text!r}"
        elif node.has_error:
            for child in node.children:
                yield from found(child)

    return list(found(parser.parse(source).root_node))


def needs_swift() -> None:
    if not (ROOT / "usr/libexec/swift/bin/swift-build").exists():
        pytest.skip("needs Swift, 560 MB: tools/fetch_swift.sh gets it")
    if os.geteuid() != 0:
        pytest.skip("Swift in a root folder of its own needs root")


def enter(work: Path, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in the root folder, which sees `work` as /mnt."""
    (ROOT / "mnt").mkdir(exist_ok=True)
    outer = ["unshare", "--mount", "--", "sh", "-c", ENTER, "sh"]
    return [*outer, str(ROOT.resolve()), str(work.resolve()), *command]


class Package:
    """A package of a bundle, over doubles of what Xcode would fetch."""

    def __init__(self, package: Path, work: Path, programs: dict[str, str]) -> None:
        """Copy `package` and the doubles below `work`.

        Args:
            programs: names and sources of programs beside the module, which the sources call
                EdgekitModels.
        """
        self.name, self.work = package.name, work
        self.folder = work / self.name
        shutil.copytree(package, self.folder)
        shutil.copytree(STUBS, work / "stubs")
        file = self.folder / "Package.swift"
        text = file.read_text()
        for url, double in DOUBLES.items():
            start, found, rest = text.partition(f'.package(url: "{url}"')
            if found:
                text = f'{start}.package(path: "../stubs/{double}"{rest[rest.index(")") :]}'
        own = '    .package(path: "../stubs/Apple"),\n'
        text = text.replace("  dependencies: [\n", f"  dependencies: [\n{own}", 1)
        needed = "".join(
            f'        .product(name: "{name}", package: "Apple"),\n'
            for name in ("CryptoKit", "CoreGraphics", "CoreVideo")
        )
        text = text.replace("      dependencies: [\n", f"      dependencies: [\n{needed}", 1)
        for program, source in programs.items():
            target = f'    .executableTarget(name: "{program}", dependencies: ["{self.name}"]),\n'
            text = text.replace("  targets: [\n", f"  targets: [\n{target}", 1)
            place = self.folder / "Sources" / program / "main.swift"
            place.parent.mkdir()
            place.write_text(source.replace("EdgekitModels", self.name))
        file.write_text(text)

    def swift(self, *words: str) -> str:
        """The output of ``swift WORDS`` on the package."""
        command = ["swift", words[0], "--package-path", f"{WORK}/{self.name}", *words[1:]]
        done = subprocess.run(
            enter(self.work, command), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def program(self, name: str, *words: str) -> list[str]:
        """The command line of one of the programs, once it was built."""
        path = f"{WORK}/{self.name}/.build/debug/{name}"
        return enter(self.work, [path, *words])


class Steps:
    """The program `Steps.swift`, which preprocesses what it is given."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def ask(self, steps: Sequence[dict[str, Any]], array: Any) -> np.ndarray[Any, Any] | str:
        """What the steps make of the array; the words of the error where they refuse it."""
        given = np.asarray(array)
        head = {"steps": steps, "kind": given.dtype.name, "shape": given.shape}
        pipe = self._process.stdin
        assert pipe is not None
        pipe.write(json.dumps(head).encode() + b"\n" + given.tobytes())
        pipe.flush()
        answer = json.loads(self._line())
        if "error" in answer:
            return str(answer["error"])
        dtype = np.dtype(answer["kind"])
        pipe_out = self._process.stdout
        assert pipe_out is not None
        data = pipe_out.read(int(np.prod(answer["shape"], dtype=int)) * dtype.itemsize)
        return np.frombuffer(data, dtype).reshape(answer["shape"])

    def _line(self) -> bytes:
        pipe = self._process.stdout
        assert pipe is not None
        line = pipe.readline()
        assert line, "the program ended"
        return line
