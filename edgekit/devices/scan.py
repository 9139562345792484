"""Looks for boards: phones that an adb server knows, hosts of the ssh configuration, and what
announces itself on the local network by mDNS (RFC 6762, as avahi and Android do).

Nothing is started and nothing is logged in to. The network is only asked with multicast questions.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.core.errors import UsageError
from edgekit.devices.ssh_config import host_names, parse_address

ADB_PORT = 5037
_ADB_SECONDS = 3
_ADB_LIMIT = 1 << 20  # bytes of an answer

SSH_SERVICE = "_ssh._tcp.local."
ADB_SERVICE = "_adb-tls-connect._tcp.local."


@dataclass(frozen=True)
class Seen:
    """A board: what to type after --on (empty if it cannot be reached yet), what it is, where it
    was seen, and what has to be done first.
    """

    address: str
    what: str
    where: str
    first: str = ""


@dataclass(frozen=True)
class Looked:
    """What one place told: boards, and what is to be said of the place itself."""

    place: str
    seen: tuple[Seen, ...] = ()
    note: str = ""


def scan(seconds: float, *, interfaces: Sequence[str] = ()) -> list[Looked]:
    """Look everywhere, for `seconds` on the network.

    Args:
        interfaces: addresses of this computer; all of them if empty.
    """
    return [adb_devices(), ssh_hosts(), announced(seconds, interfaces=interfaces)]


# -- adb


def adb_devices(port: int | None = None) -> Looked:
    """What a running adb server has; none is started, as the program adb would do.

    https://android.googlesource.com/platform/packages/modules/adb/+/main/docs/dev/services.md
    """
    port = _adb_port() if port is None else port
    place = f"adb server at port {port}"
    try:
        text = _ask_adb(port, "host:devices-l")
    except ConnectionRefusedError:
        return Looked(place, note="none is running (adb start-server starts one)")
    except (OSError, ValueError) as exc:
        return Looked(place, note=f"gives no answer that adb would give ({exc})")
    return Looked(place, tuple(_adb_rows(text)))


def _adb_port() -> int:
    text = os.environ.get("ANDROID_ADB_SERVER_PORT", str(ADB_PORT))
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise UsageError(f"ANDROID_ADB_SERVER_PORT={text!r} is not a port, 1 to 65535")
    return int(text)


def _ask_adb(port: int, request: str) -> str:
    """Raises ValueError for what is no answer of adb's."""
    with socket.create_connection(("127.0.0.1", port), timeout=_ADB_SECONDS) as link:
        link.sendall(f"{len(request):04x}{request}".encode())
        status = _exactly(link, 4)
        if status not in (b"OKAY", b"FAIL"):
            raise ValueError(f"it said {status!r}")
        size = int(_exactly(link, 4), 16)
        text = _exactly(link, min(size, _ADB_LIMIT)).decode("utf-8", "replace")
    if status == b"FAIL":
        raise ValueError(text)
    return text


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        block = link.recv(size - len(data))
        if not block:
            raise ValueError("it closed the connection")
        data += block
    return data


_ADB_FIRST = {
    "unauthorized": "allow this computer on its screen",
    "offline": "it does not answer: unplug it and plug it in again",
    "no": "this user may not open it (udev rules)",
}


def _adb_rows(text: str) -> Iterator[Seen]:
    """Lines like ``SERIAL device product:x model:Pixel_8 device:y transport_id:1``."""
    for line in text.splitlines():
        serial, *words = line.split()[:20] or [""]
        if not words:
            continue
        state = words[0]
        facts = dict(word.split(":", 1) for word in words[1:] if ":" in word)
        what = facts.get("model", "").replace("_", " ") or "an Android device"
        first = "" if state == "device" else _ADB_FIRST.get(state, f"it is in the state {state}")
        address = f"adb:{serial}" if state == "device" else ""
        yield Seen(address, what if address else f"{what} ({serial})", "adb", first)


# -- the ssh configuration


