# Two commands on a fresh machine: `make demo` and `make test`. Both make .venv by themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: demo test test-fast lint clean

demo: .make/demo
	$(BIN)/edgekit demo -o demo

test: .make/test
	$(BIN)/pytest -n $(JOBS) --dist worksteal

test-fast: .make/test
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m "not slow"

lint: .make/test
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

# Installed again only when what is asked for has changed.
.make/demo .make/test: .make/%: pyproject.toml tools/constraints.txt
	@mkdir -p .make
	@$(PYTHON) -c 'import sys; sys.exit("edgekit needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": make PYTHON=python3.11 " ) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[$*]' --constraint tools/constraints.txt
	@touch $@

clean:
	rm -rf .make $(VENV) demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
