# The first command: make demo. All commands: make help.
.DEFAULT_GOAL := help
.PHONY: help setup demo up test check unit e2e chaos stories coverage fuzz fmt lock compose-check bench-engine bench-service clean
SHELL := /bin/bash

# The first Python that will do; another one: make setup PYTHON=/path/to/python3
PYTHON = $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
  && echo $$python && break; done)
BIN := .venv/bin
# Two at a time: many tests wait for something. Each has servers of its own; a file's stay together.
# One that crashes ends the run: a new one in its place might wait for ever (loadfile).
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0
# One test that may take minutes: no words about where it is.
LONG := $(BIN)/python -m pytest -o faulthandler_timeout=0

help: ## Show this
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## Make the environment (cached; FACEMEND_TORCH=gpu for the CUDA build)
	@test -n "$(PYTHON)" || { echo "Facemend needs Python 3.11 to 3.14: apt-get install python3" >&2; exit 1; }
	@$(PYTHON) deploy/setup/install.py

demo: ## Restore a photo through the whole service, then stop it; pictures in demo/
	@started=$$(date +%s) && $(MAKE) --no-print-directory setup && \
	  exec $(BIN)/facemend demo --setup-s $$(( $$(date +%s) - started ))

up: setup ## Start the service here and keep it running; prints address and key
	@exec $(BIN)/facemend up

test: check ## All that CI runs: check, every test, and every fault
	$(PYTEST)
	$(BIN)/python -m tests.chaos

check: setup compose-check ## Format, lint, types, layers, spelling, Dockerfiles
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/hadolint deploy/docker/Dockerfile.*

unit: setup ## All tests but those of the whole stack
	$(PYTEST) -m "not e2e"

e2e: setup ## The tests of the whole stack
	$(BIN)/python -m pytest -m e2e

chaos: setup ## Break the service in every way we know of, and count (ROWS="F1 F14", SEED=7)
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(ROWS)

stories: setup ## Many long stories of jobs whose processes die between any two steps (SEED=1)
	$(LONG) tests/shared/model/test_stories.py --hypothesis-profile=long --hypothesis-seed=$(or $(SEED),0)

coverage: setup ## Which lines and branches the tests reach
	$(BIN)/python -m pytest -m "not e2e" --cov --cov-report=term-missing:skip-covered

fmt: setup ## Format, and repair what can be repaired
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

fuzz: setup ## Thousands of requests made from the API's own document
	FUZZ_EXAMPLES=800 FUZZ_LEAST=5000 $(LONG) tests/api/test_fuzz.py -rP

bench-engine: setup ## Measure the engine beside its peer, into benchmarks/results (wants a quiet machine)
	$(BIN)/python -m benchmarks.engine --ship

bench-service: setup ## Measure what the service adds to a job, into benchmarks/results (wants a quiet machine)
	$(BIN)/python -m benchmarks.service

compose-check: setup ## Is docker-compose.yml valid? (needs no Docker)
	@deploy/docker/check-compose

lock: ## Write requirements/*.lock anew (UPGRADE=1: take the newest that fit)
	$(PYTHON) deploy/setup/lock.py $(if $(UPGRADE),--upgrade)

clean: ## Remove what was made here (the cached environment stays)
	rm -rf .venv demo dist .cache .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -exec rm -rf {} +
