"""Small files that are read, and the model's own, whose digest is taken."""

import hashlib

from .events import Failure


def read_text(path):
    """The text of a small file, or None and why not."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0\n "), ""
    except OSError as exc:
        return None, "%s: %s" % (path, exc.strerror)


def verify_digest(path, expected):
    """Raises Failure unless the file's SHA-256 is `expected`."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    if digest.hexdigest() != expected:
        raise Failure(
            4,
            "model_changed",
            "%s has SHA-256 %s, not %s" % (path, digest.hexdigest()[:12], expected[:12]),
            "remove it from the device and push it again",
        )
