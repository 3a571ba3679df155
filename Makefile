# Every target sets itself up, on a fresh Debian with Python 3.11 and make; `make help` lists them.
# Variables: PYTHON=python3.11 chooses the interpreter, ARGS="-k floor" goes to pytest.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
# Runs wait for each other's processes: beside them there is time for another group of tests.
TWO_AT_ONCE := --numprocesses 2 --no-loadscope-reorder
STARTED := $(shell date +%s)

.PHONY: help setup quickstart test test-operations test-fast lint docs generate clean

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(INSTALLED) ## Make .venv with everything pinned (3 minutes, 6 GB; nothing when it is there).

# A new constraint or dependency installs again; anything else leaves the environment alone.
$(INSTALLED): pyproject.toml constraints.txt
	@scripts/debian-packages $(PYTHON) python3-venv python3-dev g++  # DeepSpeed builds a small op
	@echo "== set-up: installing into $(VENV), about 3 minutes the first time"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

quickstart: $(INSTALLED) ## Train a small CLIP on digits, erase "seven" from it, report (3 minutes).
	@scripts/quickstart $(STARTED)

test: $(INSTALLED) ## Run the tests (12 minutes).
	@scripts/debian-packages $(PYTHON) prometheus prometheus-pushgateway openssl  # real ones
	$(BIN)/python -m pytest tests -m "not operations" $(TWO_AT_ONCE) $(ARGS)

test-operations: $(INSTALLED) ## Run those of several hosts, clusters with jobs, what is stopped or killed (8 minutes).
	@scripts/debian-packages $(PYTHON) iproute2 pdsh openssh-client openssh-server
	$(BIN)/python -m pytest tests -m operations $(TWO_AT_ONCE) $(ARGS)

test-fast: $(INSTALLED) ## Run the tests that start neither Ray nor DeepSpeed.
	$(BIN)/python -m pytest tests -m "not integration" $(ARGS)

lint: $(INSTALLED) ## Check format, lint, types and import directions.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED) ## Build docs/ as a site into build/docs; any warning is an error.
	@$(BIN)/mkdocs build --strict
	@echo "open build/docs/index.html"

generate: $(INSTALLED) ## Write again what is made from the code: docs/reference, CLI snapshot, monitoring/.
	$(BIN)/python -m dist_erase.config.reference > docs/reference/config.md
	$(BIN)/python -m dist_erase.observability.reference > docs/reference/metrics.md
	$(BIN)/python -m dist_erase.cli.reference > docs/reference/cli.md
	$(BIN)/python -m dist_erase.orchestration.formats > docs/reference/formats.md
	$(BIN)/python tests/house/cli_surface.py > tests/house/cli_surface.txt
	$(BIN)/python -m monitoring.generate

clean: ## Remove .venv, caches and the quickstart's data and runs; other runs stay.
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf data/digits runs/digits-original runs/quickstart
	find dist_erase tests launchers -name __pycache__ -prune -exec rm -rf {} +
