"""The boards of the tests on this computer, to try edgekit by hand on several at once.

    sudo python tools/boards.py up /tmp/lab             # prints what to type then
    sudo python tools/boards.py up /tmp/lab --arm64     # with an aarch64 board, under qemu
    sudo python tools/boards.py down /tmp/lab

ant, bee and cat have a network each (pull a cable: ip link set CABLE down; the cables are printed);
tiny has busybox and dropbear, and neither SFTP nor Python (`tests/boards_netns.py`,
`tests/boards_busybox.py`, `tools/arm64_board.py`). Needs root, Linux, and the Debian packages
openssh-server, iproute2, dropbear-bin and busybox-static. All of them compute on this computer:
what is measured on several at once means nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import psutil
import pytest

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]

import arm64_board  # noqa: E402

from tests.boards_busybox import BusyboxBoard  # noqa: E402
from tests.boards_netns import NamespaceBoard  # noqa: E402
from tests.sshd import SSHServer, beside, end, free_port  # noqa: E402

STATE = "servers.json"


def up(folder: Path, arm64: bool) -> None:
    if folder.exists():
        sys.exit(f"{folder} is there already: name another, or down it first")
    folder.mkdir(parents=True)
    boards: dict[str, SSHServer] = {}
    try:
        for name in ("ant", "bee", "cat"):
            boards[name] = NamespaceBoard(folder / name)
        boards["tiny"] = BusyboxBoard(folder / "tiny", folder)
        if arm64:
            arm64_board.up(folder / "arm64", free_port())
    except BaseException as exc:
        for board in boards.values():
            board.stop()
        shutil.rmtree(folder)
        if isinstance(exc, pytest.skip.Exception):
            sys.exit(str(exc))
        raise
    texts = []
    for name, board in boards.items():
        board.trust()
        texts.append(board.config_text(name))
    pids = {name: board._process.pid for name, board in boards.items() if board._process}
    (folder / STATE).write_text(json.dumps(pids))
    if arm64:
        text = (folder / "arm64" / "ssh_config").read_text()
        texts.append(text.replace("Host board\n", "Host arm\n", 1))
    (folder / "ssh_config").write_text("".join(texts))
    names = [*boards, *(["arm"] if arm64 else [])]
    entries = (f'\n[boards.{n}]\naddress = "ssh://{n}"\ngroups = ["lab"]\n' for n in names)
    python = {name: f"python = {json.dumps(sys.executable)}\n" for name in ("ant", "bee", "cat")}
    toml = "".join(e + python.get(n, "") for n, e in zip(names, entries, strict=True))
    (folder / "boards.toml").write_text(f"schema = 1\n{toml}")
    for name, board in boards.items():
        cable = f", cable {board.cable}" if isinstance(board, NamespaceBoard) else ""
        print(f"# {name}: {board.address}{cable}")
    print(f"export EDGEKIT_SSH_CONFIG={folder}/ssh_config EDGEKIT_BOARDS={folder}/boards.toml")
    for words in ("boards", "devices probe tiny", "profile BUILD --on group:lab"):
        print(f"edgekit {words}")


def down(folder: Path) -> None:
    """Stops what `up` has started, and removes the folder."""
    state = folder / STATE
    if not state.exists():
        sys.exit(f"{folder} holds no boards: there is no {STATE}")
    for pid in json.loads(state.read_text()).values():
        # The number may be another process's by now, after a restart of this computer.
        if psutil.pid_exists(pid) and str(folder) in " ".join(psutil.Process(pid).cmdline()):
            end([*beside(pid), psutil.Process(pid)])  # a namespace and its cable go with the last
    if (folder / "arm64").exists():
        arm64_board.down(folder / "arm64")
    shutil.rmtree(folder)


def apart_from_this_terminal() -> None:
    """Go on in a process whose children outlive the terminal; this one ends as that one does."""
    child = os.fork()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.setsid()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["up", "down"])
    parser.add_argument("folder", type=lambda text: Path(text).absolute())
    parser.add_argument("--arm64", action="store_true", help="with an aarch64 board, under qemu")
    arguments = parser.parse_args()
    if arguments.what == "up":
        apart_from_this_terminal()
        up(arguments.folder, arguments.arm64)
    else:
        down(arguments.folder)
