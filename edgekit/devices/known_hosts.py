"""Reads known_hosts files as OpenSSH does: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.

Hashed names, patterns, negated patterns, and the markers ``@cert-authority`` and ``@revoked``.
Lines that are not of the format are passed over, as ssh does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One line: `marker` is "", "cert-authority" or "revoked"; `where` is ``file:line``."""

    marker: str
    hosts: str
    key_type: str
    key: bytes
    file: str
    where: str

    def matches(self, name: str) -> bool:
        """Whether the line speaks of `name`: a host, or ``[host]:port`` for a port not 22."""
        if self.hosts.startswith("|1|"):
            return _hash_matches(self.hosts, name)
        found = False
        for pattern in self.hosts.split(","):
            if pattern.startswith("!"):
                if _pattern_matches(pattern[1:], name):
                    return False
            elif _pattern_matches(pattern, name):
                found = True
        return found


def _hash_matches(hashed: str, name: str) -> bool:
    try:
        _, _, salt, digest = hashed.split("|")
        key, expected = base64.b64decode(salt), base64.b64decode(digest)
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.new(key, name.encode(), hashlib.sha1).digest(), expected)


def _pattern_matches(pattern: str, name: str) -> bool:
    # Not fnmatch: the brackets of [host]:port are meant literally.
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, name, re.IGNORECASE) is not None


def parse(text: str, file: str = "") -> Iterator[Entry]:
    """The entries of a known_hosts file's text."""
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = ""
        if fields[0] in ("@cert-authority", "@revoked"):
            marker, fields = fields[0][1:], fields[1:]
        if len(fields) < 3:
            continue
        try:
            key = base64.b64decode(fields[2], validate=True)
        except binascii.Error:
            continue
        yield Entry(marker, fields[0], fields[1], key, file, f"{file}:{number}")


def read(files: Iterable[Path], name: str) -> list[Entry]:
    """The entries of all `files` that speak of `name`; a file that is not there has none.

    Raises:
        OSError: a file is there but cannot be read.
    """
    found = []
    for path in files:
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [entry for entry in parse(text, str(path)) if entry.matches(name)]
    return found


def fingerprint(key: bytes) -> str:
    """A public key's fingerprint as ``ssh-keygen -l`` prints it: SHA256:…"""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"
