# make demo: install and run the three claims on real digits.   make test: install and run the tests.
# make venv TORCH=cuda takes the newest CUDA build instead of the CPU one. An environment (VENV=DIR) that already
# has a torch keeps it.   make bench: the race of docs/performance.md; make bench-peers: with JAX and neural-tangents,
# and the newest JAX, in two more environments.
# make test-oldest: the tests with every dependency at its lower bound in pyproject.toml.
# make test-newest: make test in a fresh environment, which takes the newest of everything but torch (TORCH=cuda: of all).
# make docs: the site, in site/; the tutorials are run by python docs/notebooks.py.
# make dist: the sdist and the wheel, checked as a package index would.

PYTHON ?= python3
VENV ?= .venv
PEERS ?= .venv-peers
NEWEST_JAX ?= .venv-jax
OLDEST ?= .venv-oldest
NEWEST ?= .venv-newest
SITE ?= .venv-docs
RESOLUTION ?= highest
BENCH ?= --rounds 5 --seconds 0.5
TORCH ?= cpu
BIN := $(VENV)/bin
# pip would compile the bytecode of all packages, which takes a minute; what is imported is compiled then.
PIP := $(BIN)/python -m pip install -q --no-compile
DEMO := outputs/demo
LOOPS := ensemble.sampler=law,dense observables=ntk network.width=16 ensemble.networks=64 ensemble.device=cpu workers=1
PYTEST := -m pytest -n auto --maxprocesses 8 --dist worksteal

.PHONY: venv demo test tests test-oldest test-newest lint types soak cluster bench bench-peers results dist docs explorer site clean

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints-cpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if $(BIN)/python -c "import torch" 2>/dev/null; then echo "torch is here already and stays as it is"; \
	elif [ "$(TORCH)" = cuda ]; then $(PIP) torch; else $(PIP) -c constraints-cpu.txt torch; fi
	@if $(BIN)/python -c "import triton" 2>/dev/null; then extras=dev; else extras=dev,gpu-test; fi; \
	$(PIP) -e ".[$$extras]"
	touch $@

demo: venv
	$(BIN)/python -m simulate experiment=demo/preactivations output=$(DEMO)/preactivations
	$(BIN)/python -m simulate experiment=demo/ntk_mean output=$(DEMO)/ntk_mean
	$(BIN)/python -m simulate experiment=demo/infinite_width_training output=$(DEMO)/infinite_width_training
	$(BIN)/python -m analysis data=$(DEMO)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv
	$(BIN)/mypy

# The types are checked while the tests on Slurm wait.
test: venv lint
	$(MAKE) --no-print-directory -j 2 types tests

# Bytecode is kept whatever the environment says: else each process that a test starts compiles these packages.
tests test-oldest: export PYTHONDONTWRITEBYTECODE =
# The loops of most tests are compiled before these begin: else each process compiles them at the same time.
tests: venv
	folder=$$(mktemp -d) && $(BIN)/python -m simulate -m $(LOOPS) output=$$folder/a >/dev/null 2>&1; rm -rf "$$folder"
	$(BIN)/python $(PYTEST)

# bounds.txt has each dependency at its own lower bound, so bounds that exclude each other are an error. pip installs
# torch, because uv does not read pip's settings and would not find the CPU build. The bytecode is compiled because
# some old releases warn when they are, and a warning fails a test.
$(OLDEST)/.installed: pyproject.toml Makefile | venv
	$(PYTHON) -m venv --clear $(OLDEST)
	$(BIN)/uv pip compile -q --all-extras --no-deps --resolution lowest-direct \
		--python $(OLDEST)/bin/python -o $(OLDEST)/bounds.txt pyproject.toml
	$(OLDEST)/bin/python -m pip install -q -c $(OLDEST)/bounds.txt torch
	$(BIN)/uv pip install -q --compile-bytecode --python $(OLDEST)/bin/python -r $(OLDEST)/bounds.txt -e .
	touch $@

test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python $(PYTEST)

test-newest:
	rm -rf $(NEWEST)
	$(MAKE) test VENV=$(NEWEST)

soak: venv
	$(BIN)/python -m pytest -m long -rP tests/behaviour/test_soak.py

cluster: venv
	$(BIN)/python -m pytest -m cluster -rs tests/cluster

results: venv
	$(BIN)/python -m benchmarks.results --write
	$(BIN)/python -m benchmarks.results preactivations --seed 2 --write

# The sdist and the wheel, which is built from it, as a package index would take them.
dist: venv
	rm -rf dist
	$(BIN)/uv build -q
	$(BIN)/uv tool run -q twine check --strict dist/*

$(SITE)/.installed: pyproject.toml
	test -x $(SITE)/bin/python || $(PYTHON) -m venv $(SITE)
	$(BIN)/uv pip install -q --python $(SITE)/bin/python --resolution $(RESOLUTION) --group docs
	touch $@

# The site, in site/; RESOLUTION=lowest-direct takes the lower bounds of the group docs. Pages that are made of records and of notebooks are made first; mkdocs imports no code of ours.
docs: explorer site

explorer: venv
	$(BIN)/python docs/explorer.py

site: venv $(SITE)/.installed
	$(BIN)/python docs/pages.py
	$(BIN)/python docs/notebooks.py --pages
	$(SITE)/bin/mkdocs build -q --clean

bench: venv
	$(BIN)/python -m benchmarks.race --history $(BENCH)

$(PEERS)/.installed:
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install -q -r benchmarks/peers.txt
	touch $@

$(NEWEST_JAX)/.installed:
	test -x $(NEWEST_JAX)/bin/python || $(PYTHON) -m venv $(NEWEST_JAX)
	$(NEWEST_JAX)/bin/python -m pip install -q --upgrade jax
	touch $@

bench-peers: venv $(PEERS)/.installed $(NEWEST_JAX)/.installed
	$(BIN)/python -m benchmarks.race --history $(BENCH) --jax $(PEERS)/bin/python --newest-jax $(NEWEST_JAX)/bin/python

clean:
	rm -rf $(DEMO) build dist *.egg-info
