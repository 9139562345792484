"""What runs in a phone's shell for one launch of the app, and what it told.

One command does all of it, from readable files to what is left: the app's lines pass through it as
they come, and where nobody reads them any more it ends and tidies up by itself. Its loop starts no
program but ``sleep``: everything else in it is the shell's own, so that what is timed has the phone
to itself. It keeps to what dash and a phone's mksh with toybox have in common.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What stands before a line that is not the app's.
MARK = "edgekit-app:"

# $package, $runs, $name, $job and $store are those of `RUN`. The app is stopped, which takes its
# activity from the screen, too; the store is closed to other apps again.
_TIDY = """
tidy() {
  am force-stop "$package" </dev/null >/dev/null 2>&1
  if [ -f "$job.pid" ] && read -r feeder <"$job.pid"; then kill "$feeder" 2>/dev/null; fi
  rm -rf -- "$runs/$name.jsonl" "$runs/$name" "$job" "$job.rows" "$job.said" "$job.pid"
  chmod 700 "$store" "$store/objects" "$store/scratch"
}
"""

# The same after the command was stopped from here. $1: package, $2: folder of runs, $3: name of the
# run, $4: path of the job, $5: the store.
TIDY = f"{_TIDY}\npackage=$1 runs=$2 name=$3 job=$4 store=$5\ntidy 2>/dev/null; :"

# $1 to $5 as above, $6: the activity, $7: the job's own limit in seconds, $8: where the outputs go
# ("" for none), $9: the sampler's program ("" for none); then its spec, how many seconds it reads
# alone, how many seconds after the limit the app is given up, and the files that it is to read.
# Standard input is the job.
#
# A shell's printf may be a program, which takes no argument above 128 KiB; mksh has print.
RUN = f"""
package=$1 runs=$2 name=$3 job=$4 store=$5 activity=$6 seconds=$7 outputs=$8 sampler=$9
shift 9; spec=$1 idle=$2 grace=$3; shift 3
mark={MARK}{_TIDY}"""
RUN += r"""
say() { printf '%s\n' "$1"; }
case ${KSH_VERSION:-} in *MIRBSD*) say() { print -r -- "$1"; };; esac
pause() { sleep 0.5 2>/dev/null || sleep 1; }  # not every sleep takes a fraction
ended() { printf '%sended %s\n' "$mark" "$1" >&2; exit 0; }
trap tidy EXIT
trap 'exit 1' HUP INT TERM
trap '' PIPE
read -r now rest </proc/uptime; until=$((${now%.*} + seconds + grace))

rm -rf -- "$runs"/edgekit-*
chmod 755 "$store" "$store/objects" "$store/scratch" && cat >"$job" && chmod 644 "$job" \
  || ended unreadable
for file do if [ -f "$file" ]; then chmod a+r "$file" || ended unreadable; fi; done

reads=
if [ -n "$sampler" ]; then
  sh -c 'echo $$ >"$1"; printf "%s\n" "$2"; exec sleep "$3"' \
    sh "$job.pid" "$spec" "$((seconds + grace))" \
    | "$sampler" --sampler >"$job.rows" 2>"$job.said" &
  reads=$! turns=0
  while [ ! -s "$job.rows" ] && [ -d "/proc/$reads" ] && [ "$turns" -lt 30 ]; do
    pause; turns=$((turns + 1))
  done
  sleep "$idle"
fi

since=$(date '+%m-%d %H:%M:%S.000')
said=$(am start -W -S -n "$package/$activity" --es job "$job" --es run "$name" </dev/null 2>&1)
printf '%sam\n%s\n' "$mark" "$said" >&2
case $said in *'Status: ok'*|*'Status: timeout'*) ;; *) ended not-started;; esac
pid=$(pidof "$package"); pid=${pid%% *}

