# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv by themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: demo test test-fast test-arm64 lint native zoo zoo-check compress-bench clean

demo: .make/demo
	$(BIN)/edgekit demo -o demo

test: .make/test
	$(BIN)/pytest -n $(JOBS) --dist worksteal

test-fast: .make/test
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not slow"

# The contract of devices on an aarch64 board under qemu; as root, with mmdebstrap and qemu-user-static.
test-arm64: .make/test
	EDGEKIT_TEST_ARM64=build/arm64 $(BIN)/pytest -n 0 tests/devices/arm64.py

lint: .make/test
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

# The runner for boards without Python, for each kind of board; edgekit builds it by itself, too.
native: .make/test
	$(BIN)/python tools/build_native.py -o build/native

# Every model of the zoo to every format and delegate: hours. Stopped, it goes on where it was.
zoo: .make/test
	$(BIN)/python tools/zoo/run.py --markdown build/zoo/table.md

# Four models of it, the CPU's formats only: minutes.
zoo-check: .make/test
	$(BIN)/python tools/zoo/run.py --check

# Every technique on small models, beside TF-MOT's by hand: about two hours. Stopped, it goes on.
compress-bench: .make/test
	$(BIN)/python -m pip install --quiet --editable '.[test,peers]' --constraint tools/constraints.txt
	$(BIN)/python tools/compress/bench.py --by-hand --jobs $(JOBS) --markdown tools/compress/TABLE.md

# Installed again only when what is asked for has changed.
.make/demo .make/test: .make/%: pyproject.toml tools/constraints.txt
	@mkdir -p .make
	@$(PYTHON) -c 'import sys; sys.exit("edgekit needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": make PYTHON=python3.11 " ) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$*]' --constraint tools/constraints.txt
	@touch $@

clean:
	rm -rf .make $(VENV) demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
