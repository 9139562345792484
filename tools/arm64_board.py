"""An aarch64 board on this computer, to try `edgekit devices probe` and `prepare` by hand.

    sudo python tools/arm64_board.py up /tmp/board            # prints what to type then
    sudo python tools/arm64_board.py down /tmp/board

Debian 12 for arm64 in qemu's user mode behind a native sshd on loopback, with made-up files of /sys
and /proc/cpuinfo and scripts called vcgencmd and nvpmodel that print what the real ones print.
With --packages it has dpkg, its database and python3-numpy, so that packages can be installed, and
Debian's own scripts run in qemu, which takes minutes (tools/deb_board.py keeps it). It computes as
a Cortex-A76, which it says it is: qemu 7.2's usual CPU has SME, where XNNPACK's INT8 goes wrong.
What a time is measured on it means nothing. Needs root, Linux, and the Debian packages
qemu-user-static, mmdebstrap and openssh-server; mmdebstrap downloads some 40 MB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PACKAGES = (
    "dash,bash,coreutils,grep,sed,mawk,procps,util-linux,findutils,tar,gzip,libc-bin,libstdc++6,"
    "libgomp1,python3,python3-minimal,libpython3-stdlib,python3.11"
)
WHOLE = "python3,python3-numpy,procps,gzip,mawk,libstdc++6,libgomp1"
CORES = 4
CPU = "cortex-a76"  # qemu's name of what CPUINFO says
NODES = {"null": "1 3", "zero": "1 5", "random": "1 8", "urandom": "1 9", "tty": "5 0"}

_CPU = "sys/devices/system/cpu"
FILES = {
    "sys/firmware/devicetree/base/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "sys/firmware/devicetree/base/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
    **{f"{_CPU}/{name}": f"0-{CORES - 1}" for name in ("present", "possible", "online")},
    f"{_CPU}/cpufreq/policy0/related_cpus": " ".join(map(str, range(CORES))),
    f"{_CPU}/cpufreq/policy0/cpuinfo_max_freq": "2400000",
    f"{_CPU}/cpufreq/policy0/cpuinfo_min_freq": "1500000",
    f"{_CPU}/cpufreq/policy0/scaling_cur_freq": "1500000",
    f"{_CPU}/cpufreq/policy0/scaling_governor": "ondemand",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "51121",
    "sys/class/hwmon/hwmon0/name": "rpi_volt",
    "sys/class/hwmon/hwmon0/in0_input": "900",
}
for _core in range(CORES):  # XNNPACK's cpuinfo library wants them
    FILES |= {
        f"{_CPU}/cpu{_core}/topology/core_id": str(_core),
        f"{_CPU}/cpu{_core}/topology/physical_package_id": "0",
        f"{_CPU}/cpu{_core}/topology/core_siblings": "0f",
    }

VCGENCMD = """#!/bin/sh
case $1 in
  get_throttled) echo throttled=0x50000;;
  measure_temp) echo "temp=51.1'C";;
  pmic_read_adc) echo '     VDD_CORE_A current(7)=0.56259000A'
                 echo '     VDD_CORE_V volt(15)=0.76798460V';;
  *) echo 'error=1 error_msg="Command not registered"';;
