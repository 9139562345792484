#!/usr/bin/env bash
# Debian 13's Swift 6.0 with what it needs to build and test a package, for tests/swift.py: 560 MB to
# fetch, 2.6 GB unpacked. A root folder of its own, which tests enter by chroot.
#
#   tools/fetch_swift.sh [FOLDER]     (.make/swift, where the tests look)
set -euo pipefail
target=${1:-"$(dirname "$0")/../.make/swift"}
[[ -e "$target" ]] && exit 0
"$(dirname "$0")/debian13.sh" "$target.part" swiftlang libc6-dev libstdc++-14-dev dash coreutils git
# What base-files and dash would have made when they are installed.
for folder in bin lib lib64 sbin; do
  [[ -e "$target.part/$folder" ]] || ln -s "usr/$folder" "$target.part/$folder"
done
ln -sf dash "$target.part/usr/bin/sh"
mkdir -p "$target.part"/{dev,proc,tmp,root}
mv "$target.part" "$target"
