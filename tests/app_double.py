"""A made-up phone with edgekit's app: test doubles of Android's am, pm, pidof, logcat and dumpsys,
as shell scripts that adb's shell finds on its PATH, and of the app.

The "app" is a real runner in a process of its own that writes its lines where the app does: the
runner in Python, or what EDGEKIT_TEST_APP names, a command line that takes the path of a job and
prints the lines (``java -cp … JvmRunner``). am and dumpsys print what Android 7 to 14 print.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from edgekit.core.locate import shipped
from edgekit.measure.runners.app import ACTIVITY, PACKAGE

RUNNER = shipped("runtime_bench") / "edgekit_bench"
APP = shlex.split(os.environ.get("EDGEKIT_TEST_APP", "")) or [sys.executable, str(RUNNER)]
APP[0] = shutil.which(APP[0]) or APP[0]  # a phone's PATH is another

# It stays as Android's zygote does: what ends is not a zombie then.
_ZYGOTE = """
state=$1 job=$2 run=$3
mkdir -p "$run"
sh -c 'echo $$ >"$1/pid.part"; mv "$1/pid.part" "$1/pid"; shift; exec sh "$@"' sh "$state" \\
  "$state/app" "$job" "$run" &
wait
"""
_AM = """#!/bin/sh
state=STATE runs=RUNS
stop() {
  if [ -f "$state/group" ] && read -r group <"$state/group"; then
    kill -s KILL -- "-$group" 2>/dev/null
  fi
  rm -f "$state/group" "$state/pid"
}
echo "$*" >>"$state/calls"
case "$*" in
  'force-stop PACKAGE') stop; exit 0;;
  'start -W -S -n PACKAGE/ACTIVITY --es job '*' --es run '*) ;;
  *) echo "Error: Unknown option: $*"; exit 1;;
esac
shift 7; job=$1 run=$4
echo 'Stopping: PACKAGE'
echo 'Starting: Intent { cmp=PACKAGE/ACTIVITY (has extras) }'
if [ -e "$state/am" ]; then cat "$state/am"; exit 0; fi
stop
# what adb's shell starts, and its streams, are not the app's
env -i PATH="$PATH" LANG=C.UTF-8 setsid sh -c 'echo $$ >"$1/group"; exec sh "$1/zygote" "$@"' sh \\
  "$state" "$job" "$runs/$run" </dev/null >/dev/null 2>&1 3>&- &
while [ ! -f "$state/pid" ]; do sleep 0.05; done
printf '%s\\n' 'Status: ok' 'LaunchState: COLD' 'Activity: PACKAGE/ACTIVITY' 'TotalTime: 312' \\
  'WaitTime: 320' 'Complete'
"""
_PIDOF = """#!/bin/sh
[ "$1" = PACKAGE ] && read -r pid <"STATE/pid" && [ -d "/proc/$pid" ] && echo "$pid"
"""
_PM = """#!/bin/sh
[ "$*" = 'path PACKAGE' ] && [ -f STATE/installed ] && echo package:/data/app/PACKAGE/base.apk
"""
_LOGCAT = """#!/bin/sh
case "$*" in '-b crash -d -T '*) cat STATE/crash;; esac
"""
_DUMPSYS = """#!/bin/sh
case "$*" in
  'activity exit-info PACKAGE')
    sed "s/PID/$(cat STATE/pid)/; s/NOW/$(date '+%F %T').900/" STATE/exit-info;;
  battery) cat STATE/battery;;
  power) cat STATE/power;;
esac
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  status: 2
  health: 2
  present: true
  level: 81
  scale: 100
  voltage: 4211
  temperature: 281
  technology: Li-ion
"""
POWER = "Power Manager State:\n  Settings power_manager_constants:\n  mWakefulness=Awake\n"


class AppPhone:
    """The phone's programs and what they answer.

    Attributes:
        path: the folder of programs, for the PATH of its shell.
        runs: where the app writes: in the place of ``edgekit.measure.runners.app.RUNS``.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.runs, self._state = folder / "bin", folder / "media/runs", folder / "state"
        for made in (self.path, self._state):
            made.mkdir(parents=True)
        scripts = {
            "am": _AM,
            "pidof": _PIDOF,
            "pm": _PM,
            "logcat": _LOGCAT,
            "dumpsys": _DUMPSYS,
        }
        for name, text in scripts.items():
            self._script(self.path / name, text)
        self._script(self._state / "zygote", _ZYGOTE)
        self.answers(installed="", crash="", battery=BATTERY, power=POWER)
        self.is_app(f'{shlex.join(APP)} "$1" >"$2.jsonl"')

    def _script(self, path: Path, text: str) -> None:
        words = {"PACKAGE": PACKAGE, "ACTIVITY": ACTIVITY, "STATE": self._state, "RUNS": self.runs}
        for word, value in words.items():
            text = text.replace(word, str(value))
        path.write_text(text)
        path.chmod(0o755)

    def is_app(self, script: str) -> None:
        """What the app does: $1 is the job's path, $2 its lines' path without ".jsonl". It stays,
        as an app does that is done.
        """
        self._script(self._state / "app", f"{script}\nexec sleep 600\n")

    def answers(self, **texts: str) -> None:
        """The file of that name in the doubles' state: "am" is what am says in the place of a
        start, "crash" what logcat says, "exit_info", "battery" and "power" what dumpsys does.
        """
        for name, text in texts.items():
            (self._state / name.replace("_", "-")).write_text(text)

    def hangs(self) -> None:
        """am starts nothing and does not end."""
        os.mkfifo(self._state / "am")

    def fails(self, program: str, said: str) -> None:
        """That program of the phone's does nothing but say that."""
        self._script(self.path / program, f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")

    def uninstall(self) -> None:
        (self._state / "installed").unlink()

    @property
    def pid(self) -> int | None:
        """The app's process; None where it does not run."""
        try:
            return int((self._state / "pid").read_text())
        except FileNotFoundError:
            return None

    @property
    def calls(self) -> list[str]:
        """What am was called with, in order."""
        try:
            return (self._state / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []

    def is_clean(self, store: Path) -> bool:
        """Whether nothing of a run is left: no app, no files, a store that is closed to others."""
        left = [*self.runs.glob("*"), *(store / "scratch").iterdir()]
        open_to_others = [f for f in (store, *store.iterdir()) if f.stat().st_mode & 0o077]
        return self.pid is None and not left and not open_to_others
