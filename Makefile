# Everything runs from the checkout's own environment, which each target makes when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export JAX_PLATFORMS ?= cpu

.PHONY: quickstart test lint bench sweep clean

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

# Long runs on real faces; JAXFACE_DATA names the folder of the datasets.
WEIGHTS ?= $(JAXFACE_DATA)/../weights/mobilefacenet_ms1m_128d.onnx
sweep: $(VENV)/installed
	$(BIN)/jaxface train celeba_lfw --workdir runs/celeba_lfw
	$(BIN)/python -m tfrecords_tools pack $(JAXFACE_DATA)/lfw_aligned112 runs/lfw
	$(BIN)/jaxface import $(WEIGHTS) --model mobilefacenet --preprocess imagenet --out runs/mobilefacenet
	$(BIN)/jaxface embed --model runs/mobilefacenet --records runs/lfw --out runs/lfw.npz
	$(BIN)/jaxface evaluate --protocol lfw --pairs $(JAXFACE_DATA)/protocols/pairs.txt --embeddings runs/lfw.npz --json runs/lfw.json

bench: $(VENV)/bench
	$(BIN)/python -m benchmarks



clean:
	rm -rf $(VENV) runs .cache
