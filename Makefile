# Everything that set-up makes is below .cache/, which git ignores.
VENV := .cache/venv
PY := $(VENV)/bin/python
PYTHON ?= python3
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help setup up down status verify test lint fmt types engine upgrade e2e static policy check preview \
  schema docs lock

help: ## Show the commands
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: requirements.txt requirements-dev.txt requirements.lock components/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed (PYTHON=... names another)" >&2; exit 1; }
	@echo "setting up the Python environment (about a minute, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

setup: $(VENV)/.ready ## Make the Python environment

up: setup ## Bring up the lab and the platform on it (needs root)
	@$(PY) -m lab up

down: setup ## Stop the lab and remove what it made
	@$(PY) -m lab down

status: setup ## Show what runs
	@$(PY) -m lab status

verify: setup ## Build the same image in two jobs; the second must be warm
	@$(PY) -m lab verify

test: setup ## Unit tests: no cluster, no network
	@$(PY) -m pytest tests/unit

engine: setup ## Tests with the real engine
	@$(PY) -m pytest tests/engine

upgrade: setup ## Updates from recorded versions, on the running lab
	@$(PY) -m pytest tests/upgrade

static: setup .cache/static-venv/.ready ## Scan what the components declare (needs the lab's helm)
	@$(PY) -m pytest tests/static

policy: setup .cache/policy-venv/.ready ## Tests of the policy pack, in its own environment
	@$(PY) -m pytest tests/policy

.cache/policy-venv/.ready: policy/requirements.txt
	@echo "setting up the policy pack's environment"
	@$(PYTHON) -m venv .cache/policy-venv
	@.cache/policy-venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.cache/static-venv/.ready: tests/static/requirements.txt
	@echo "setting up the scanners (a minute, once)"
	@$(PYTHON) -m venv .cache/static-venv
	@.cache/static-venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

e2e: setup ## Tests on the running lab
	@$(PY) -m lab extras
	@$(PY) -m pytest tests/e2e

lint: setup ## Format and lint, without changes
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .

fmt: setup ## Format, and fix what can be fixed
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

types: setup ## Strict types
	@$(VENV)/bin/mypy components stacks lab tests docs

check: lint types test ## Everything that needs no cluster

preview: setup ## Preview a stack on your cluster: make preview STACK=dev
	@test -n "$(STACK)" || { echo "error: name the stack: make preview STACK=dev" >&2; exit 1; }
	pulumi preview --stack $(STACK)

schema: setup ## Write the plugin's schema
	@$(PY) -m tests.schema

docs: setup ## Write docs/reference.md from the docstrings
	@$(PY) -m docs.generate

lock: setup ## Write the versions of this environment into requirements.lock
	@{ echo "# Made by 'make lock': the versions that every install of this repository uses."; \
	  $(VENV)/bin/pip freeze --exclude-editable; } > requirements.lock
