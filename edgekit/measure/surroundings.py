"""What a board is and how it is doing, for runners that do not tell it themselves.

The keys are those of the events "hello" and "environment" of ``runtime_bench/edgekit_bench.py``; it
is read by a shell script, since such boards need have no Python.
"""

from __future__ import annotations

from typing import Any

from edgekit.core.protocols import Device
from edgekit.measure.heat import parse_zones

# One line each: a key, a tab, a value; a second field where there are several.
_SCRIPT = """
say() { [ -n "$2" ] && printf '%s\\t%s\\n' "$1" "$2"; }
say system "$(uname -s)"
say machine "$(uname -m)"
say kernel "$(uname -r)"
say cores "$(nproc 2>/dev/null || grep -c ^processor /proc/cpuinfo)"
say board "$(tr -d '\\000' </proc/device-tree/model 2>/dev/null)"
say board "$(getprop ro.product.model 2>/dev/null)"
say soc "$(getprop ro.soc.model 2>/dev/null)"
say load "$(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null)"
for policy in /sys/devices/system/cpu/cpufreq/policy*; do
  [ -d "$policy" ] || continue
  say "governor ${policy##*/}" "$(cat "$policy/scaling_governor" 2>/dev/null)"
  say "khz ${policy##*/}" "$(cat "$policy/scaling_cur_freq" 2>/dev/null)"
done
for zone in /sys/class/thermal/thermal_zone*; do
  [ -r "$zone/temp" ] || continue
  say zone "${zone##*/}:$(cat "$zone/type") $(cat "$zone/temp" 2>/dev/null)"
done
command -v vcgencmd >/dev/null && say throttled "$(vcgencmd get_throttled | cut -d= -f2)"
exit 0
"""
_HELLO = ("system", "machine", "kernel", "board", "soc")


def look(device: Device) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `device` says of itself for "hello", and of its clocks and heat for "environment"."""
    hello: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    zones = []
    done = device.run(["sh", "-c", _SCRIPT], timeout_seconds=60)
    for line in done.stdout.splitlines():
        key, tab, value = line.partition("\t")
        kind, _, name = key.partition(" ")
        if not tab:
            continue
        if kind in _HELLO:
            hello[kind] = value
        elif kind == "cores" and value.isdigit():
            hello["cores"] = int(value)
        elif kind == "load":
            environment["load_average"] = [float(part) for part in value.split() if _number(part)]
        elif kind == "governor":
            environment.setdefault("governors", {})[name] = value
        elif kind == "khz" and value.isdigit():
            environment.setdefault("cpu_khz", {})[name] = int(value)
        elif kind == "zone":
            zones.append(value)
        elif kind == "throttled" and value.startswith("0x"):
            environment["throttled"] = value
    if temperatures := parse_zones("\n".join(zones)):
        environment["temperatures_c"] = temperatures
    return hello, environment


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
