# Everything runs in a virtual environment inside the checkout; the first call of any target sets it up.
#   make demo    the elastic GPT: grows, is killed, shrinks, and ends with the very same weights
#   make demo-serve  the digits, trained and served to traffic that rises and falls; a kill, new weights, no failure
#   make test    the test suite, but for what takes longest (PLIANT_TEST_THOROUGH=1: all of it; AT_ONCE=2: tests at
#                once, default 3)                make lint    style, types and import contracts
#   make bench   measure, into benchmarks/results (QUICK=1: a short look)
#   make bench-peers  beside plain DDP, torchrun, torchft and Ray Train (QUICK=1: one run of each)
#   make bench-serving  beside LitServe, Ray Serve and bare FastAPI (QUICK=1: a short look)
#   make bench-servers  parameter servers beside all-reduce, and beside plain tables of rows (QUICK=1: a short look;
#                SERVERS_ARGS="--parts tables,async": these parts, of dense, tables, recovery and async)
#   make storm   hundreds of kills, hangs and coordinator kills over one run (N=500)
#   make format  let ruff rewrite the layout     make clean   remove what these left behind

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

PEERS_VENV ?= .venv-peers
PEERS_READY := $(PEERS_VENV)/.ready

.PHONY: help setup demo demo-serve test bench bench-peers bench-serving bench-servers storm lint format clean

help:
	@sed -n 's/^#   //p' Makefile

setup: $(READY)

$(READY): pyproject.toml constraints.txt .ci/setup
	@PYTHON="$(PYTHON)" VENV="$(VENV)" .ci/setup
	@touch $@

demo: $(READY)
	@$(BIN)/python -m examples.demo

demo-serve: $(READY)
	@$(BIN)/python -m examples.demo_serve

test: $(READY)
	@$(BIN)/python -m pytest -q -n $(or $(AT_ONCE),3) --dist worksteal $(TESTS)

bench: $(READY)
	@$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

$(PEERS_READY): pyproject.toml constraints.txt .ci/setup-peers
	@PYTHON="$(PYTHON)" PEERS_VENV="$(PEERS_VENV)" .ci/setup-peers
	@touch $@

bench-peers: $(PEERS_READY)
	@$(PEERS_VENV)/bin/python -m benchmarks.peers $(if $(QUICK),--quick) $(PEERS_ARGS)

bench-serving: $(PEERS_READY)
	@$(PEERS_VENV)/bin/python -m benchmarks.serving $(if $(QUICK),--quick) $(SERVING_ARGS)

bench-servers: $(READY)
	@$(BIN)/python -m benchmarks.servers $(if $(QUICK),--quick) $(SERVERS_ARGS)

storm: $(READY)
	@$(BIN)/python -m benchmarks.storm $(if $(N),--faults $(N)) $(STORM_ARGS)

lint: $(READY)
	@$(BIN)/ruff check --no-cache .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	@rm -rf $(VENV) $(PEERS_VENV) .venv-clients out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
