# Everything runs from the checkout's own environment, which each target makes when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export JAX_PLATFORMS ?= cpu

.PHONY: quickstart test lint bench sweep docs clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

$(VENV)/bench: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	touch $@

quickstart: $(VENV)/installed
	$(BIN)/jaxface train quickstart --workdir runs/quickstart

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -n 2

bench: $(VENV)/bench
	$(BIN)/python -m benchmarks

sweep: $(VENV)/installed
	$(BIN)/python -m experiments.sweep

clean:
	rm -rf $(VENV) runs .cache
