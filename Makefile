# Start with: make demo. All targets: make help.
.DEFAULT_GOAL := help
.PHONY: help setup setup-tests python demo up test check unit e2e chaos state-machine coverage fuzz fmt lock compose-check compose-e2e release bench-engine bench-service bench-scale soak clean
SHELL := /bin/bash

# The first suitable Python. To use another one: make setup PYTHON=/path/to/python3
PYTHON = $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null \
  && echo $$python && break; done)
BIN := .venv/bin
# Two processes, because many tests wait. Each process has its own servers; the tests of a file run in
# one process. A crashed process ends the run, because its replacement could wait forever (loadfile).
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 0
# For a single test that may take minutes: no stack dump after 100 s.
LONG := $(BIN)/python -m pytest -o faulthandler_timeout=0

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: python ## Create the environment (cached; FACEMEND_TORCH=gpu: torch with CUDA)
	@$(PYTHON) deploy/setup/install.py --only-run

setup-tests: python ## Create the environment with the tests and their tools
	@$(PYTHON) deploy/setup/install.py

python: ## Check that there is a suitable Python
	@test -n "$(PYTHON)" || { echo "Facemend needs Python 3.11 to 3.14: apt-get install python3" >&2; exit 1; }

demo: ## Start the whole service, restore a photo, stop; the pictures are in demo/
	@started=$$(date +%s) && $(MAKE) --no-print-directory setup && \
	  exec $(BIN)/facemend demo --setup-s $$(( $$(date +%s) - started ))

up: setup ## Start the service and keep it running; prints the address and an API key
	@exec $(BIN)/facemend up

# A crash in native code ends the run before the other tests. Then they all run once more, and the
# stack of the crash stays in the output.
test: check ## Everything that CI runs: check, all tests, chaos
	$(PYTEST) || { test -e .pytest_cache/d/crashes/crashed && $(PYTEST); }
	$(BIN)/python -m tests.chaos

check: setup-tests compose-check ## Check format, lint, types, import layers, spelling, docs, Docker files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/hadolint deploy/docker/Dockerfile.*

unit: setup-tests ## All tests except those of the whole stack
	$(PYTEST) -m "not e2e"

e2e: setup-tests ## The tests of the whole stack
	$(BIN)/python -m pytest -m e2e

chaos: setup-tests ## Inject faults, count lost, repeated and late jobs (ROWS="F1 F14", SEED=7)
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(ROWS)

state-machine: setup-tests ## Longer runs of the state machine test of the job record (SEED=1)
	$(LONG) tests/shared/model/test_state_machine.py --hypothesis-profile=long --hypothesis-seed=$(or $(SEED),0)

coverage: setup-tests ## Report lines and branches that no test runs
	$(BIN)/python -m pytest -m "not e2e" --cov --cov-report=term-missing:skip-covered

fmt: setup-tests ## Format the code and apply automatic fixes
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

fuzz: setup-tests ## Send thousands of requests generated from the OpenAPI document
	FUZZ_EXAMPLES=800 FUZZ_LEAST=8000 $(LONG) tests/api/test_fuzz.py -rP

bench-engine: setup-tests ## Benchmark the engine; writes benchmarks/results (needs an idle machine)
	$(BIN)/python -m benchmarks.engine --ship

bench-service: setup-tests ## Benchmark the service; writes benchmarks/results (needs an idle machine)
	$(BIN)/python -m benchmarks.service

bench-scale: setup-tests ## Benchmark 1 to 64 simulated workers; writes benchmarks/results (needs an idle machine)
	$(BIN)/python -m benchmarks.scale.throughput

soak: setup-tests ## Run the whole service under traffic: memory and descriptors must be flat (MINUTES=30)
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30)

compose-check: setup-tests ## Check docker-compose.yml (needs no Docker)
	@deploy/docker/check-compose

compose-e2e: setup-tests ## Build and run docker-compose.yml, restore a photo, scale, stop (needs a Docker engine)
	@deploy/docker/compose-e2e

release: setup-tests ## Make the files of a release in dist/ (TAG=1: and its tag); publishes nothing
	$(BIN)/python -m deploy.setup.release $(if $(TAG),--tag)

lock: ## Update requirements/*.lock (UPGRADE=1: to the newest versions)
	$(PYTHON) deploy/setup/lock.py $(if $(UPGRADE),--upgrade)

clean: ## Remove generated files (the cached environment stays)
	rm -rf .venv demo dist site .cache .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -exec rm -rf {} +
