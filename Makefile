# All targets but test-oldest use .venv. The first one creates it, with uv if that is installed, else with pip.

PYTHON ?= python3
PIP_ARGS ?=
MINUTES ?= 9
ARGS ?=
UV := $(shell command -v uv)
CONSTRAINTS := constraints.txt

VENV_PYTHON := .venv/bin/python
# Each core runs one test at a time, single-threaded: threads of several processes would slow each other down.
# A core begins with its share of the files in order and then takes from the others: most of a file stays together.
PARALLEL := --numprocesses=auto --maxprocesses=8 --dist=worksteal
ONE_THREAD := OMP_NUM_THREADS=1
INSTALLED := .venv/installed
OLDEST := .venv-oldest/installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-cluster test-oldest results-check lint clean

help:  ## list the targets and variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile
	@echo
	@echo 'Variables, as in `make test PYTHON=python3.12`:'
	@echo '  ARGS         further arguments: overrides for demo, options of pytest for test'
	@echo '  MINUTES      results-check: time for training (9); a repeated call continues'
	@echo '  PYTHON       interpreter for a new .venv, 3.11 or newer (python3; for test-oldest python3.11)'
	@echo '  PIP_ARGS     further arguments for the installer, for example the index of another torch build'
	@echo '  CONSTRAINTS  file of pinned versions (constraints.txt: tested together); /dev/null: the newest'
	@echo '  UV           empty: use pip even if uv is installed'

demo: $(INSTALLED)  ## train, test and measure a small ViT on the embedded leaves
	$(VENV_PYTHON) -m ufgir.train experiment=demo $(ARGS)

test: $(INSTALLED)  ## run the fast tests
	$(ONE_THREAD) $(VENV_PYTHON) -m pytest $(PARALLEL) $(ARGS)

test-slow: $(INSTALLED)  ## run the slow tests: wheels, launchers, killed processes
	$(ONE_THREAD) $(VENV_PYTHON) -m pytest $(PARALLEL) -m "slow and not gpu" --timeout=1800 $(ARGS)

test-cluster: $(INSTALLED)  ## run grids on a SLURM and a Ray cluster of this machine (apt-get install slurm-wlm munge)
	$(ONE_THREAD) $(VENV_PYTHON) -m pytest -m cluster -rs --timeout=900 $(ARGS)

test-oldest: $(OLDEST)  ## run the fast tests on the oldest supported versions, in .venv-oldest
	$(ONE_THREAD) .venv-oldest/bin/python -m pytest $(PARALLEL) $(ARGS)

results-check: $(INSTALLED)  ## train two runs of docs/results.md again, MINUTES long: ROOT=DIR of the photographs, CHECKPOINT=FILE
	@test -n "$(ROOT)" -a -n "$(CHECKPOINT)" || { echo "Give ROOT=DIR and CHECKPOINT=FILE; docs/results.md says where from." >&2; exit 2; }
	$(ONE_THREAD) timeout --foreground --signal=INT $(MINUTES)m $(VENV_PYTHON) -m ufgir.train --multirun \
	    experiment=photographs dataset.root=$(ROOT) backbone.checkpoint=$(CHECKPOINT) plugins=base,clca fold=0 keep=none \
	    output_root=outputs/results-check hydra/launcher=joblib hydra.launcher.n_jobs=2 $(ARGS) || test $$? -eq 124
	$(ONE_THREAD) $(VENV_PYTHON) results/photographs/records.py check outputs/results-check

lint: $(INSTALLED)  ## check style, imports and format
	$(VENV_PYTHON) -m ruff check
	$(VENV_PYTHON) -m ruff format --check

clean:  ## remove .venv, .venv-oldest and caches; runs and data stay
	rm -rf .venv .venv-oldest build dist .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

EXTRAS := dev,launchers,search,dashboards,export
$(OLDEST): override EXTRAS := dev
# The oldest versions have wheels for Python 3.11 only.
$(OLDEST): override CONSTRAINTS := tests/oldest.txt
$(OLDEST): PYTHON := $(if $(shell command -v python3.11),python3.11,$(PYTHON))

# Touched last: an interrupted installation starts again, and a finished one is repeated when its inputs change.
$(INSTALLED): $(CONSTRAINTS)
$(OLDEST): tests/oldest.txt
$(INSTALLED) $(OLDEST): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "ufgir needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "Use another interpreter: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; \
	    exit 2; }
	@echo "Creating $(@D): this takes a few minutes and gigabytes of packages, once."
	rm -rf $(@D)
ifneq ($(UV),)
	$(UV) venv --seed --python "$(PYTHON)" $(@D)
	$(UV) pip install --python $(@D)/bin/python --constraint $(CONSTRAINTS) $(PIP_ARGS) --editable '.[$(EXTRAS)]'
else
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --constraint $(CONSTRAINTS) $(PIP_ARGS) --editable '.[$(EXTRAS)]'
endif
	@touch $@
