"""How much memory a board lets a runner have, for the error when one is killed.

Out of memory is told to nobody but the kernel's log: the process is gone with SIGKILL. What can be
read is the memory of the board, the limit of the control group that commands run in there, and how
many of its processes were killed for it.
https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

from __future__ import annotations

import re

from edgekit.core.errors import DeviceError
from edgekit.core.files import readable_bytes
from edgekit.core.protocols import Device

# One line each: "total" and "free" in KB; "limit" with the bytes that a group of which this command
# is may have, and how many of the group's were killed. The nearest group with a limit is enough.
_SCRIPT = r"""
while read -r key value unit; do
  case $key in MemTotal:) echo "total $value";; MemAvailable:) echo "free $value";; esac
done </proc/meminfo
tell() {  # folder, the path below it, the file of the limit, the file that counts
  path=$2
  while [ -n "$path" ]; do
    at=$1$path
    [ "$path" = / ] && at=$1
    limit=$(cat "$at/$3" 2>/dev/null)
    case $limit in ''|max|*[!0-9]*) ;; *)
      if [ ${#limit} -lt 18 ]; then
        killed=$(grep '^oom_kill ' "$at/$4" 2>/dev/null)
        echo "limit $limit ${killed#oom_kill }"
        return
      fi;;
    esac
    [ "$path" = / ] && return
    path=${path%/*}
    path=${path:-/}
  done
}
while IFS=: read -r number kinds path; do
  case $number:$kinds in
    0:) [ -e "$1/cgroup.controllers" ] && tell "$1" "$path" memory.max memory.events;;
    *:memory|*:memory,*|*:*,memory|*:*,memory,*)
      tell "$1/memory" "$path" memory.limit_in_bytes memory.oom_control;;
  esac
done <"$2"
exit 0
"""
_LINE = re.compile(r"^(total|free|limit) (\d{1,18})(?: (\d{1,18}))?\s*$", re.MULTILINE)


def memory_facts(
    device: Device, groups: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup"
) -> str:
    """What is known of memory on `device`, after a colon; nothing if that is nothing.

    `groups` is where control groups are mounted there, `own` tells a process which are its own.
    """
    try:
        argv = ["sh", "-c", _SCRIPT, "sh", groups, own]
        said = device.run(argv, timeout_seconds=30).stdout
    except DeviceError:  # the link may be gone, too; that the runner was killed is the news
        return ""
    facts = parse_facts(said)
    return f": {facts}" if facts else ""


def parse_facts(text: str) -> str:
    """What the script printed, in words; empty if there is nothing in it."""
    found = {key: (int(value), more) for key, value, more in _LINE.findall(text)}
    facts = []
    if "limit" in found:
        limit, killed = found["limit"]
        fact = f"its control group may have {readable_bytes(limit)}"
        if killed and int(killed):
            fact += f" and has had {killed} of its processes killed for that"
        facts.append(fact)
    if "total" in found:
        fact = f"the board has {readable_bytes(1024 * found['total'][0])}"
        if "free" in found:
            fact += f", now {readable_bytes(1024 * found['free'][0])} free"
        facts.append(fact)
    return "; ".join(facts)