esac
"""

CPUINFO = "".join(
    f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 "
    "crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n"
    for core in range(CORES)
)


def run(*argv: str | Path) -> None:
    subprocess.run([str(word) for word in argv], check=True)


def register_qemu() -> None:
    binfmt = Path("/proc/sys/fs/binfmt_misc")
    if not (binfmt / "register").exists():
        run("mount", "-t", "binfmt_misc", "none", binfmt)
    if not (binfmt / "qemu-aarch64").exists():
        line = Path("/usr/lib/binfmt.d/qemu-aarch64.conf").read_text()
        (binfmt / "register").write_text(line)


def make_root(root: Path, *, packages: bool = False) -> None:
    """Debian in `root`; with `packages` one whose packages are configured, not just unpacked."""
    kind = ["--variant=essential", f"--include={WHOLE}"] if packages else [
        "--variant=extract", f"--include={PACKAGES}",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    ]  # fmt: skip
    # In a namespace of its own: what it mounts goes with it, also where it is stopped.
    run(
        "unshare", "--mount",
        "mmdebstrap", "--quiet", "--mode=root", "--architectures=arm64", *kind,
        "--skip=check/qemu",  # which wants the package arch-test for it
        "bookworm", root, "/etc/apt/sources.list.d/debian.sources",
    )  # fmt: skip
    root.chmod(0o755)  # sshd refuses a ChrootDirectory that others may write
    os.chown(root, 0, 0)
    if not packages:
        for link, target in (("bin/sh", "dash"), ("usr/bin/awk", "mawk")):
            (root / link).unlink(missing_ok=True)
            (root / link).symlink_to(target)
        (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
        (root / "etc/group").write_text("root:x:0:\n")
    for folder in ("root", "tmp", "proc", "sys", "dev"):
        (root / folder).mkdir(exist_ok=True)
    for name, numbers in NODES.items():
        (root / "dev" / name).unlink(missing_ok=True)
        run("mknod", "-m", "666", root / "dev" / name, "c", *numbers.split())
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text if "\0" in text else text + "\n")
    (root / "usr/bin/vcgencmd").write_text(VCGENCMD)
    (root / "usr/bin/vcgencmd").chmod(0o755)
    (root / "cpuinfo").write_text(CPUINFO)


def start(folder: Path, port: int) -> None:
    for name in ("host_key", "user_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    kind, key, *_ = (folder / "host_key.pub").read_text().split()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    (folder / "ssh_config").write_text(
        f"Host board\n  HostName 127.0.0.1\n  Port {port}\n  User root\n"
        f"  IdentityFile {folder}/user_key\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder}/known_hosts\n  GlobalKnownHostsFile none\n"
    )
    chroot = Path("/run") / f"edgekit-board-{port}"  # all folders above it have to be root's
    chroot.mkdir(exist_ok=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPidFile none\nUsePAM no\nUseDNS no\n"
        "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin prohibit-password\nChrootDirectory {chroot}\n"
        f"Subsystem sftp internal-sftp\nSetEnv QEMU_CPU={CPU}\n"
    )
    # Its mounts are in a namespace of their own and go away with it.
    script = (
        'mount --bind "$1" "$2" && mount -t proc proc "$2/proc" && '
        'mount --bind "$1/cpuinfo" "$2/proc/cpuinfo" && exec /usr/sbin/sshd -D -f "$3" -E "$4"'
    )
    server = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script, "sh", str(folder / "root"), str(chroot),
         str(folder / "sshd_config"), str(folder / "sshd.log")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    (folder / "pid").write_text(f"{server.pid} {port}\n")
    for _ in range(100):
        if server.poll() is not None:
            sys.exit(f"sshd ended: {(folder / 'sshd.log').read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("sshd does not answer")


def up(folder: Path, port: int, *, packages: bool = False) -> None:
    if folder.exists():
        sys.exit(f"{folder} is there already: name another, or down it first")
    register_qemu()
    folder.mkdir(parents=True)
    make_root(folder / "root", packages=packages)
    start(folder, port)
    print(f"export EDGEKIT_SSH_CONFIG={folder}/ssh_config")
    for words in ("probe ssh://board", "prepare ssh://board", "prepare ssh://board --undo"):
        print(f"edgekit devices {words}")


def stop(folder: Path) -> None:
    """Stops what `start` has started."""
    pid, port = (folder / "pid").read_text().split()
    command = Path(f"/proc/{pid}/cmdline")
    if command.exists() and str(folder) in command.read_text():
        os.killpg(int(pid), signal.SIGTERM)
        while command.exists() and command.read_bytes():
            time.sleep(0.1)
    Path("/run", f"edgekit-board-{port}").rmdir()


def down(folder: Path) -> None:
    """Stops what `up` has started, and removes the folder."""
    stop(folder)
    shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["up", "down"])
    parser.add_argument("folder", type=lambda text: Path(text).absolute())
    parser.add_argument("--port", type=int, default=20222)
    parser.add_argument("--packages", action="store_true", help="with dpkg, for .debs")
    arguments = parser.parse_args()
    if arguments.what == "up":
        up(arguments.folder, arguments.port, packages=arguments.packages)
    else:
        down(arguments.folder)
