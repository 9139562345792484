"""Open files of a process as /proc shows them, with those of GPUs."""

from __future__ import annotations

from pathlib import Path

Descriptors = dict[str, str]  # by number

# As the kernel prints them: a Raspberry Pi's V3D, an Arm Mali's Panthor, and an older AMD's.
V3D = """pos:\t0
flags:\t02100002
drm-driver:              v3d
drm-client-id:           14
drm-engine-csd:          0 ns
drm-total-memory:        74864 KiB
drm-shared-memory:       31600 KiB
drm-active-memory:       0
drm-resident-memory:     43264 KiB
drm-purgeable-memory:    0
"""
PANTHOR = """drm-driver:\tpanthor
drm-client-id:\t10
drm-maxfreq-panthor:\t1000000000 Hz
panthor-resident-memory:\t10396 KiB
drm-total-memory:\t16480 KiB
drm-shared-memory:\t0
drm-resident-memory:\t16480 KiB
"""
AMDGPU = """drm-driver:\tamdgpu
drm-pdev:\t0000:03:00.0
drm-client-id:\t42
drm-memory-vram:\t1024 MiB
drm-memory-gtt: \t64 MiB
drm-memory-cpu: \t12
"""


def write_descriptors(own: Path, files: Descriptors, links: Descriptors) -> None:
    """A process's folder in /proc with open files: their fdinfo and what they are."""
    for name in ("fdinfo", "fd"):
        (own / name).mkdir(parents=True)
    for name, text in files.items():
        (own / "fdinfo" / name).write_text(text)
    for name, path in links.items():
        (own / "fd" / name).symlink_to(path)


# fdinfo, what the files are, and the bytes that drivers hold or why that is not known.
DESCRIPTORS = [
    # one client that is open twice, and another one
    ({"3": V3D, "4": V3D, "5": PANTHOR, "6": "pos:\t0\n"}, {}, (43264 + 16480) * 1024),
    ({"3": AMDGPU}, {"3": "/dev/dri/renderD128"}, (1024 + 64) * 2**20 + 12),
    ({"3": V3D, "4": "drm-driver:\tlima\n"}, {}, "the driver lima does not tell it in fdinfo"),
    ({"3": V3D.replace("43264 KiB", "5 KB")}, {}, "the driver v3d does not tell it"),
    ({"3": ""}, {"3": "/dev/mali0"}, "/dev/mali0 is open, whose driver"),
    ({"3": V3D, "4": ""}, {"4": "/dev/nvmap"}, "/dev/nvmap is open, whose driver"),
    ({"3": ""}, {"3": "/dev/dri/card0"}, "/dev/dri/card0 is open, whose driver"),
    ({"3": ""}, {"3": "/dev/kgsl-3d0"}, "/dev/kgsl-3d0 is open, whose driver"),
    ({"3": ""}, {"3": "/dev/null"}, "no driver of a GPU or an NPU is open"),
]
