"""The runtime that is there."""

import importlib
import importlib.util
import sys

from .events import Failure, one_line
from .wheels import RUNTIMES, install_hint


def find_runtime(wanted, kind="tflite"):
    """Name, version and module of the runtime `wanted`, or of the first that reads `kind`."""
    broken = []
    for name, module, reads in RUNTIMES:
        if wanted not in (None, name) or (wanted is None and reads != kind):
            continue
        try:
            if importlib.util.find_spec(module.partition(".")[0]) is None:
                continue
            found = importlib.import_module(module)
        except Exception as exc:  # a wheel for another glibc or numpy fails in many ways
            broken.append("%s: %s: %s" % (name, type(exc).__name__, one_line(exc)))
            continue
        return name, version_of(name), found
    hint = install_hint(wanted, kind)
    if broken:
        raise Failure(
            3, "runtime_broken", "a runtime is there but does not start: " + "; ".join(broken), hint
        )
    what = wanted or " or ".join(name for name, _, reads in RUNTIMES if reads == kind)
    raise Failure(
        3,
        "runtime_missing",
        "%s has no %s" % (sys.executable or "this Python", what),
        hint,
    )


def version_of(distribution):
    import importlib.metadata as metadata

    for name in (distribution, distribution + "-cpu", distribution + "-nightly"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"