end= part= open=
while [ -z "$end" ]; do
  # whether it is there is asked first: what it wrote before it went is read after that
  if [ -n "$pid" ] && [ -d "/proc/$pid" ]; then gone=; else gone=yes; fi
  if [ -z "$open" ] && [ -r "$runs/$name.jsonl" ]; then exec 3<"$runs/$name.jsonl"; open=yes; fi
  if [ -n "$open" ]; then
    while IFS= read -r line <&3; do
      line=$part$line part=
      say "$line" || exit 1
      case $line in '{"event": "done"'*|'{"event": "error"'*) end=over; break;; esac
    done
    if [ -z "$end" ]; then part=$part$line; fi
  fi
  if [ -n "$end" ]; then break; fi
  read -r now rest </proc/uptime
  if [ -n "$gone" ]; then
    # past its limit it has ended itself
    if [ "${now%.*}" -ge "$((until - grace))" ]; then end=late; else end=gone; fi
    break
  fi
  if [ "${now%.*}" -ge "$until" ]; then end=late; break; fi
  pause
done

if [ -n "$reads" ]; then
  read -r feeder <"$job.pid" && kill "$feeder" 2>/dev/null
  wait "$reads"; printf '%ssampler %s\n' "$mark" "$?" >&2
  cat "$job.said" >&2
  say "${mark}rows"; cat "$job.rows"
fi
if [ "$end" = gone ]; then
  printf '%scrash\n' "$mark" >&2
  logcat -b crash -d -T "$since" </dev/null 2>/dev/null | grep -v '^---------' | head -n 40 >&2
  printf '%sexit %s/%s\n' "$mark" "$pid" "$since" >&2
  dumpsys activity exit-info "$package" </dev/null 2>/dev/null | head -n 40 >&2
fi
if [ "$end" = over ] && [ -n "$outputs" ] && [ -e "$runs/$name/outputs.npz" ]; then
  printf '%scopy\n' "$mark" >&2
  cp "$runs/$name/outputs.npz" "$outputs" >&2 || ended not-copied
fi
ended "$end"
"""


@dataclass(frozen=True)
class Told:
    """What `RUN` printed.

    Attributes:
        lines: the app's.
        rows: the sampler's.
        ended: how the launch ended: "over" (the app has printed its last line), "gone" (it did not,
            and its process is not there any more), "late", "not-started", "unreadable" (its files
            cannot be made readable to the app), "not-copied" (its outputs), "" if it did not say.
        am: what ``am start`` said.
        crash: the newest lines of the log of crashes.
        exit_reason: what Android's record of ended processes gives for its process; "" without.
        sampler_status: how the sampler ended; None where there is none.
        sampler_said, said: what the sampler and the shell said on standard error.
    """

    lines: str
    rows: str
    ended: str
    am: str
    crash: str
    exit_reason: str
    sampler_status: int | None
    sampler_said: str
    said: str


def told(stdout: str, stderr: str) -> Told:
    """`Told` out of what `RUN` printed."""
    lines, _, rows = stdout.partition(f"{MARK}rows\n")
    parts: dict[str, list[str]] = {"": []}
    values: dict[str, str] = {}
    key = ""
    for line in stderr.splitlines():
        if line.startswith(MARK):
            key, _, values[key] = line.removeprefix(MARK).partition(" ")
            parts[key] = []
        else:
            parts[key].append(line)
    texts = {name: "\n".join(part).strip() for name, part in parts.items()}
    status = values.get("sampler", "")
    return Told(
        lines=lines,
        rows=rows,
        ended=values.get("ended", ""),
        am=texts.get("am", ""),
        crash=texts.get("crash", ""),
        exit_reason=_exit_reason(texts.get("exit", ""), values.get("exit", "")),
        sampler_status=int(status) if status.isdigit() else None,
        sampler_said=texts.get("sampler", ""),
        said="\n".join(filter(None, (texts[""], texts.get("ended", ""), texts.get("copy", "")))),
    )


_RECORD = re.compile(
    r"timestamp=\d+-(?P<time>\S+ \S+) pid=(?P<pid>\d+) [^#]*?\breason=\d+ \((?P<reason>[^\n]*?)\) "
)


def _exit_reason(text: str, which: str) -> str:
    """What stands for the process in ``dumpsys activity exit-info``, the newest record first.

    Args:
        which: ``PID/MM-DD hh:mm:ss.mmm``, the process and when it was started; one that was gone at
            once has no number here. What ``am start -S`` has stopped before is none.
    """
    pid, _, since = which.partition("/")
    for record in _RECORD.finditer(text):
        new = record["time"] >= since and record["reason"] != "USER REQUESTED"
        if record["pid"] == pid or (not pid and new):
            return record["reason"].lower()
    return ""
