"""The scripts by which a runtime gets onto a board and off it again.

Everything lies in ``~/.edgekit/venv``: an environment as PEP 405 describes it, made by hand. Of the
board it needs a Python alone: neither pip nor ensurepip nor the module venv, which distributions
leave out or split off, no network, no root; and PEP 668 does not concern it, since the
distribution's own Python is not touched.

Two files tell what was made: ``edgekit-made.json`` what is in it, ``edgekit-made.txt`` each file,
then each folder, the deepest first. What is not in that list is never removed.
"""

from __future__ import annotations

RECORD = "edgekit-made.json"
LISTING = "edgekit-made.txt"

# Prints "edgekit-state:" and none, made or foreign; then, of one that was made, its record on a
# line, and on the lines below what else lies there.
STATE = f"""
venv=$HOME/.edgekit/venv
# A replacement that was cut off between its two renames.
[ -d "$HOME/.edgekit/.venv-old" ] && [ ! -e "$venv" ] && mv "$HOME/.edgekit/.venv-old" "$venv"
if [ -f "$venv/{RECORD}" ] && [ -f "$venv/{LISTING}" ]; then
  echo edgekit-state:made; cat "$venv/{RECORD}"; echo
  cd "$venv" && find . ! -type d ! -path '*/__pycache__/*' | grep -vxF -f {LISTING} | head -n 20
elif [ -e "$venv" ] || [ -h "$venv" ]; then echo edgekit-state:foreign
else echo edgekit-state:none
fi
exit 0
"""

# Removes what the list names, and nothing else. Prints what is left there.
UNDO = f"""
root=$HOME/.edgekit; venv=$root/venv
rm -rf "$root/.venv-new" "$root/.venv-old"
[ -f "$venv/{LISTING}" ] || exit 0
cd "$venv" || exit 1
# Names on lines; one rm for many where the board has what that takes.
remove() {{
  if command -v tr >/dev/null && command -v xargs >/dev/null; then
    tr '\\n' '\\000' | xargs -0 rm -f --
  else
    while IFS= read -r name; do rm -f -- "$name" || return 1; done
  fi
}}
own=no; grep -q '"folder_made": true' {RECORD} 2>/dev/null && own=yes
grep -v '/$' {LISTING} | grep -vxF -e ./{RECORD} -e ./{LISTING} | remove || exit 1
grep '/$' {LISTING} | while IFS= read -r folder; do
  rm -rf -- "$folder"__pycache__
  rmdir -- "$folder" 2>/dev/null
done
rm -f ./{LISTING} ./{RECORD}
find . ! -name . | head -n 20
cd "$root" && rmdir -- "$venv" 2>/dev/null
cd / && [ $own = yes ] && rmdir -- "$root" 2>/dev/null
exit 0
"""

