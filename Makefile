# The commands of this repository; `make` alone prints them. A machine with Python 3.11 or newer, git
# and make can run all but `lock`. Stamp files in the environments say what was installed: a second
# run installs nothing, a changed list installs again. requirements/demo.txt is a part of
# requirements/dev.txt, pin for pin (tests/test_repository.py), so both share `.venv`.

.DEFAULT_GOAL := help
BIN := .venv/bin
LEGACY := .venv-legacy
FRAMEWORKS := .venv-frameworks
VERCEL := examples/vercel-ai-sdk
STAMPS := $(LEGACY)/sdk.stamp $(FRAMEWORKS)/frameworks.stamp $(VERCEL)/node_modules/npm.stamp
PIP := -m pip --disable-pip-version-check --no-input install -qq
# No source packages: building one would fetch its build requirements without hashes.
PINNED := $(PIP) --only-binary :all: --require-hashes -r
UV ?= $(shell command -v uv || echo $(BIN)/uv)
LOCK := $(UV) pip compile --quiet --generate-hashes --universal --no-header --python-version 3.11
LOCK_ARGS ?=
PYTHONS := HEADGATE_LEGACY_PYTHON="$(CURDIR)/$(LEGACY)/bin/python" \
	HEADGATE_FRAMEWORKS_PYTHON="$(CURDIR)/$(FRAMEWORKS)/bin/python"
PYTEST := $(PYTHONS) $(BIN)/python -m pytest
PYTEST_ARGS ?=

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/demo.stamp ## watch a real workload become cheaper and faster (no key needed)
	@$(BIN)/headgate demo

.PHONY: test
test: check $(STAMPS) ## check, then the whole suite; PYTEST_ARGS="-k word" narrows it
	@scripts/debian-packages scripts/debian-packages.txt
	$(PYTHONS) $(BIN)/python scripts/run_suite.py -n auto $(PYTEST_ARGS)

.PHONY: test-full
test-full: test ## as test, then with every sample, then thrice in Python's development mode
	HEADGATE_TEST_FULL=1 $(PYTEST) $(PYTEST_ARGS)
	@for seed in 1 2 3; do \
		PYTHONDEVMODE=1 $(PYTEST) --hypothesis-seed=$$seed $(PYTEST_ARGS) || exit 1; \
	done

.PHONY: check
check: .venv/dev.stamp ## formatting, lint, types and house rules: seconds
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_tidy.py tests/test_repository.py

.PHONY: bench
bench: .venv/dev.stamp ## run every benchmark; each prints one JSON document
	@for file in benchmarks/bench_*.py; do $(BIN)/python "$$file" || exit 1; done

.PHONY: docs
docs: .venv/dev.stamp ## run every example in README.md and docs/
	$(BIN)/python -m pytest tests/docs $(PYTEST_ARGS)

.PHONY: lock
lock: ## write requirements/*.txt again (needs uv); LOCK_ARGS=--upgrade for newer versions
	$(LOCK) $(LOCK_ARGS) pyproject.toml --group dev -o requirements/dev.txt
	$(LOCK) pyproject.toml --group demo -c requirements/dev.txt -o requirements/demo.txt
	$(LOCK) pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	$(LOCK) $(LOCK_ARGS) pyproject.toml --group sdk-legacy -o requirements/sdk-legacy.txt
	$(LOCK) $(LOCK_ARGS) pyproject.toml --group frameworks -c requirements/runtime.txt \
		-o requirements/frameworks.txt

.PHONY: clean
clean: ## remove the environments, caches and builds
	rm -rf .venv $(LEGACY) $(FRAMEWORKS) $(VERCEL)/node_modules build dist
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/demo.stamp: .venv/python.stamp requirements/demo.txt pyproject.toml
	@echo "installing requirements/demo.txt into .venv"
	@$(BIN)/python $(PINNED) requirements/demo.txt
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: .venv/python.stamp requirements/dev.txt pyproject.toml
	@echo "installing requirements/dev.txt into .venv"
	@$(BIN)/python $(PINNED) requirements/dev.txt
	@$(BIN)/python $(PIP) --no-deps --no-build-isolation -e .
	@touch .venv/demo.stamp $@

$(LEGACY)/sdk.stamp: $(LEGACY)/python.stamp requirements/sdk-legacy.txt
	@echo "installing requirements/sdk-legacy.txt into $(LEGACY)"
	@$(LEGACY)/bin/python $(PINNED) requirements/sdk-legacy.txt
	@touch $@

$(FRAMEWORKS)/frameworks.stamp: $(FRAMEWORKS)/python.stamp requirements/frameworks.txt
	@echo "installing requirements/frameworks.txt into $(FRAMEWORKS)"
	@$(FRAMEWORKS)/bin/python $(PINNED) requirements/frameworks.txt
	@touch $@

# Nothing that a package wants to run while it is installed is run.
$(VERCEL)/node_modules/npm.stamp: $(VERCEL)/package.json $(VERCEL)/package-lock.json
	@scripts/debian-packages scripts/debian-packages.txt
	@echo "installing $(VERCEL)/package-lock.json"
	@cd $(VERCEL) && npm ci --loglevel=error --ignore-scripts --no-audit --no-fund
	@touch $@

%/python.stamp: scripts/make-venv
	@scripts/make-venv $*
	@touch $@

.PRECIOUS: %/python.stamp
