# Bucketwheel: every gate is one command. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-compose lint format bench chaos check clean

# The object store, run unmodified: its last version upstream, built from source by Go.
MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c

PYTHON ?= python3
MINUTES ?= 3
BIN := .venv/bin
TESTS ?= tests
export MINIO_VERSION PYTHON

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install all that is needed: .venv, redis-server, MinIO (a few minutes the first time)
	@scripts/setup

demo: setup ## Crop real photographs through the whole system, and show the result
	@$(BIN)/python -m demo

test: setup ## Run all tests, or some: make test TESTS=tests/broker/test_ledger.py
	@$(BIN)/python -m pytest $(TESTS)

test-compose: setup ## Build docker-compose.yml, bring it up and break it (some 10 minutes the first time)
	@scripts/setup-compose
	@$(BIN)/python -m pytest -m compose tests/compose

lint: setup ## Check style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: setup ## Format the code
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

check: lint test test-compose ## Run every gate, as CI does

bench: setup ## Measure the figures, each beside its comparison (about 30 minutes), or some: make bench FIGURES="noop burst"
	@$(BIN)/python -c "import matplotlib, numpy" 2>/dev/null || $(BIN)/pip install --quiet -e '.[bench]'
	@$(BIN)/python -m benchmarks $(FIGURES)

chaos: setup ## Break a system under load, and account for all uploads: make chaos SEED=7 MINUTES=3
	@$(BIN)/python -c "import matplotlib" 2>/dev/null || $(BIN)/pip install --quiet -e '.[bench]'
	@$(BIN)/python -m chaos $(if $(SEED),--seed $(SEED)) --minutes $(MINUTES)

clean: ## Remove what the other commands made, but not data in .bucketwheel
	@rm -rf .venv .tools build *.egg-info .*_cache .hypothesis demo-output benchmarks/results chaos*.png chaos-logs
