# make demo    four weeks of real prices, traded; then the Dagster UI until Ctrl-C
# make test    lint, types, layers and the whole suite
# make faults  a thousand orders while workers and PostgreSQL are killed; exit 1 when anything is lost
# make chaos   a live system for MINUTES while everything of it is killed; exit 1 when its record is wrong
# make setup   only the environment; `make clean` removes it and all build output (never .trading)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# The suite runs on one process more than there are cores: some tests wait for the processes they started.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
# What `make faults` sends, and the seed that it and `make chaos` start from (none: a new one, printed).
ORDERS ?= 1000
SEED   ?=
# How long `make chaos` strikes.
MINUTES ?= 10

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types layers suite bench faults chaos lock schema clean

help:
	@grep -E '^# make' Makefile | sed 's/^# //'

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, and $(PYTHON) is older or missing; try make PYTHON=python3.12." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) has no working venv module; on Debian: apt-get install python3-venv." >&2; exit 1; }
	@echo "Installing into $(VENV) (once; a minute or two)"
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pip install -qq --disable-pip-version-check \
	  --require-hashes --compile -r requirements.lock
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pip install -qq --disable-pip-version-check \
	  --no-deps --no-build-isolation --no-index -e .
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m compileall -q trading_orchestration sql
	@touch $(STAMP)

demo: setup
	@$(BIN)/trading demo

# The suite waits for processes now and then; the checks use what it leaves.
test: setup
	@$(MAKE) --no-print-directory -j 2 suite lint types layers

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .

types: setup
	@$(BIN)/mypy

layers: setup
	@$(BIN)/lint-imports

suite: setup
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

bench: setup
	@$(BIN)/python -m benchmarks

faults: setup
	@$(BIN)/python -m trading_orchestration_tests.faults --orders $(ORDERS) $(if $(SEED),--seed $(SEED))

chaos: setup
	@$(BIN)/python -m trading_orchestration_tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# Resolves anew and pins every version and hash; needs `uv` on the path.
lock:
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
	  --no-strip-extras --no-emit-index-url --no-annotate --no-header --quiet --upgrade -o requirements.lock

schema: setup
	@$(BIN)/python -m trading_orchestration.store.migrations dump

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
