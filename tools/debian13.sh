#!/usr/bin/env bash
# Packages of Debian 13 and all that they depend on, unpacked into a folder and not installed: for
# tests that need a program which Debian 12 lacks. Needs Debian, whose own package sources are asked
# for the other release.
#
#   tools/debian13.sh FOLDER PACKAGE...
set -euo pipefail
release=trixie
target=$(realpath -m "$1")
shift
[[ -e "$target" ]] && exit 0

. /etc/os-release
[[ ${ID:-} == debian ]] || { echo "needs Debian, not ${ID:-this}" >&2; exit 1; }
mkdir -p "$(dirname "$target")"
# Beside the folder: what is large may not fit where temporary files go.
work=$(mktemp -d "$(dirname "$target")/debian13.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{sources,lists/partial,state,cache/archives/partial,packages,unpacked}
# The first entry alone: the others are updates, or other people's.
if [[ -e /etc/apt/sources.list.d/debian.sources ]]; then
  sed "s/$VERSION_CODENAME/$release/g; /^\$/q" /etc/apt/sources.list.d/debian.sources >"$work/sources/debian.sources"
else
  grep -m 1 '^deb ' /etc/apt/sources.list | sed "s/$VERSION_CODENAME/$release/g" >"$work/sources/debian.list"
fi
options=(-qq
  -o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$work/sources"
  -o "Dir::State=$work/state" -o "Dir::State::lists=$work/lists" -o "Dir::State::status=/dev/null"
  -o "Dir::Cache=$work/cache" -o "APT::Sandbox::User=root")
apt-get "${options[@]}" update
mapfile -t packages < <(apt-cache "${options[@]}" depends --recurse --no-recommends --no-suggests \
  --no-conflicts --no-breaks --no-replaces --no-enhances "$@" | grep '^[a-z]' | sort -u)
(cd "$work/packages" && apt-get "${options[@]}" download "${packages[@]}")
for package in "$work"/packages/*.deb; do dpkg-deb --extract "$package" "$work/unpacked"; done
mv "$work/unpacked" "$target"
