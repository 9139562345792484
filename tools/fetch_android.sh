#!/usr/bin/env bash
# What Debian has for building an Android app, unpacked into a folder and not installed: Android's
# classes (API 23) and dx, of Debian 11, which Debian 12 does not have. Needs Debian, whose own package
# source is asked for the other release. What is fetched has to be the very files named here.
#
#   tools/fetch_android.sh [FOLDER]     (.make/android, where the tests and tools/build_apk.py look)
set -euo pipefail
release=bullseye
sums='8fc128db7c27253d963eb9b33de79b197162a4749d2ba69019b2fd0664cbd7fe  dalvik-exchange_10.0.0+r36-1_all.deb
8af1b6df556971dda0a6da3536ea526a838e0c363afcdd454213d8bce94793e3  libandroid-23-java_6.0.1+r72-6_all.deb'
target=${1:-"$(dirname "$0")/../.make/android"}
[[ -e "$target" ]] && exit 0

. /etc/os-release
[[ ${ID:-} == debian ]] || { echo "needs Debian, not ${ID:-this}" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{sources,lists/partial,state,cache/archives/partial,packages,unpacked}
# The address alone: the other release has no updates of that name, and another key.
if [[ -e /etc/apt/sources.list.d/debian.sources ]]; then
  uri=$(grep -m 1 '^URIs:' /etc/apt/sources.list.d/debian.sources | awk '{print $2}')
else
  uri=$(grep -m 1 '^deb ' /etc/apt/sources.list | sed 's/\[[^]]*\]//' | awk '{print $2}')
fi
echo "deb $uri $release main" >"$work/sources/debian.list"
options=(-qq
  -o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$work/sources"
  -o "Dir::State=$work/state" -o "Dir::State::lists=$work/lists" -o "Dir::State::status=/dev/null"
  -o "Dir::Cache=$work/cache" -o "APT::Sandbox::User=root")
apt-get "${options[@]}" update
(cd "$work/packages" && apt-get "${options[@]}" download dalvik-exchange libandroid-23-java)
# apt writes the + of a version as %2b in a file's name at times.
for package in "$work"/packages/*%2b*; do [[ -e $package ]] && mv "$package" "${package//%2b/+}"; done
(cd "$work/packages" && sha256sum --quiet -c <<<"$sums")
for package in "$work"/packages/*.deb; do dpkg-deb --extract "$package" "$work/unpacked"; done
mkdir -p "$(dirname "$target")"
mv "$work/unpacked" "$target"
