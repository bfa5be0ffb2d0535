# Every verb of the project; `make` lists them.  Each verb brings what it needs, so that two commands are enough on a
# fresh machine: `make demo` and `make check`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# Compiled artifacts outlive clones and checkouts: a cold build is the dearest thing that this project does.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/deltakeep/target
# maturin and pip find the environment by this name.
export VIRTUAL_ENV := $(CURDIR)/.venv
export PATH := $(VIRTUAL_ENV)/bin:$(HOME)/.cargo/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PYTHON ?= python3
# One profile, the whole workspace, always: any other choice has other features or flags and builds the world again.
BUILD := --release --workspace --locked
# `cargo clippy` checks, and a check shares nothing with a build.  As the compiler of the workspace's members, clippy
# lints while it builds: dependencies are those of the build, and what it has linted is what the tests run.
LINTED = RUSTC_WORKSPACE_WRAPPER="$$(command -v clippy-driver)" CLIPPY_ARGS=-Dwarnings
PYTHON_SOURCES = $(wildcard datafusion_ext registry incremental daemon tests examples benchmarks grafana)
NATIVE_SOURCES = Cargo.toml Cargo.lock .cargo/config.toml $(shell find rust -name '*.rs' -o -name Cargo.toml)

# Days that the demo replays after the initial load.
DAYS ?= 14
ARGS ?=

.PHONY: help
help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

# ---- get ready -----------------------------------------------------------------------------------------------------

.PHONY: setup
setup: .venv/setup.stamp ## install what this machine lacks (Debian packages, Rust, .venv), skip what is there

.venv/setup.stamp: pyproject.toml constraints.txt .ci/setup
	@PYTHON="$(PYTHON)" .ci/setup
	@touch $@

.PHONY: build
build: .venv/build.stamp ## compile the native module and install the project into .venv, editable

.venv/build.stamp: .venv/setup.stamp $(NATIVE_SOURCES)
	@maturin develop --release --locked
	@touch $@

# ---- the two commands of the README --------------------------------------------------------------------------------

.PHONY: demo
demo: build ## set up, build, replay real flights through the example project, prove every view (DAYS=14)
	@daemonctl demo --days $(DAYS) $(ARGS)

.PHONY: check
check: build lint test-rust test-python ## set up, build, lint and run every test
	@echo 'check: all passed'

# ---- parts of it ---------------------------------------------------------------------------------------------------

.PHONY: lint
lint: build lint-python lint-rust ## ruff, mypy, stubtest, rustfmt, clippy

.PHONY: lint-python
lint-python: build ## ruff, mypy, stubtest
	@ruff check $(PYTHON_SOURCES)
	@ruff format --check $(PYTHON_SOURCES)
	@mypy
	@stubtest datafusion_ext._native --ignore-missing-stub --mypy-config-file pyproject.toml

.PHONY: lint-rust
lint-rust: setup ## rustfmt, clippy
	@cargo fmt --all --check
	@$(LINTED) cargo build $(BUILD) --lib --tests

.PHONY: test-rust
test-rust: setup ## the tests of the Rust crates (ARGS='name'), linted by clippy on the way
	@$(LINTED) cargo test $(BUILD) -- $(ARGS)

.PHONY: test-python
test-python: build ## the tests that run against the native module (ARGS='-k name')
	@pytest $(ARGS)

.PHONY: fuzz
fuzz: build ## random histories against the oracle, for much longer than the tests do (SEED=1)
	@pytest tests/test_histories.py --hypothesis-profile=fuzz $(if $(SEED),--hypothesis-seed=$(SEED)) $(ARGS)

.PHONY: random-views
random-views: setup ## random views over random changes against their recomputation (CASES=10000, SEED=1)
	@RANDOM_VIEWS=$(or $(CASES),10000) $(if $(SEED),PROPTEST_RNG_SEED=$(SEED)) $(LINTED) \
	  cargo test $(BUILD) random_views_equal_their_recomputation

.PHONY: long
long: build ## random deaths, previews and rounds of TPC-H and TPC-DS with many more seeds than the tests try, a short soak
	@pytest -m long $(ARGS)

.PHONY: soak
soak: build ## thousands of cycles, and what the process holds after them; fails if it goes on rising (CYCLES=3000)
	@python -m tests.simulation.soak $(if $(CYCLES),--cycles $(CYCLES)) $(ARGS)

.PHONY: bench
bench: build ## measure, and write benchmarks/results.md (benchmarks/README.md; ARGS="tpch_refresh --quick")
	@python -m benchmarks $(ARGS)

.PHONY: tpc-table
tpc-table: build ## replay TPC-H and TPC-DS as views, and write docs/tpc.md (ARGS='--rounds 20 --seeds 1 2')
	@python -m tests.tpc.table $(ARGS)

.PHONY: prove-container
prove-container: build ## build the image, from Debian's packages if need be, and run it as narrow as it gets (as root)
	@container/prove.sh $(ARGS)

SPARK := $(HOME)/.cache/deltakeep/spark

.PHONY: prove-spark
prove-spark: build ## Spark with Delta (fetched; needs Java 17) reads what we write, and we read what it writes
	@test -x $(SPARK)/bin/python || $(PYTHON) -m venv $(SPARK)
	@$(SPARK)/bin/python -m pip install --quiet pyspark==3.5.5 delta-spark==3.3.0
	@python -m tests.spark.prove $(SPARK)/bin/python $(ARGS)

# ---- change and ship -----------------------------------------------------------------------------------------------

.PHONY: format
format: setup ## format everything
	@ruff check --fix-only --quiet $(PYTHON_SOURCES)
	@ruff format $(PYTHON_SOURCES)
	@cargo fmt --all

.PHONY: docs
docs: build ## write what is made from code: reasons, metrics, commands, functions, rules, dashboards
	@python -m tests.documents
	@python -m grafana.make

.PHONY: lock
lock: setup ## write constraints.txt from what is installed in .venv
	@{ sed -n '/^#/p' constraints.txt; pip freeze --exclude-editable --exclude deltakeep; } > .venv/constraints.txt
	@mv .venv/constraints.txt constraints.txt

.PHONY: wheel
wheel: setup ## build dist/*.whl
	@maturin build --release --locked --out dist

.PHONY: sbom
sbom: setup ## write dist/deltakeep.cdx.json, the bill of materials (CycloneDX) of the locked dependencies
	@python -m tests.sbom dist/deltakeep.cdx.json

.PHONY: clean
clean: ## remove what was built in this checkout; the compiled dependencies stay (they are in CARGO_TARGET_DIR)
	@rm -rf .venv dist datafusion_ext/*.so .mypy_cache .pytest_cache .ruff_cache .hypothesis flights
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
