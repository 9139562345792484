"""The script that asks a board what it is. POSIX sh; needs no Python and no GNU tool there.

It only reads, and prints blocks that `edgekit.devices.probe` takes apart:

    @thermal/type          a name of ours begins a block
    </sys/class/…/type     where it was read (what a program printed has none)
    |cpu-thermal           what was read there

Whatever comes from the board stands behind ``<`` or ``|``, so that no file's text, and nothing that
a login script prints, passes for a block of ours. The last line tells that all of it arrived.
"""

from __future__ import annotations

BEGIN = "edgekit-probe-begin"
END = "edgekit-probe-end"

# What one Python says of itself, as JSON on a line. Python 3.0 and newer understand it.
# $1: how it was called.
ASK_PYTHON = """
import sys, json, os, struct
try:
    import importlib.util as u, importlib.metadata as m
except ImportError:
    u = m = None
import sysconfig, platform
def version(name):
    for each in (name, name + "-cpu", name + "-nightly"):
        try:
            return m.version(each)
        except Exception:
            pass
    return "unknown"
runtimes = {}
for name, module in json.loads(os.environ["EDGEKIT_MODULES"]).items():
    if u and u.find_spec(module):
        runtimes[name] = version(name)
marker = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
print(json.dumps({
    "called": sys.argv[1], "executable": os.path.realpath(sys.executable), "prefix": sys.prefix,
    "version": list(sys.version_info[:3]), "bits": 8 * struct.calcsize("P"),
    "implementation": sys.implementation.name, "environment": sys.prefix != sys.base_prefix,
    "managed": os.path.exists(marker), "libc": list(platform.libc_ver()), "runtimes": runtimes}))
"""

