"""Debian 13's real adbd, which listens to anybody on a fixed port: in a network of its own.

Run as a program it is what stands between: it is given a socket that listens outside, starts adbd
inside, passes connections on, and ends both when its standard input is closed. (adbd listens on
vsock too, which has no namespaces: a virtual machine's host could reach it.)
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

PORT = 5555
FOLDER = Path(os.environ.get("EDGEKIT_TEST_ADBD", Path(__file__).parents[1] / ".make/adbd"))
PROGRAM = FOLDER / "usr/lib/android-sdk/platform-tools/adbd"


class RealAdbd:
    """adbd with a port of this computer's in front of it."""

    def __init__(self, log: Path) -> None:
        if not PROGRAM.exists():
            pytest.skip("needs the Debian package adbd of Debian 13: tools/fetch_adbd.sh gets it")
        if os.geteuid() != 0:
            pytest.skip("a network namespace needs root")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.serial = f"127.0.0.1:{listener.getsockname()[1]}"
            with open(log, "wb") as file:
                self._process = subprocess.Popen(
                    ["unshare", "-n", "--", sys.executable, __file__, str(listener.fileno())],
                    pass_fds=[listener.fileno()],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=file,
                )

    def stop(self) -> None:
        self._process.communicate()


def _relay(listener: socket.socket, port: int) -> None:
    while True:
        outside, _ = listener.accept()
        for _ in range(1200):  # adbd has only just been started
            try:
                inside = socket.create_connection(("127.0.0.1", port))
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        else:
            outside.close()
            raise AssertionError("adbd does not listen")
        for pair in ((outside, inside), (inside, outside)):
            threading.Thread(target=_pass, args=pair, daemon=True).start()


def _pass(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()  # the other direction has ended


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    libraries = next(FOLDER.glob("usr/lib/*-linux-gnu*"))
    loader = next(libraries.glob("ld-linux-*.so.*"))
    path = f"{libraries}:{libraries / 'android'}"
    adbd = subprocess.Popen(
        [str(loader), "--library-path", path, str(PROGRAM)], stdin=subprocess.DEVNULL
    )
    listener = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_relay, args=(listener, PORT), daemon=True).start()
    sys.stdin.read()
    adbd.send_signal(signal.SIGTERM)
    adbd.wait()


if __name__ == "__main__":
    main()
