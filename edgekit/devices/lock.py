"""One user of a board at a time: a measurement beside another one is none.

Two locks, taken in this order. On this computer a file lock by address, which the system gives back
when a process ends however it ends. On the device a folder ``lock`` beside the scratch files of its
store, made by ``mkdir``, which one of two wins; in it stands who has it. Its owner says every
`BEAT_SECONDS` that it lives; one that has not for `LEASE_SECONDS`, or since the device was started,
or whose process on this computer is gone, is taken over, and that is said. So nothing that is
killed or loses its link keeps a board for ever. The time is that since the device's start: its wall
clock may be set at any moment, by hours on a board without a battery. Who logs in as another user
of the device has another store, and is not seen.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edgekit.core.errors import DeviceBusyError, DeviceError, OutputError
from edgekit.core.locate import data_dir
from edgekit.core.process import ended, me
from edgekit.core.protocols import Device

# A beat is a command on the board, in the midst of a measurement, so there are few of them.
BEAT_SECONDS = 45.0
LEASE_SECONDS = 150.0
POLL_SECONDS = 2.0
_COMMAND_SECONDS = 30.0
_RESTARTED = 10**9  # seconds, in the place of an age

Say = Callable[[str], None]
Pause = Callable[[float], object]  # waits so many seconds; raises to give up

# The device's start and the seconds since then; nothing where /proc does not tell.
_NOW = """
now() {
  read -r boot </proc/sys/kernel/random/boot_id && read -r up _ </proc/uptime &&
    echo "$boot ${up%%.*}"
} 2>/dev/null
"""
# All: $1 the lock's folder, $2 the owner's nonce.
# $3: who takes it, JSON. Prints taken, or held with its age in seconds and its owner. By the wall
# clock only where there is no other.
_TAKE = f"""{_NOW}
if mkdir "$1" 2>/dev/null; then
  now >"$1/beat"
  printf '%s' "$2" >"$1/nonce" && printf '%s' "$3" >"$1/owner" && echo edgekit:taken && exit 0
  rm -rf "$1"; exit 1
fi
if [ ! -d "$1" ]; then
  command -v mkdir >/dev/null || {{ echo "no mkdir there"; exit 1; }}
  if [ -w "${{1%/*}}" ]; then echo edgekit:again; exit 0; fi
  echo "no writing in ${{1%/*}}"; exit 1
fi
beat=$(cat "$1/beat" 2>/dev/null) now=$(now)
if [ -z "$beat" ] || [ -z "$now" ]; then
  now=$(date +%s)
  at=$(stat -c %Y "$1/nonce" 2>/dev/null || stat -c %Y "$1" 2>/dev/null || echo "$now")
  age=$((now - at))
