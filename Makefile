# Every target sets itself up: a virtual environment in .venv with pinned, hash-checked packages.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_ARGS ?=
TEST_ARGS ?=

.PHONY: demo test quick check format constraints clean

demo: $(VENV)/.ready ## the real daemon on a simulated tenant and simulated products
	$(BIN)/azsyncd demo $(DEMO_ARGS)

test: $(VENV)/.ready ## every test
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(TEST_ARGS)

quick: $(VENV)/.ready ## the tests that run on every change
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not e2e" $(TEST_ARGS)

check: $(VENV)/.ready ## lint, types, who may import whom, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "azsyncd needs Python 3.11 or newer; say which: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

constraints: ## pins every package again, without an index address in the file
	$(PYTHON) -m venv $(VENV)/pins
	$(VENV)/pins/bin/python -m pip install --quiet pip-tools
	$(VENV)/pins/bin/pip-compile --quiet --upgrade --extra dev --generate-hashes --allow-unsafe \
		--strip-extras --no-header --no-emit-index-url --no-emit-find-links \
		--no-emit-trusted-host --output-file constraints.txt pyproject.toml

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache
