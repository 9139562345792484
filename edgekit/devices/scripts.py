"""The few lines of POSIX shell that edgekit runs on a board, and how arguments get into them.

They keep to what dash, busybox and a phone's mksh with toybox have in common. Values are always
positional arguments, never parts of a script's text.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

# $1: a word that marks the line with the process id, and the process by its environment; the rest
# is the command. Where nobody reads any more, the line ends it before it begins. What a login shell
# printed by itself comes before the mark.
RUN = """
export EDGEKIT_RUN="$1"; printf '%s\\n' "$1" || exit 1; printf '%s %s\\n' "$1" "$$" >&2 || exit 1
shift; exec "$@"
"""

# The same over adb, which passes on neither how a command ended nor that the link was lost before
# it did. $1: nonce of the lines that are not the command's, $2: where they go (1, 2), $3: standard
# input, $4: where standard error goes (files; untouched if empty), $5: RUN_INNER; then the command.
# It removes nothing: $3 may be /dev/null, and a shell there may be root's.
#
# A shell tells of a signal in words on its own standard error, and by 128 + its number, which an
# exit code may be as well. So its standard error is kept apart from the command's, whose streams
# are set inside of its subshell: mksh would tell of the signal with those already in place.
RUN_OUTER = """
nonce=$1 notes=$2 in=$3 err=$4 inner=$5; shift 5
export EDGEKIT_RUN="edgekit:$nonce"
set -- sh -c "$inner" edgekit "$nonce" "$notes" "$@"
if command -v setsid >/dev/null 2>&1; then set -- setsid "$@"; fi
if [ -n "$in" ]; then exec <"$in" || exit 1; fi
exec 3>&1 4>&2
if [ -n "$err" ]; then exec 4>"$err" || exit 1; fi
printf 'edgekit:%s:pid %s\n' "$nonce" "$$" >&"$notes" || exit 1
said=$(exec 2>&1; (exec 1>&3 2>&4 3>&- 4>&-; exec "$@"); echo "code $?")
printf 'edgekit:%s:end\n%s\n' "$nonce" "$said" >&"$notes"
if [ -n "$err" ]; then printf 'edgekit:%s:stderr\n' "$nonce"; cat "$err"; fi
printf 'edgekit:%s:over\n' "$nonce" >&"$notes"
"""
RUN_INNER = """printf 'edgekit:%s:pid %s\n' "$1" "$$" >&"$2"; shift 2; exec "$@" """

# $1: the mark of a run; the rest: its process ids. The whole group where one leads it (sshd and
# adbd start commands that way, dropbear does not), and whatever has the mark in its environment:
# what the run has started, and all of it after a Ctrl-C before it had told its process id.
KILL = """
mark=$1; shift
for pid do kill -s KILL -- "-$pid" 2>/dev/null || kill -s KILL "$pid" 2>/dev/null; done
for file in $(grep -l -- "EDGEKIT_RUN=$mark" /proc/[0-9]*/environ 2>/dev/null); do
  pid=${file#/proc/}; kill -s KILL "${pid%/environ}" 2>/dev/null
done; :
"""

# $1: minutes after which scratch files are nobody's any more, $2: the store's folder; in the user's
# cache folder if that is empty. On a board whose wall clock was set just now every file looks old:
# what a lock or a guard of the clocks holds in its folder is left to them.
STORE = """
store=${2:-${XDG_CACHE_HOME:-$HOME/.cache}/edgekit}
umask 077
mkdir -p "$store/objects" "$store/scratch" || exit 1
find "$store/scratch" -type f -mmin "+$1" ! -path '*/lock*/*' ! -name pid ! -name guard \\
  ! -name jetson -exec rm -f {} + 2>/dev/null
printf 'edgekit-store:%s:end' "$store"
"""

# $1: store, $2: object, $3: its size in bytes. Says that it is present, or how much room there is.
# An object got its name only after its digest had been checked; the size tells of a file that a
# power cut has emptied since.
LOOK = """
if [ -f "$2" ]; then
  have=$(stat -c %s "$2" 2>/dev/null || wc -c <"$2")
  if [ "$have" -eq "$3" ]; then touch -c "$2" && echo edgekit:present && exit 0; fi
fi
df -Pk "$1"
"""

# $1: store; standard input: a line for each object, its SHA-256. Says how large those are that are
# there, whether PUSH_ALL has its programs, and how much room there is. A process for all of them,
# not one for each: these are slow to start on a board.
LOOK_ALL = """
cd -- "$1/objects" || exit 1
command -v tar >/dev/null && command -v sha256sum >/dev/null && echo edgekit:together
names=$(cat)
printf '%s\\n' "$names" | xargs stat -c 'edgekit:have %n %s' -- 2>/dev/null
printf '%s\\n' "$names" | xargs touch -c -- 2>/dev/null
df -Pk "$1"
"""

# $1: store, $2: folder for the parts, $3: how many; standard input: a tar of files that are named
# by their SHA-256. Exits with 4 if not all arrived, 3 if one has another digest.
PUSH_ALL = """
store=$1 part=$2 count=$3
mkdir -p "$part" && cd -- "$part" || exit 1
trap 'rm -rf -- "$part"' EXIT
tar -xf - 2>/dev/null
set -- *
[ $# -eq "$count" ] || exit 4
sha256sum -- "$@" | while read -r sum name; do [ "$sum" = "$name" ] || exit 3; done || exit 3
mv -f -- "$@" "$store/objects/"
"""

# $1: file. Its size in bytes, 0 if there is none.
SIZE = """if [ -f "$1" ]; then stat -c %s "$1" 2>/dev/null || wc -c <"$1"; else echo 0; fi"""

# $1: part; standard input: what it lacks. Prints the SHA-256 of the whole, which costs no time
# while the link is what one waits for; nothing where there is no program for it.
APPEND = """
if command -v sha256sum >/dev/null; then digest=sha256sum
elif command -v openssl >/dev/null; then digest='openssl dgst -sha256 -r'
else exec cat >>"$1"; fi
{ if [ -f "$1" ]; then cat <"$1"; fi; tee -a "$1"; } | $digest
"""

# $1: file.
READ = """exec <"$1" || exit 1; echo edgekit:begin; exec cat"""
BEGIN = "edgekit:begin\n"
TRY = """cat </dev/null >"$1" && rm -f -- "$1" """
REMOVE = """rm -f -- "$1" """

# $1: part, $2: object, $3: SHA-256 in hex, $4: size in bytes, $5: the part's SHA-256 if known.
# Exits with 3 if the part has another digest, with 4 if it has another size, which is printed.
COMMIT = """
have=0; if [ -f "$1" ]; then have=$(stat -c %s "$1" 2>/dev/null || wc -c <"$1"); fi
if [ "$have" -ne "$4" ]; then echo "$have"; exit 4; fi
if [ -n "$5" ]; then sum=$5
elif command -v sha256sum >/dev/null; then sum=$(sha256sum <"$1")
elif command -v openssl >/dev/null; then sum=$(openssl dgst -sha256 -r <"$1")
else sum=$(python3 -c 'import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())' <"$1"); fi || exit 1
case $sum in "$3"*) mv -f -- "$1" "$2";; *) exit 3;; esac
"""

# $1: folder of objects. One line each: time of last use (s), size in bytes, name.
LIST = """echo edgekit:begin; cd -- "$1" && find . -type f -exec stat -c '%Y %s %n' {} +"""

FREE = """df -Pk "$1" """


def wrapped(script: str, arguments: Sequence[str]) -> str:
    """A command line for the login shell that runs `script` with `arguments`.

    `exec` so that signals and exit codes are those of the command.
    """
    return "exec " + shlex.join(["sh", "-c", script, "edgekit", *arguments])


def free_bytes(df: str) -> int | None:
    """Available bytes in what ``df -Pk`` printed (POSIX format, 1024-byte blocks); None if none."""
    found = re.search(r"\s\d+\s+\d+\s+(-?\d+)\s+\d+%\s+/", df)
    return int(found[1]) * 1024 if found else None


def listed(text: str) -> list[tuple[float, int, str]]:
    """What `LIST` printed: time of last use (s), size in bytes, name."""
    lines = (line.split(" ", 2) for line in text.partition(BEGIN)[2].splitlines())
    return [(float(used), int(size), name.removeprefix("./")) for used, size, name in lines]
