"""What a board is and how it is doing, for runners that do not tell it themselves.

The keys are those of the events "hello" and "environment" of ``runtime_bench/edgekit_bench``; it
is read by a shell script, since such boards need have no Python.
"""

from __future__ import annotations

from collections.abc import Mapping
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
if command -v dumpsys >/dev/null; then
  dumpsys battery 2>/dev/null | while IFS=': ' read -r key value more; do
    case $key in level|scale|status) say "battery $key" "$value";; esac
    case "$value $more" in 'powered true') say "battery fed" "$key";; esac
  done
  say screen "$(dumpsys power 2>/dev/null | grep -m 1 -o 'mWakefulness=[A-Za-z]*')"
fi
exit 0
"""
# BatteryManager.BATTERY_STATUS_…, which dumpsys prints as numbers.
_BATTERY = {"2": "charging", "3": "discharging", "4": "not charging", "5": "full"}
_HELLO = ("system", "machine", "kernel", "board", "soc")


def look(device: Device) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `device` says of itself for "hello", and of its clocks and heat for "environment"."""
    hello: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    zones = []
    battery: dict[str, str] = {}
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
        elif kind == "battery":
            battery[name] = value
        elif kind == "screen" and value:
            awake = value.partition("=")[2]
            environment["screen"] = "on" if awake == "Awake" else awake.lower()
        elif kind == "throttled" and value.startswith("0x"):
            environment["throttled"] = value
    if temperatures := parse_zones("\n".join(zones)):
        environment["temperatures_c"] = temperatures
    return hello, {**environment, **_battery(battery)}


def _battery(told: Mapping[str, str]) -> dict[str, Any]:
    """Of what ``dumpsys battery`` prints: how full it is, what it does, what feeds the phone."""
    found: dict[str, Any] = {}
    level, scale = told.get("level", ""), told.get("scale", "100")
    if level.isdigit() and scale.isdigit() and int(scale) > 0:
        found["battery_percent"] = round(100 * int(level) / int(scale))
    if told.get("status") in _BATTERY:
        found["battery"] = _BATTERY[told["status"]]
    if found:
        found["fed_by"] = told.get("fed", "nothing")
    return found


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
