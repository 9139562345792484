"""What drivers of GPUs and NPUs hold for this process."""

import os
import re

from .events import one_line
from .files import read_text

# Devices of GPUs and NPUs. Drivers of the second kind tell what they hold in fdinfo, that of the
# third in sysfs, if at all; the others do in debugfs, to root alone, or nowhere.
DEVICES = re.compile(
    r"/dev/(?:mali|nvmap|nvhost|nvgpu|nvidia|apex_|(?P<drm>dri/|accel/)|(?P<kgsl>kgsl-))"
)


def driver_bytes(proc="/proc", sysfs="/sys", pid=None):
    """Bytes that drivers of GPUs and NPUs hold for this process, or None and why.

    Drivers of the kernel's DRM tell it in fdinfo, Qualcomm's KGSL in sysfs. What only one of
    several tells would be too little: it is then not known.
    https://docs.kernel.org/gpu/drm-usage-stats.html
    """
    told, silent = [], ""
    clients = {}
    try:
        names = sorted(os.listdir(proc + "/self/fdinfo"))
    except OSError as exc:
        return None, one_line(exc)
    for name in names:
        client = drm_client(read_text("%s/self/fdinfo/%s" % (proc, name))[0] or "")
        if client is not None:
            clients[client[0] or name] = client[1:]
    for driver, size in clients.values():
        told.append(size)
        if size is None:
            silent = silent or "the driver %s does not tell it in fdinfo" % driver
    kgsl = "%s/class/kgsl/kgsl/proc/%d" % (sysfs, pid or os.getpid())
    if os.path.isdir(kgsl):
        for name in ("gpumem_mapped", "gpumem_unmapped"):
            text, why = read_text("%s/%s" % (kgsl, name))
            size = int(text) if text is not None and re.match(r"\d{1,18}$", text) else None
            told.append(size)
            if size is None:
                silent = silent or why or "%s/%s has no number" % (kgsl, name)
    for name in names:
        path = _link("%s/self/fd/%s" % (proc, name))
        device = DEVICES.match(path)
        told_of = device and (device.group("drm") and clients or device.group("kgsl") and told)
        if device and not told_of:
            silent = silent or "%s is open, whose driver tells it to root or nobody" % path
    if silent or not told:
        return None, silent or "no driver of a GPU or an NPU is open"
    return sum(told), ""


def drm_client(text):
    """Who holds buffers, its driver and their bytes, by the text of an fdinfo; None if no client.

    Who is empty where the driver does not number its clients. One client may be open several
    times, and is to be counted once. Bytes are those in memory ("drm-memory" is the older name of
    "drm-resident"), None if it does not tell; "drm-total" has those that were never used, too.
    """
    fields = dict(re.findall(r"(?m)^(drm-[^:\s]+):[ \t]*(.*?)[ \t]*$", text))
    if "drm-driver" not in fields:
        return None
    who = ()
    if "drm-client-id" in fields:
        who = (fields["drm-driver"], fields.get("drm-pdev", ""), fields["drm-client-id"])
    for kind in ("drm-resident-", "drm-memory-"):
        sizes = [_drm_size(value) for key, value in fields.items() if key.startswith(kind)]
        if sizes:
            return who, fields["drm-driver"], None if None in sizes else sum(sizes)
    return who, fields["drm-driver"], None


def _drm_size(text):
    size = re.match(r"(\d{1,18})(?:\s+(KiB|MiB))?$", text)
    return (
        int(size.group(1)) * {None: 1, "KiB": 1024, "MiB": 2**20}[size.group(2)] if size else None
    )


def _link(path):
    try:
        return os.readlink(path)
    except OSError:  # it was closed meanwhile: the one of the list itself
        return ""
