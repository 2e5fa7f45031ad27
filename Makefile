# Everything that set-up makes is below .cache/, which git ignores.
VENV := .cache/venv
PY := $(VENV)/bin/python
PYTHON ?= python3
# Ends a command when make is killed, as Ctrl-C does.
WITH_MAKE := $(and $(shell command -v setpriv),setpriv --pdeathsig TERM)
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help setup up down status verify test lint fmt types engine upgrade e2e builds static policy bench wheel \
  check preview previewable \
  generate docs lock

help: ## Show the commands
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: requirements.txt requirements-dev.txt requirements.lock components/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed (PYTHON=... names another)" >&2; exit 1; }
	@echo "setting up the Python environment (about a minute, once)"
	@$(WITH_MAKE) $(PYTHON) -m venv $(VENV)
	@$(WITH_MAKE) $(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

setup: $(VENV)/.ready ## Make the Python environment

# Each of these environments is updated when its list of packages changes.
define environment
.cache/$(1)-venv/.ready: $(2)
	@echo "setting up $(3)"
	@$$(PYTHON) -m venv .cache/$(1)-venv
	@.cache/$(1)-venv/bin/pip install --quiet --disable-pip-version-check -r $$<
	@touch $$@
endef
$(eval $(call environment,policy,policy/requirements.txt,the policy pack's environment))
$(eval $(call environment,static,tests/static/requirements.txt,the scanners (a minute, once)))
$(eval $(call environment,bench,bench/requirements.txt,the plotting library))
$(eval $(call environment,docs,docs/requirements.txt,what builds the site (once)))

up: setup ## Bring up the lab and the platform on it (needs root)
	@$(WITH_MAKE) $(PY) -m lab up

down: setup ## Stop the lab and remove what it made
	@$(PY) -m lab down

status: setup ## Show what runs
	@$(PY) -m lab status

verify: setup ## Build the same image in two jobs; the second must be warm
	@$(PY) -m lab verify

test: setup ## Unit tests: no cluster, no network
	@rm -rf .cache/rendered-configs
	@$(PY) -m pytest -n auto tests/unit tests/preview

engine: setup .cache/policy-venv/.ready ## Tests with the real engine
	@$(PY) -m lab languages
	@$(PY) -m pytest tests/engine

upgrade: setup ## Updates from recorded versions; one of them on the running lab
	@$(PY) -m pytest tests/upgrade

static: setup .cache/static-venv/.ready ## Scan what the components declare (needs 'make builds')
	@$(PY) -m pytest tests/static

policy: setup .cache/policy-venv/.ready ## Tests of the policy pack, in its own environment
	@$(PY) -m pytest tests/policy

wheel: setup ## Build the wheel, and try it in an environment of its own
	@rm -rf .cache/dist .cache/wheel-source .cache/wheel-venv && mkdir -p .cache
	@cp -r components .cache/wheel-source  # setuptools leaves a build/ beside what it builds
	@$(VENV)/bin/pip wheel --quiet --disable-pip-version-check --no-deps -w .cache/dist .cache/wheel-source
	@$(PYTHON) -m venv .cache/wheel-venv
	@.cache/wheel-venv/bin/pip install --quiet --disable-pip-version-check -c requirements.lock .cache/dist/*.whl mypy
	@$(PY) -m pytest tests/wheel

bench: up .cache/bench-venv/.ready ## Measure every way to build (QUICK=1: a check; JOBS=1: the README; MINUTES=: a part)
	@$(if $(QUICK),,$(PY) -m lab extras)
	@$(PY) -m bench --mode $(if $(QUICK),quick,$(if $(JOBS),jobs,full)) $(if $(MINUTES),--minutes $(MINUTES)) \
	  --charts .cache/bench-venv/bin/python

e2e: setup ## Tests on the running lab
	@$(PY) -m lab extras
	@$(PY) -m pytest tests/e2e $(E2E)

builds: setup ## Build what the tests on the lab need beside it, once
	@$(PY) -m lab extras
	@$(PY) -m lab languages

# bench/workloads holds test data for builds.
SCRIPTS = .ci/* lab/runner/entrypoint lab/runner/gitlab-runner-build \
  $(shell find . \( -path ./.cache -o -path ./bench/workloads \) -prune -o -name '*.sh' -print)

lint: setup ## Format and lint, without changes
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/shellcheck $(SCRIPTS)

fmt: setup ## Format, and fix what can be fixed
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

types: setup ## Strict types
	@$(VENV)/bin/mypy components generate templates stacks lab preview tests docs bench
	@for program in __main__.py template/__main__.py examples/*/__main__.py; do MYPYPATH=components $(VENV)/bin/mypy "$$program" || exit 1; done

check: lint types test ## Everything that needs no cluster

preview: previewable setup ## Preview a stack on your cluster: make preview STACK=dev
	pulumi preview --stack $(STACK)

# Says what is missing before anything is installed.
previewable:
	@test -n "$(STACK)" || { echo "error: name the stack: make preview STACK=dev" >&2; exit 1; }
	@test -f stacks/Pulumi.$(STACK).yaml || { echo "error: there is no stacks/Pulumi.$(STACK).yaml" >&2; exit 1; }
	@command -v pulumi > /dev/null || { echo "error: the Pulumi CLI is not installed:" \
	  "https://www.pulumi.com/docs/install/" >&2; exit 1; }
	@pulumi whoami --non-interactive > /dev/null 2>&1 || { echo "error: there is no state backend: run" \
	  "'pulumi login' with yours (docs/environments.md)" >&2; exit 1; }
	@pulumi stack --stack $(STACK) --show-name > /dev/null || { echo "error: make the stack once:" \
	  "pulumi stack init $(STACK)" >&2; exit 1; }

generate: setup ## Write what follows from the settings: argument types, schema, reference, templates
	@$(PY) -m generate
	@$(PY) -m templates.build

docs: setup .cache/docs-venv/.ready ## Build the site
	@NO_MKDOCS_2_WARNING=1 .cache/docs-venv/bin/mkdocs build --strict --quiet
	@echo "built .cache/site/index.html"

lock: setup ## Write the versions of this environment into requirements.lock
	@{ echo "# Made by 'make lock': the versions that every install of this repository uses."; \
	  $(VENV)/bin/pip freeze --exclude-editable; } > requirements.lock
