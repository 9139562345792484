"""Holds a board's clocks still while it is measured, and always gives them back.

Where the governors may be written (as root, or through ``sudo -n``), they are set to "performance",
and on a Jetson `jetson_clocks` is run, after `nvpmodel` has set the power mode that is asked for,
if one is. What was there before is kept on the board itself, by a process that does not depend on
the link: it gives everything back when it is told to, or when nobody has renewed its lease for
longer than one launch may take. A cable that is pulled, a computer that crashes or Ctrl-C therefore
leave no board in another mode. A reboot resets the clocks anyway.

Sources: https://docs.kernel.org/admin-guide/pm/cpufreq.html (scaling_governor),
https://docs.nvidia.com/jetson/archives/r36.4/DeveloperGuide/SD/PlatformPowerAndPerformance.html
(jetson_clocks --store, --restore; nvpmodel -q, -m, and /etc/nvpmodel.conf for the modes' names).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from edgekit.core.errors import DeviceError, TransientDeviceError
from edgekit.core.protocols import Device
from edgekit.measure.again import reached_again

# Beyond the time that one launch may take.
GRACE_SECONDS = 60
_STOP_SECONDS = 30
GOVERNORS = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"
POWER_MODES = "/etc/nvpmodel.conf"

# $1: folder of this guard (not there yet), $2: seconds of a lease, $3: pattern of governor files,
# or empty if clocks stay as they are; $4: the power mode to set, by number or name, or empty; $5:
# file of the modes. Prints what was changed, or why nothing was. What a crashed measurement left is
# given back first. The guard itself has no open file of ours, so that the link does not wait for
# its end. It keeps in memory what was before, and is told by signals: the disk may fill up or turn
# read-only meanwhile, as a worn-out card does. Nothing is changed before it runs. It is no part of
# this command, which may be ended when it is slow or the link is lost. A mode that needs a reboot
# is asked about on standard input, which says no.
_START = """
umask 077
sudo=
mode_now() { nvpmodel -q 2>/dev/null </dev/null | grep -x '[0-9][0-9]*' | tail -n 1; }
for old in "${1%/*}"/*/guard; do
  [ -e "$old" ] || continue
  pid=$(cat "${old%/guard}/pid" 2>/dev/null)
  if ! grep -q -- "$old" "/proc/$pid/cmdline" 2>/dev/null; then rm -rf "${old%/guard}"; continue; fi
  kill -s TERM "$pid" 2>/dev/null
  left=10
  while grep -q -- "$old" "/proc/$pid/cmdline" 2>/dev/null && [ "$left" -gt 0 ]; do
    sleep 1; left=$((left - 1))
  done
done
for file in $3; do
  [ -e "$file" ] || continue
  [ "$(cat "$file")" = performance ] && continue
  if [ ! -w "$file" ]; then
    sudo -n true 2>/dev/null && sudo='sudo -n' || { echo "refused $file"; exit 0; }
  fi
  some=1
done
mode=
if [ -n "$4" ]; then
  command -v nvpmodel >/dev/null || { echo "mode refused: there is no nvpmodel"; exit 0; }
  modes=$(sed -n 's/^< *POWER_MODEL ID=\\([0-9]*\\) NAME=\\([^ >]*\\).*/\\1 \\2/p' "$5")
  asked=$(printf '%s\\n' "$modes" | while read -r number name; do
    if [ "$4" = "$number" ] || [ "$4" = "$name" ]; then echo "$number"; fi
  done)
  [ -n "$asked" ] || { echo "mode refused: it knows" $modes; exit 0; }
  mode=$(mode_now)
  [ "$mode" = "$asked" ] && mode=
  if [ -n "$mode" ] && [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null && sudo='sudo -n' ||
      { echo "mode refused: it needs root, or sudo without a password"; exit 0; }
  fi
fi
jetson=
[ -n "$3" ] && jetson=$(command -v jetson_clocks)
[ -z "$some$jetson$mode" ] && { for file in $3; do [ -e "$file" ] && echo already && exit 0; done
  echo "refused: no cpufreq"; exit 0; }
mkdir -p "$1" || exit 1
before=$(for file in $3; do
  [ -e "$file" ] && printf '%s %s\\n' "$(cat "$file")" "$file"
done)
cat >"$1/guard" <<'END'
left=$2 lease=$2
trap '' HUP INT
trap 'left=0' TERM
trap 'left=$lease' USR1
cd "$1" && printf '%s' "$$" >pid || exit 1
while [ "$left" -gt 0 ]; do
  sleep 1
  left=$((left - 1))
done
[ -e jetson ] && $3 jetson_clocks --restore "$1/jetson" >/dev/null 2>&1
printf '%s\\n' "$4" | while read -r governor file; do
  [ -n "$file" ] && printf '%s' "$governor" | $3 tee "$file" >/dev/null 2>&1
done
[ -n "$5" ] && $3 nvpmodel -m "$5" </dev/null >/dev/null 2>&1
cd / && rm -rf "$1"
END
[ $? -eq 0 ] || { rm -rf "$1"; exit 1; }
apart=; command -v setsid >/dev/null 2>&1 && apart=setsid
(unset EDGEKIT_RUN
$apart sh "$1/guard" "$1" "$2" "$sudo" "$before" "$mode" </dev/null >/dev/null 2>&1 &)
left=200
until [ -s "$1/pid" ]; do
  [ "$left" -gt 0 ] || { rm -rf "$1"; echo "what shall give them back does not start" >&2; exit 1; }
  sleep 0.1 2>/dev/null || { sleep 1; left=$((left - 9)); }
  left=$((left - 1))
done
end() { kill -s TERM "$(cat "$1/pid")" 2>/dev/null; }
if [ -n "$mode" ]; then
  $sudo nvpmodel -m "$asked" </dev/null >/dev/null 2>&1
  if [ "$(mode_now)" != "$asked" ]; then
    end "$1"
    echo "mode refused: nvpmodel does not set it, perhaps before a reboot"
    exit 0
  fi
fi
[ -n "$jetson" ] && $sudo "$jetson" --store "$1/jetson" >/dev/null 2>&1 || jetson=
said=$(
  [ -n "$mode" ] && echo "set power mode $mode"
  printf '%s\\n' "$before" | while read -r governor file; do
    [ "$governor" = performance ] || [ -z "$file" ] && continue
    printf performance | $sudo tee "$file" >/dev/null && echo "set $governor"
  done
  [ -n "$jetson" ] && $sudo "$jetson" >/dev/null && echo "set jetson_clocks"
)
if [ -n "$said" ]; then echo "$said"; else end "$1"; fi
exit 0
"""

# $1: the guard's folder. Sets `pid` to the guard's process id, to nothing if it runs no more: its
# number may be another process's by now.
_GUARD = """
runs() { grep -q -- "$1/guard" "/proc/$pid/cmdline" 2>/dev/null; }
pid=$(cat "$1/pid" 2>/dev/null); runs "$1" || pid=
"""

# Whether the guard was still there.
_RENEW = f"""{_GUARD}
[ -n "$pid" ] && kill -s USR1 "$pid" && echo renewed; :"""

# $2: seconds to wait until everything is as it was.
_STOP = f"""{_GUARD}
if [ -z "$pid" ]; then
  [ -d "$1" ] || exit 0
  echo "what shall give them back was ended" >&2; exit 1
fi
kill -s TERM "$pid"
left=$2
while runs "$1" && [ "$left" -gt 0 ]; do sleep 1; left=$((left - 1)); done
if runs "$1"; then exit 1; fi
"""


@dataclass
class Clocks:
    """The clocks of one board during a measurement.

    Attributes:
        changed: what was set, as it was before ("schedutil"); empty where nothing was.
        why: why nothing was changed, for people; empty where something was.
    """

    device: Device
    folder: str
    changed: tuple[str, ...]
    why: str

    def renew(self) -> None:
        """Keep the clocks for one more launch.

        Raises:
            DeviceError: the board has given them back already.
        """
        if not self.changed:
            return
        if "renewed" not in _script(self.device, _RENEW, self.folder):
            raise DeviceError(
                f"{self.device.address}: its clocks were given back before the measurement ended",
                hint="give a launch more time: --timeout",
            )


@contextlib.contextmanager
def held(
    device: Device,
    launch_seconds: float,
    *,
    fix: bool = True,
    power_mode: str = "",
    governors: str | None = None,
    power_modes: str = POWER_MODES,
) -> Iterator[Clocks]:
    """Hold the clocks of `device` inside the block.

    Args:
        launch_seconds: how long one launch may take; see `Clocks.renew`.
        fix: whether the clocks are set; only the power mode is if not.
        power_mode: number or name of a Jetson's, to be in meanwhile.
        governors: pattern of the files, if it is not the kernel's own.
        power_modes: nvpmodel's file on the device.

    Raises:
        DeviceError: the power mode cannot be set, or something was set and could not be given back.
    """
    folder = device.scratch()
    lease = str(int(launch_seconds) + GRACE_SECONDS)
    pattern = (governors or GOVERNORS) if fix else ""
    arguments = (folder, lease, pattern, power_mode, power_modes)
    with reached_again(device, partial(_script, device, _STOP, folder, str(_STOP_SECONDS))):
        said = _script(device, _START, *arguments).splitlines()
    refused = [line.partition(": ")[2] for line in said if line.startswith("mode refused: ")]
    if refused:
        raise DeviceError(
            f"{device.address}: power mode {power_mode!r} cannot be set: {refused[0]}",
            hint="leave out --power-mode, or set it there by hand: sudo nvpmodel -m NUMBER",
        )
    changed = tuple(dict.fromkeys(line[4:] for line in said if line.startswith("set ")))
    clocks = Clocks(device, folder, changed, "" if changed else _why(said))
    tidy = partial(_give_back, clocks, quietly=False) if changed else None
    try:
        with reached_again(device, tidy):
            yield clocks
    except TransientDeviceError:
        raise  # given back over a new link, or by the guard when the lease is over
    except BaseException:
        _give_back(clocks, quietly=True)
        raise
    with reached_again(device, tidy):  # or they would stay for the rest of the lease
        _give_back(clocks, quietly=False)


def _give_back(clocks: Clocks, *, quietly: bool) -> None:
    if not clocks.changed:
        return
    try:
        _script(clocks.device, _STOP, clocks.folder, str(_STOP_SECONDS))
    except DeviceError:
        if not quietly:  # else the error that led here is the one to tell; the lease ends anyway
            raise


def _why(said: list[str]) -> str:
    line = said[-1] if said else ""
    if line == "already":
        return ""
    if line == "refused: no cpufreq":
        return "the kernel offers no clocks to set"
    return "setting the governor needs root, or sudo without a password"


def _script(device: Device, script: str, *arguments: str) -> str:
    done = device.run(["sh", "-c", script, "edgekit", *arguments], timeout_seconds=120)
    if done.exit_code != 0:
        raise DeviceError(
            f"{device.address}: its clocks cannot be looked after: "
            f"{done.stderr.strip()[-200:] or f'exit code {done.exit_code}'}",
            hint="leave them alone: --clocks as-is",
        )
    return done.stdout
