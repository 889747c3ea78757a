# All targets run in .venv, which the first one that needs it makes: with uv where it is installed, else with pip.

PYTHON ?= python3
PIP_ARGS ?=
ARGS ?=
UV := $(shell command -v uv)
CONSTRAINTS := constraints.txt

VENV_PYTHON := .venv/bin/python
INSTALLED := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint clean

help:  ## list the targets and variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile
	@echo
	@echo 'Variables, as in `make test PYTHON=python3.12`:'
	@echo '  ARGS         further words for the command: overrides after demo, options of pytest after test'
	@echo '  PYTHON       interpreter of a new .venv, 3.11 or newer (python3)'
	@echo '  PIP_ARGS     further arguments for its installer, for example the index of another torch build'
	@echo '  CONSTRAINTS  versions for it; /dev/null takes the newest (constraints.txt: tested together)'
	@echo '  UV           empty: pip even where uv is installed'

demo: $(INSTALLED)  ## train, test and cost a small reduced ViT on the embedded leaves
	$(VENV_PYTHON) -m ufgir.train experiment=demo $(ARGS)

test: $(INSTALLED)  ## run the fast tests
	$(VENV_PYTHON) -m pytest $(ARGS)

test-slow: $(INSTALLED)  ## run the slow tests: wheels, launchers, kills
	$(VENV_PYTHON) -m pytest -m "slow and not gpu" --timeout=1200 $(ARGS)

lint: $(INSTALLED)  ## check style and imports
	$(VENV_PYTHON) -m ruff check

clean:  ## remove .venv and caches; runs and data stay
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

# Written last, so an interrupted installation starts anew; a finished one is repeated when its inputs change.
$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "ufgir needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "Name another interpreter: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; \
	    exit 2; }
	@echo "Making .venv: a few minutes and gigabytes of packages, this once."
	rm -rf .venv
ifneq ($(UV),)
	$(UV) venv --seed --python "$(PYTHON)" .venv
	$(UV) pip install --python $(VENV_PYTHON) --constraint $(CONSTRAINTS) $(PIP_ARGS) --editable '.[dev]'
else
	$(PYTHON) -m venv .venv
	$(VENV_PYTHON) -m pip install --constraint $(CONSTRAINTS) $(PIP_ARGS) --editable '.[dev]'
endif
	@touch $@