# Runs in the board's Python (3.8 or newer), apart from its packages. $1: JSON with "wheels" (paths
# and names), "module", "distribution", "record". Prints JSON on a line that begins with
# "edgekit-prepared:", with "error" or "version". Nothing is left if it fails.
INSTALL = r"""
import json, os, shutil, subprocess, sys, zipfile
job = json.loads(sys.argv[1])
root = os.path.join(os.path.expanduser("~"), ".edgekit")
new, final = os.path.join(root, ".venv-new"), os.path.join(root, "venv")

class Failed(Exception):
    pass

def answer(**values):
    print("edgekit-prepared:" + json.dumps(values), flush=True)

def ask(code, *arguments):
    python = os.path.join(new, "bin", "python")
    done = subprocess.run([python, "-IBc", code] + list(arguments), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Failed("ended with %d: %s" % (done.returncode, said[-1] if said else "no message"))
    return done.stdout.decode("utf-8").strip().splitlines()[-1]

def environment():
    base = os.path.realpath(sys.executable)
    os.makedirs(os.path.join(new, "bin"))
    for name in ("python", "python3"):
        os.symlink(base if name == "python" else "python", os.path.join(new, "bin", name))
    with open(os.path.join(new, "pyvenv.cfg"), "w") as file:
        file.write("home = %s\ninclude-system-site-packages = false\nversion = %d.%d.%d\n"
                   % ((os.path.dirname(base),) + tuple(sys.version_info[:3])))
    pure, plat, prefix = json.loads(ask("import sysconfig as s, sys, json; print(json.dumps("
        "[s.get_path('purelib'), s.get_path('platlib'), sys.prefix]))"))
    if os.path.realpath(prefix) != os.path.realpath(new):
        raise Failed("%s does not keep to pyvenv.cfg (PEP 405)" % base)
    for folder in (pure, plat):
        os.makedirs(folder, exist_ok=True)
    return pure, plat

def unpack(path, name, pure, plat):
    with zipfile.ZipFile(path) as wheel:
        names = [n for n in wheel.namelist() if not n.endswith("/")]
        facts = [n for n in names if n.count("/") == 1 and n.endswith(".dist-info/WHEEL")]
        if len(facts) != 1:
            raise Failed("%s is not a wheel" % name)
        text = wheel.read(facts[0]).decode("utf-8", "replace").lower()
        home = pure if "root-is-purelib: true" in text else plat
        for member in names:
            parts = member.split("/")
            if any(p in ("", ".", "..") or "\n" in p or "\\" in p for p in parts):
                raise Failed("%s holds a file called %r" % (name, member))
            target = os.path.join(home, *parts)
            if parts[0].endswith(".data") and len(parts) > 2:
                kind = {"purelib": pure, "platlib": plat, "data": new}.get(parts[1])
                if kind is None:
                    continue  # scripts and headers: nothing here runs or compiles them
                target = os.path.join(kind, *parts[2:])
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with wheel.open(member) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            mode = wheel.getinfo(member).external_attr >> 16
            if mode & 0o111:
                os.chmod(target, 0o755)

def note(made):
    files, folders = [], []
    for folder, inside, names in os.walk(new, topdown=False):
        relative = os.path.relpath(folder, new)
        under = "./" if relative == "." else "./" + relative + "/"
        links = [n for n in inside if os.path.islink(os.path.join(folder, n))]
        files += [under + n for n in names + links]
        if relative != ".":
            folders.append(under)
    lines = files + ["./edgekit-made.json", "./edgekit-made.txt"] + folders
    record = dict(job["record"], folder_made=made)
    with open(os.path.join(new, "edgekit-made.json"), "w") as file:
        file.write(json.dumps(record))
    with open(os.path.join(new, "edgekit-made.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")

def main():
    made = job["folder_made"] or not os.path.exists(root)
    shutil.rmtree(new, ignore_errors=True)  # of a call that was cut off
    os.makedirs(new)
    try:
        pure, plat = environment()
        for wheel in job["wheels"]:
            unpack(wheel["path"], wheel["name"], pure, plat)
        try:
            version = ask("import sys, importlib, importlib.metadata as m; "
                "importlib.import_module(sys.argv[1]); print(m.version(sys.argv[2]))",
                job["module"], job["distribution"])
        except (Failed, subprocess.TimeoutExpired) as exc:
            raise Failed("it is there, but does not start: %s" % exc)
        note(made)
        old = os.path.join(root, ".venv-old")
        if job["replace"]:
            shutil.rmtree(old, ignore_errors=True)
            os.rename(final, old)
        os.rename(new, final)
        if job["replace"]:
            shutil.rmtree(old)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        if made and not job["folder_made"]:
            try:
                os.rmdir(root)
            except OSError:
                pass  # something else came to lie there meanwhile
        raise
    answer(version=version, python=os.path.join(final, "bin", "python"))

try:
    main()
except Failed as exc:
    answer(error=str(exc))
except (OSError, zipfile.BadZipFile, subprocess.TimeoutExpired, ValueError) as exc:
    answer(error="%s: %s" % (type(exc).__name__, exc))
"""
