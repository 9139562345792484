#!/usr/bin/env bash
# The whole contract of runners through a real adb server and the doubles of a phone and of the app
# (tests/app_double.py): some minutes. The app is the runner in Python, or a command that takes the
# path of a job and prints the lines:
#
#   tools/app_contract.sh ['java -cp CLASSES JvmRunner']
set -euo pipefail
cd "$(dirname "$0")/.."
EDGEKIT_TEST_APP_CONTRACT=1 EDGEKIT_TEST_APP="${1:-}" \
  exec .venv/bin/pytest -n 0 tests/measure/test_app_runner.py -k TestContract
