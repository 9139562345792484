"""Clocks, temperatures, load and throttling: the event "environment"."""

import glob
import os
import shutil
import subprocess

from .events import one_line
from .files import read_text


def environment(sysfs="/sys", proc="/proc"):
    """Clocks, temperatures and load now; "unavailable" says of each that cannot be read why."""
    found, unavailable = {}, {}
    policies = sorted(glob.glob(sysfs + "/devices/system/cpu/cpufreq/policy[0-9]*")) or sorted(
        glob.glob(sysfs + "/devices/system/cpu/cpu[0-9]*/cpufreq")
    )
    for key, name in (
        ("governors", "scaling_governor"),
        ("cpu_khz", "scaling_cur_freq"),
        ("cpu_max_khz", "scaling_max_freq"),
    ):
        values, why = {}, "no cpufreq in %s/devices/system/cpu" % sysfs
        for folder in policies:
            text, reason = read_text(folder + "/" + name)
            label = os.path.basename(folder)
            label = os.path.basename(os.path.dirname(folder)) if label == "cpufreq" else label
            if text:
                values[label] = int(text) if text.isdigit() else text
            why = reason or why
        if values:
            found[key] = values
        else:
            unavailable[key] = why

    temperatures, why = {}, "no thermal zone in %s/class/thermal" % sysfs
    for zone in sorted(glob.glob(sysfs + "/class/thermal/thermal_zone*")):
        kind, _ = read_text(zone + "/type")
        text, reason = read_text(zone + "/temp")
        try:
            celsius = int(text or "") / 1000.0
        except ValueError:
            why = reason or "%s/temp: %r is not a number" % (zone, text)
            continue
        if celsius <= -100:  # -256 °C is how some drivers say that the sensor is off
            why = "%s/temp: %g °C is a dummy" % (zone, celsius)
            continue
        temperatures["%s:%s" % (os.path.basename(zone), kind or "?")] = celsius
    if temperatures:
        found["temperatures_c"] = temperatures
    else:
        unavailable["temperatures_c"] = why

    text, why = read_text(proc + "/loadavg")
    if text:
        found["load_average"] = [float(part) for part in text.split()[:3]]
    else:
        unavailable["load_average"] = why

    throttled, why = read_throttled(sysfs)
    if throttled is None:
        unavailable["throttled"] = why
    else:
        found["throttled"] = throttled
    found["unavailable"] = unavailable
    return found


def read_throttled(sysfs="/sys"):
    """Raspberry Pi's throttling bits as "0x…", or None and why not.

    From the kernel's file, else from `vcgencmd get_throttled`, which prints "throttled=0x50000".
    https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
    """
    text, why = read_text(sysfs + "/devices/platform/soc/soc:firmware/get_throttled")
    if text:
        return "0x" + text.lower().replace("0x", ""), ""
    program = shutil.which("vcgencmd")
    if program is None:
        return None, "no get_throttled in sysfs and no vcgencmd on PATH"
    try:
        done = subprocess.run(
            [program, "get_throttled"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return None, "vcgencmd get_throttled: %s" % one_line(exc)
    answer = done.stdout.decode("utf-8", "replace").strip()
    key, _, value = answer.partition("=")
    if done.returncode != 0 or key != "throttled" or not value.startswith("0x"):
        return None, "vcgencmd get_throttled said %r" % answer[:100]
    return value, ""
