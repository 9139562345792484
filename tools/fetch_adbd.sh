#!/usr/bin/env bash
# Debian 13's adbd and the libraries that it needs, for tests/adbd.py.
#
#   tools/fetch_adbd.sh [FOLDER]     (.make/adbd, where the tests look)
exec "$(dirname "$0")/debian13.sh" "${1:-"$(dirname "$0")/../.make/adbd"}" adbd