elif [ "${{beat% *}}" = "${{now% *}}" ]; then age=$((${{now#* }} - ${{beat#* }}))
else age={_RESTARTED}
fi
echo "edgekit:held $age $(cat "$1/nonce" 2>/dev/null)"
cat "$1/owner" 2>/dev/null
exit 0
"""
# $2 is the nonce of the one that is put out. A lock that somebody has just taken in its place is
# put back.
_PUT_OUT = """
mv "$1" "$1.$3" 2>/dev/null || exit 0
if [ "$(cat "$1.$3/nonce" 2>/dev/null)" = "$2" ]; then rm -rf "$1.$3"
else mv "$1.$3" "$1"; fi
exit 0
"""
_BEAT = f"""{_NOW}
[ "$(cat "$1/nonce" 2>/dev/null)" = "$2" ] || exit 3
now >"$1/beat.$2" && mv -f "$1/beat.$2" "$1/beat"; touch -c "$1/nonce" "$1/owner"
"""
_RELEASE = """[ "$(cat "$1/nonce" 2>/dev/null)" = "$2" ] || exit 3; rm -rf "$1" """
_LOST = 3


@dataclass(frozen=True)
class Owner:
    """Who holds a board: `since` is UTC, ISO 8601; `process` is as `edgekit.core.process.me`."""

    user: str
    host: str
    pid: int
    since: str
    process: str = ""

    @classmethod
    def me(cls) -> Owner:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container whose user has no name
            user = str(os.getuid())
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(user, socket.gethostname(), os.getpid(), now, me())

    @classmethod
    def from_text(cls, text: str) -> Owner | None:
        """None for what is no owner: it was killed before it wrote its name."""
        try:
            data: Any = json.loads(text)
            names = [str(data[key]) for key in ("user", "host", "since", "process")]
            return cls(names[0], names[1], int(data["pid"]), names[2], names[3])
        except (ValueError, KeyError, TypeError):
            return None

    def __str__(self) -> str:
        return f"{self.user}@{self.host} (process {self.pid}, since {self.since[:19]} UTC)"

    @property
    def gone(self) -> bool:
        """Whether its process is known to have ended: it was one on this computer."""
        return ended(self.process)


class Lease:
    """A board that is held. `check` before a result is believed."""

    def __init__(self, device: Device, folder: str, nonce: str, name: str) -> None:
        self._device, self._folder, self._nonce, self._name = device, folder, nonce, name
        self._stop = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            # Over a link that is down there is nothing to say; it may be back for the next beat,
            # and the measurement will tell.
            with contextlib.suppress(DeviceError):
                self._lost = self._lost or self._asked(_BEAT) == _LOST

    def _asked(self, script: str) -> int:
        return _script(self._device, script, self._folder, self._nonce)[0]

    def check(self) -> None:
        """Raise DeviceBusyError if somebody else has taken the board over meanwhile."""
        if self._lost or self._asked(_BEAT) == _LOST:
            self._lost = True
            raise DeviceBusyError(
                f"{self._name} was taken over by somebody else while it was in use here: "
                "what was measured does not count",
                hint="the link was gone, or this computer asleep, for too long; run it again",
            )

    def release(self) -> None:
        """Give the board back; over a link that is gone it runs out by itself."""
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(DeviceError):
            self._asked(_RELEASE)


@contextlib.contextmanager
def host_lock(
    address: str, name: str, *, wait_seconds: float, say: Say, pause: Pause = time.sleep
) -> Iterator[None]:
    """Keep other processes of this user here from the board at `address`.

    Raises:
        DeviceBusyError: another one has had it for `wait_seconds`; says which.
        OutputError: the lock cannot be made here.
    """
    import filelock

    digest = hashlib.sha256(address.encode()).hexdigest()[:32]
    path = data_dir() / "locks" / f"{digest}.lock"
    who = path.with_suffix(".json")
    waiting = _Waiting(name, wait_seconds, say, pause)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path, thread_local=False)
        while True:
            try:
                lock.acquire(blocking=False)
                break
            except filelock.Timeout:
                waiting.wait(_read_owner(who))
        who.write_text(json.dumps(vars(Owner.me())), encoding="utf-8")
    except OSError as exc:
        raise OutputError(
            f"cannot lock {name} in {str(path.parent)!r}: {exc.strerror or exc}",
            hint="make the folder writable, or set EDGEKIT_DATA to another folder",
        ) from exc
    try:
        yield
    finally:
        who.unlink(missing_ok=True)
        lock.release()


def _read_owner(path: Any) -> Owner | None:
    try:
        return Owner.from_text(path.read_text(encoding="utf-8"))
    except OSError:  # it has just been given back, or is not written yet
        return None


@contextlib.contextmanager
def device_lock(
    device: Device, name: str, *, wait_seconds: float, say: Say, pause: Pause = time.sleep
) -> Iterator[Lease]:
    """Keep everybody else from `device` (open), whose host lock is ours.

    Raises:
        DeviceBusyError: somebody has had it for `wait_seconds`; says who.
        DeviceError: the lock cannot be made there.
    """
    folder = f"{device.scratch().rpartition('/')[0]}/lock"
    nonce = secrets.token_hex(8)
    _take(device, folder, nonce, _Waiting(name, wait_seconds, say, pause), name, say)
    lease = Lease(device, folder, nonce, name)
    try:
        yield lease
    finally:
        lease.release()


def _take(device: Device, folder: str, nonce: str, waiting: _Waiting, name: str, say: Say) -> None:
    mine = json.dumps(vars(Owner.me()))
    while True:
        code, text = _script(device, _TAKE, folder, nonce, mine)
        # A login script may have said something before.
        found = re.search(r"edgekit:(taken|again|held (-?\d+) (\S*)\n(.*))", text, re.DOTALL)
        if code != 0 or found is None:
            raise DeviceError(f"{device.address}: its store cannot be locked: {text[:200]!r}")
        if found[1] == "taken":
            return
        if found[1] == "again":  # given back between two looks
            waiting.wait(None)
            continue
        age, theirs, other = float(found[2]), found[3], Owner.from_text(found[4])
        gone = other is not None and other.gone
        if age >= LEASE_SECONDS or gone:
            why = f"not heard of for {age:.0f} s"
            if gone or age >= _RESTARTED:
                why = "whose process has ended" if gone else "before it was started anew"
            say(f"{name} was held by {other or 'somebody'}, {why}: taken over")
            _script(device, _PUT_OUT, folder, theirs, nonce)
            continue
        waiting.wait(other)


class _Waiting:
    """Says once who is waited for, and for how long."""

    def __init__(self, name: str, seconds: float, say: Say, pause: Pause) -> None:
        self._name, self._seconds, self._say, self._pause = name, seconds, say, pause
        self._until = 0.0  # once the first look has found somebody
        self._said: Owner | str | None = ""

    def wait(self, other: Owner | None) -> None:
        """A moment. Raises DeviceBusyError when the time is over."""
        self._until = self._until or time.monotonic() + self._seconds
        left = self._until - time.monotonic()
        who = other or "somebody"
        if left <= 0:
            waited = f"; waited {self._seconds:.0f} s" if self._seconds else ""
            raise DeviceBusyError(
                f"{self._name} is in use by {who}{waited}",
                hint="--wait SECONDS waits longer",
            )
        if self._said != other:
            self._said = other
            self._say(f"{self._name} is in use by {who}; waiting up to {left:.0f} s")
        self._pause(min(left, POLL_SECONDS))


def _script(device: Device, script: str, *arguments: str) -> tuple[int, str]:
    result = device.run(
        ["sh", "-c", script, "edgekit", *arguments], timeout_seconds=_COMMAND_SECONDS
    )
    return result.exit_code, result.stdout or result.stderr