# $1: `ASK_PYTHON`, $2: JSON of runtimes and their modules, $3: the store's folder, in the user's
# cache folder if that is empty, the rest: Pythons to ask.
SCRIPT = r"""
LC_ALL=C; export LC_ALL
echo edgekit-probe-begin
nl='
'
ask=$1; EDGEKIT_MODULES=$2; export EDGEKIT_MODULES; store=$3; shift 3

has() { command -v "$1" >/dev/null 2>&1; }

# $1: block. Standard input becomes its text; at most 64 KiB of it. NULs, as in a device tree, stay.
text() { echo "@$1"; head -c 65536 | sed 's/^/|/'; echo; }

# $1: block, the rest: a program. Only if it is there.
say() { block=$1; shift; if has "$1"; then "$@" 2>&1 </dev/null | text "$block"; fi; }

# $1: block, the rest: files, of which the first line counts.
line() {
  block=$1; shift
  for file in "$@"; do
    [ -e "$file" ] || continue
    case $file in *"$nl"*) continue;; esac
    value=
    if [ -r "$file" ] && [ -f "$file" ]; then IFS= read -r value 2>/dev/null <"$file"
    else printf '@%s\n<%s\n' "$block" "$file"; echo '!not readable'; continue; fi
    [ -n "$value" ] && printf '@%s\n<%s\n|%s\n' "$block" "$file" "$value"
  done
}

# $1: block, the rest: files or folders; that they are there.
there() {
  block=$1; shift
  for file in "$@"; do
    case $file in *"$nl"*) continue;; esac
    [ -e "$file" ] && printf '@%s\n<%s\n' "$block" "$file"
  done
}

say uname.s uname -s; say uname.m uname -m; say uname.r uname -r
[ -r /etc/os-release ] && text os-release </etc/os-release
shell=$(command -v sh); [ -r "$shell" ] || shell=/bin/sh
od -An -tx1 -N20 "$shell" 2>/dev/null | text elf
say libc.getconf getconf GNU_LIBC_VERSION
say libc.ldd ldd --version
for file in /lib/ld-musl-*.so.1; do [ -x "$file" ] && "$file" 2>&1 | text libc.musl; done
for file in /lib/libc.so.6 /lib64/libc.so.6 /lib/*/libc.so.6; do
  for loader in /lib/ld-linux*.so.* /lib64/ld-linux*.so.*; do
    [ -e "$file" ] && [ -e "$loader" ] && "$loader" "$file" 2>/dev/null | text libc.itself
  done
done
there libc.bionic /system/bin/linker /system/bin/linker64

for base in /proc/device-tree /sys/firmware/devicetree/base; do
  if [ -r $base/model ]; then
    text model <$base/model
    [ -r $base/compatible ] && text compatible <$base/compatible
    break
  fi
done
d=/sys/class/dmi/id
line dmi.vendor $d/sys_vendor; line dmi.product $d/product_name; line dmi.board $d/board_name
line soc0.id /sys/devices/soc0/soc_id; line soc0.machine /sys/devices/soc0/machine
line soc0.family /sys/devices/soc0/family
if has getprop; then
  for name in ro.product.manufacturer ro.product.model ro.product.device ro.soc.manufacturer \
    ro.soc.model ro.board.platform ro.build.version.release ro.build.version.sdk \
    ro.product.cpu.abilist ro.hardware ro.hardware.vulkan ro.kernel.qemu; do
    getprop "$name" 2>/dev/null | text "prop.$name"
  done
fi

grep -E '^(processor|model name|Model|Hardware|CPU (implementer|part)|vendor_id)[[:space:]]*:' \
  /proc/cpuinfo 2>/dev/null | text cpuinfo
grep -E '^(flags|Features)[[:space:]]*:' /proc/cpuinfo 2>/dev/null | head -n 1 | text features
c=/sys/devices/system/cpu
line cpu.possible $c/possible; line cpu.online $c/online
policies=$c/cpufreq/policy[0-9]*
for policy in $policies; do [ -d "$policy" ] || policies=$c/cpu[0-9]*/cpufreq; break; done
for policy in $policies; do
  for name in related_cpus cpuinfo_max_freq scaling_max_freq scaling_cur_freq scaling_governor; do
    line "policy.$name" "$policy/$name"
  done
done
grep -E '^(MemTotal|MemAvailable|SwapTotal):' /proc/meminfo 2>/dev/null | text meminfo

id -u 2>/dev/null | text uid
if has sudo; then
  if sudo -n true >/dev/null 2>&1 </dev/null; then echo yes; else echo no; fi | text sudo
fi
store=${store:-${XDG_CACHE_HOME:-$HOME/.cache}/edgekit}
printf '%s\n' "$store" | text store
while [ ! -d "$store" ]; do
  case $store in */*) store=${store%/*};; *) break;; esac
  [ -n "$store" ] || store=/
done
df -Pk "$store" 2>/dev/null | text store.df
printf '%s\n' "$HOME" | text home
[ -d "$HOME" ] && df -Pk "$HOME" 2>/dev/null | text home.df

[ -r /etc/nv_tegra_release ] && text tegra </etc/nv_tegra_release
if has dpkg-query; then
  for name in nvidia-jetpack nvidia-l4t-core libnvinfer10 libnvinfer8 hailort; do
    dpkg-query -W -f '${Version}' "$name" 2>/dev/null | text "package.$name"
  done
fi
there trtexec /usr/src/tensorrt/bin/trtexec; has trtexec && command -v trtexec | text trtexec.path
say nvpmodel nvpmodel -q
say nvidia-smi nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
for name in tegrastats jetson_clocks vcgencmd hailortcli edgetpu_compiler adb; do
  has "$name" && command -v "$name" | text "program.$name"
done
there device.hailo /dev/hailo[0-9]*; there device.apex /dev/apex_[0-9]*
there device.ethosu /dev/ethosu[0-9]*; there device.dri /dev/dri/renderD* /dev/dri/card[0-9]*
there device.nvidia /dev/nvidia[0-9]* /dev/nvhost-gpu /dev/nvgpu
there device.mali /dev/mali[0-9]*; there device.kgsl /dev/kgsl-3d0
there device.rknpu /dev/rknpu; there device.accel /dev/accel/accel[0-9]*
there device.galcore /dev/galcore
for folder in /sys/bus/usb/devices/*; do
  if [ -r "$folder/idVendor" ] && [ -r "$folder/idProduct" ]; then
    read -r v <"$folder/idVendor"; read -r p <"$folder/idProduct"
    case $v:$p in 1a6e:089a|18d1:9302) printf '@usb.coral\n<%s\n|%s\n' "$folder" "$v:$p";; esac
  fi
done
there vulkan /usr/share/vulkan/icd.d/*.json /etc/vulkan/icd.d/*.json

for folder in /sys/class/hwmon/hwmon[0-9]*; do
  line hwmon.name "$folder/name"
  line hwmon.label "$folder"/*_label
  there hwmon.input "$folder"/temp*_input "$folder"/power*_input "$folder"/power*_average \
    "$folder"/curr*_input "$folder"/in*_input "$folder"/energy*_input
done
for folder in /sys/class/thermal/thermal_zone[0-9]*; do
  line thermal.type "$folder/type"; line thermal.temp "$folder/temp"
done
for folder in /sys/class/powercap/*:*; do
  line powercap.name "$folder/name"; line powercap.energy "$folder/energy_uj"
done
for folder in /sys/bus/iio/devices/iio:device[0-9]*; do
  line iio.name "$folder/name"
  there iio.channel "$folder"/energy_value "$folder"/in_power*_input "$folder"/in_power*_raw
done
for folder in /sys/class/power_supply/*; do
  line supply.type "$folder/type"
  there supply.input "$folder/current_now" "$folder/voltage_now" "$folder/power_now"
done
line throttled.file /sys/devices/platform/soc/soc:firmware/get_throttled
say throttled.vcgencmd vcgencmd get_throttled
has vcgencmd && vcgencmd pmic_read_adc 2>&1 </dev/null | head -n 60 | text pmic

readlink /proc/$$/exe 2>/dev/null | text exe
say virtual systemd-detect-virt

for python in "$@"; do
  case $python in '~/'*) python=$HOME/${python#'~/'};; esac
  has "$python" || continue
  printf '%s\n' "$python" | text python.there
  "$python" -c "$ask" "$python" 2>/dev/null </dev/null | text python
done
echo edgekit-probe-end
exit 0
"""
