# Two commands do everything: `make train` and `make test`. Flags go through ARGS: make train ARGS="--quick-test".

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help train test lint clean

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

train: .venv/train.stamp  ## Train all three phases (on the synthetic market, unless ARGS="--data-dir DIR")
	$(BIN)/mtquant-jax train $(ARGS)

test: .venv/test.stamp  ## Run the tests
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

lint: .venv/test.stamp  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## Remove the environment and what tools have cached; trainings stay
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is refreshed only when what it is made from has changed.
.venv/train.stamp: pyproject.toml constraints.txt
	@echo "Preparing .venv; the first time takes a minute or two"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	    || { echo "error: Python 3.11, 3.12 or 3.13 is needed; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(PIP) --editable '.[eval]'
	@touch $@

.venv/test.stamp: .venv/train.stamp
	$(PIP) --editable '.[test]'
	@touch $@