def ssh_hosts() -> Looked:
    """The hosts that ``~/.ssh/config`` names; whether they are on is not asked."""
    place = "ssh configuration"
    try:
        names = host_names()
    except UsageError as exc:
        return Looked(place, note=exc.message)
    seen = []
    for name in names:
        address = f"ssh://{name}"
        try:
            parse_address(address)
        except UsageError:  # a name that ssh takes and an address cannot hold
            continue
        seen.append(Seen(address, _reached_at(name), place))
    return Looked(place, tuple(seen), "" if seen else "names no host")


def _reached_at(name: str) -> str:
    """Where a host is, where paramiko is here to work the configuration out."""
    from edgekit.devices.ssh_config import load_options

    try:
        options = load_options(parse_address(name))
    except (ImportError, UsageError):
        return "a host"
    port = "" if options.port == 22 else f", port {options.port}"
    return f"{options.user} at {options.host_name}{port}"


# -- the local network


@dataclass(frozen=True)
class _Announced:
    """A service: its type, its own name, the host's name, port and addresses."""

    service: str
    name: str
    host: str
    port: int
    addresses: tuple[str, ...]


def announced(seconds: float, *, interfaces: Sequence[str] = ()) -> Looked:
    """What announces SSH or adb over Wi-Fi on the local network within `seconds`."""
    place = "local network (mDNS)"
    for text in interfaces:
        try:
            ipaddress.ip_address(text)
        except ValueError as exc:
            raise UsageError(f"{text!r} is not an address of this computer") from exc
    try:
        found = _browse(seconds, interfaces)
    except ImportError:
        return Looked(place, note="not looked at: pip install 'edgekit[scan]'")
    except OSError as exc:
        return Looked(place, note=f"cannot be asked: {exc.strerror or exc}")
    seen = [row for each in found if (row := _row(each))]
    note = "" if seen else f"nothing announced SSH or adb within {seconds:g} s"
    return Looked(place, tuple(dict.fromkeys(seen)), note)


def _browse(seconds: float, interfaces: Sequence[str]) -> list[_Announced]:
    from zeroconf import Error, IPVersion, ServiceBrowser, ServiceListener, Zeroconf

    names: dict[tuple[str, str], None] = {}
    lock = threading.Lock()

    class Listener(ServiceListener):  # type: ignore[misc, unused-ignore] # not there for mypy
        def add_service(self, zc: Any, type_: str, name: str) -> None:
            with lock:
                names[type_, name] = None

        def update_service(self, zc: Any, type_: str, name: str) -> None:
            return None

        def remove_service(self, zc: Any, type_: str, name: str) -> None:
            return None

    more: dict[str, Any] = {"interfaces": list(interfaces)} if interfaces else {}
    with Zeroconf(ip_version=IPVersion.V4Only, **more) as zeroconf:
        browser = ServiceBrowser(zeroconf, [SSH_SERVICE, ADB_SERVICE], Listener())
        threading.Event().wait(seconds)
        browser.cancel()
        with lock:
            asked = list(names)
        found = []
        for service, name in asked:
            try:
                info = zeroconf.get_service_info(service, name, timeout=1000)
            except Error:  # a name that no service may have: anybody can announce anything
                continue
            if info is not None and info.port:
                found.append(
                    _Announced(
                        service, name, info.server or "", info.port, tuple(info.parsed_addresses())
                    )
                )
    return found


def _row(each: _Announced) -> Seen | None:
    """None for a service whose name and address cannot stand in an address of ours."""
    own = each.name.removesuffix(f".{each.service}")
    where = "local network"
    host = each.host.rstrip(".")
    if each.service == ADB_SERVICE:
        if not each.addresses:
            return None
        endpoint = f"{each.addresses[0]}:{each.port}"
        first = f"adb connect {endpoint} (adb pair, the first time)"
        return Seen("", f"adb over Wi-Fi ({own})", where, first)
    for name in (host, *each.addresses):
        address = f"ssh://{name}" + ("" if each.port == 22 else f":{each.port}")
        try:
            parse_address(address)
        except UsageError:
            continue
        told = [own, *(a for a in each.addresses if a != name)]
        return Seen(address, ", ".join(told), where)
    return None
