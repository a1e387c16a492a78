# All targets use the checkout's own environment, and create it if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Errors only: pip warns for every package and unreachable index.
PIP := $(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt
# Requirements by name: of the build, of jaxface ("run"), or of an extra. They are installed first (source distributions with build
# isolation), then jaxface without isolation, which would install jaxlib a second time.
# The build uses the installed jaxlib, of any version, since the result is used with it.
# Adding an extra later does not compile anything again.
REQUIRED = $(PYTHON) -c 'import sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb")); t = p["project"]; \
  groups = {"build": p["build-system"]["requires"], "run": t["dependencies"], **t["optional-dependencies"]}; \
  print(*[line for name in sys.argv[1:] for line in groups[name] if not line.startswith("jaxlib")], sep="\n")'
CMAKE := $(or $(shell command -v cmake),$(BIN)/cmake)
export JAX_PLATFORMS ?= cpu

# Long runs need real images; JAXFACE_DATA is the folder of the datasets.
WEIGHTS ?= $(JAXFACE_DATA)/../weights/mobilefacenet_ms1m_128d.onnx
# An index of PyTorch's CPU wheels; without one pip may install a CUDA build.
TORCH_INDEX ?=

.PHONY: quickstart dist sbom native native-check native-check-address native-check-thread native-check-valgrind install-check test lint docs docs-links bench papers sweep sweep-losses sweep-models sweep-papers sweep-rates sweep-facenet small-data clean

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("jaxface needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(REQUIRED) build run > $@.txt
	$(PIP) -r $@.txt $(if $(shell command -v cmake),,cmake ninja)
	$(PIP) --no-build-isolation --no-deps -e .
	@$(BIN)/python -c 'from jaxface.layers import native; native.available() or print(native.why_not())'
	touch $@

$(VENV)/test: $(VENV)/ready
	$(REQUIRED) test > $@.txt
	$(PIP) -r $@.txt
	touch $@

$(VENV)/bench: $(VENV)/ready
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(REQUIRED) bench > $@.txt
	$(PIP) -r $@.txt
	touch $@

quickstart: $(VENV)/ready
	$(BIN)/jaxface train quickstart --workdir runs/quickstart

# Rebuilds the native library into the checkout, after a change of jaxface/native; VENV=FOLDER selects your own environment.
native:
	$(CMAKE) -S jaxface/native -B build/native -DPython_EXECUTABLE=$(abspath $(BIN))/python
	$(CMAKE) --build build/native --target install

# Tests of the native library under two sanitizers and under valgrind, which also covers code that oneDNN generates at run time.
NATIVE_TESTS ?= $(wildcard tests/layers/test_native*.py tests/layers/test_onednn*.py tests/layers/test_*_native.py)
native-check: native-check-address native-check-thread native-check-valgrind

native-check-address native-check-thread: native-check-%:
	$(CMAKE) -S jaxface/native -B build/native-$* -DPython_EXECUTABLE=$(abspath $(BIN))/python -DJAXFACE_SANITIZE=$*
	$(CMAKE) --build build/native-$*
	JAXFACE_NATIVE_LIBRARY=$(CURDIR)/build/native-$*/libjaxface_cpu.so \
	LD_PRELOAD="$(foreach name,$(if $(filter address,$*),asan,tsan) stdc++,$(shell g++ -print-file-name=lib$(name).so))" \
	ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=ignore_noninstrumented_modules=1 \
	$(BIN)/python -m pytest $(NATIVE_TESTS)

# Ignore uninitialised reads and leaks of Python and XLA.
native-check-valgrind:
	PYTHONMALLOC=malloc valgrind --quiet --undef-value-errors=no --error-exitcode=1 \
	  --suppressions=tests/layers/valgrind.supp $(BIN)/python -m pytest $(NATIVE_TESTS)

# Wheel and source distribution of this commit, in dist/; their version is that of its git tag. The wheel is built in isolation, with the
# oldest supported jaxlib.
dist: $(VENV)/ready
	rm -rf dist
	$(BIN)/pip wheel -qq --no-deps -w dist .
	$(BIN)/python -c 'import scikit_build_core.build as build; build.build_sdist("dist")'

# What an installation of the wheel contains, as CycloneDX: names, versions, licences.
sbom: dist
	$(PYTHON) -m venv build/sbom/tool && build/sbom/tool/bin/pip install -qq cyclonedx-bom
	rm -rf build/sbom/run && $(PYTHON) -m venv build/sbom/run
	build/sbom/run/bin/pip install -qq -c constraints.txt dist/*.whl && build/sbom/run/bin/pip uninstall -qqy pip setuptools
	build/sbom/tool/bin/cyclonedx-py environment --output-reproducible --of JSON -o dist/jaxface.cdx.json build/sbom/run/bin/python

# Wheel and source distribution in empty environments of every Python that is found; INSTALL_CHECK=--newest: the short form of CI.
install-check: $(VENV)/ready
	$(BIN)/python tests/install/check.py $(INSTALL_CHECK)

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/mypy --warn-unused-ignores tests/typing/user.py

# The tests of a file go to one process, in the order of the files: what a file prepares is prepared once.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
test: lint
	$(PYTEST)

$(VENV)/docs: $(VENV)/ready
	$(REQUIRED) docs > $@.txt
	$(PIP) -r $@.txt
	touch $@

# The documentation site, in build/docs/html. Warnings are errors, among them links to pages and anchors that do not exist.
# Notebooks are executed again when their text changes; NOTEBOOKS=off leaves them as they are, NOTEBOOKS=force executes all.
NOTEBOOKS ?= cache
docs: $(VENV)/docs
	PATH="$(abspath $(BIN)):$$PATH" JAXFACE_NOTEBOOKS=$(NOTEBOOKS) JAX_COMPILATION_CACHE_DIR=$(CURDIR)/build/docs/compiled \
	  $(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs/html
	@echo build/docs/html/index.html

# Check links to other sites; needs internet access.
docs-links: $(VENV)/docs
	JAXFACE_NOTEBOOKS=off $(BIN)/python -m sphinx -q -b linkcheck docs build/docs/links

bench: $(VENV)/bench
	$(BIN)/python -m benchmarks

# JAXFACE_FLIPS (200) and JAXFACE_KILLS (20): how many bytes of states are flipped, and how often runs are killed.
# JAXFACE_EXAMPLES (6): examples of each property; `make sweep` takes 50. Here tests run the programs that users run, compiled with all optimisation.
OPTIMISED := JAXFACE_OPTIMISED=1 JAXFACE_EXAMPLES=50
sweep: $(VENV)/test
	$(OPTIMISED) $(BIN)/pytest -m 'multihost or sweep'
	$(OPTIMISED) $(PYTEST)
	$(BIN)/jaxface train celeba_lfw --workdir runs/celeba_lfw
	$(BIN)/python -m tfrecords_tools pack $(JAXFACE_DATA)/lfw_aligned112 runs/lfw
	$(BIN)/jaxface import $(WEIGHTS) --model mobilefacenet --preprocess imagenet --out runs/mobilefacenet
	$(BIN)/jaxface embed --model runs/mobilefacenet --records runs/lfw --out runs/lfw.npz
	$(BIN)/jaxface evaluate --protocol lfw --pairs $(JAXFACE_DATA)/protocols/pairs.txt --embeddings runs/lfw.npz --json runs/lfw.json
	$(BIN)/python docs/make_lfw_report.py --weights $(WEIGHTS)
	$(BIN)/jaxface train celeba_finetune --workdir runs/celeba_finetune
	$(MAKE) sweep-losses sweep-models sweep-papers sweep-rates

# Compare the losses: same network and number of steps, about four minutes each on two cores.
MARGIN30 := --terms.0.margin.scale 30 --terms.0.margin.warmup_steps 400
sweep-losses: $(VENV)/test
	$(BIN)/jaxface train margins --workdir runs/margins_softmax --terms.0.margin softmax
	$(BIN)/jaxface train margins --workdir runs/margins_asoftmax --terms.0.margin asoftmax
	$(BIN)/jaxface train cosface
	$(BIN)/jaxface train margins --workdir runs/margins_arcface
	$(BIN)/jaxface train margins --workdir runs/margins_adaface --terms.0.margin adaface $(MARGIN30)
	$(BIN)/jaxface train center_loss --workdir runs/center_loss
	for weight in 0 0.05 0.5 5; do \
	  $(BIN)/jaxface train deepid2 --workdir runs/deepid2_$$weight --terms.1.weight $$weight || exit 1; done
	$(BIN)/jaxface train deepid2 --workdir runs/deepid2_infinite --terms.0.weight 0 --terms.1.weight 1
	for kind in same different; do $(BIN)/jaxface train deepid2 --workdir runs/deepid2_$$kind --terms.1.kinds $$kind || exit 1; done
	$(BIN)/jaxface train deepid2 --workdir runs/deepid2_l1 --terms.1.distance l1
	$(BIN)/jaxface train deepid2 --workdir runs/deepid2_cosine --terms.1 pairs --terms.1.form contrastivecosine --terms.1.weight 0.05
	$(BIN)/jaxface train facenet_triplet --workdir runs/facenet_triplet
	$(BIN)/jaxface embed --model runs/facenet_triplet --records runs/facenet_triplet/records/train --out runs/round1.npz --mirror none
	$(BIN)/jaxface train facenet_offline --workdir runs/facenet_offline
	$(BIN)/jaxface train vggface --workdir runs/vggface
	$(BIN)/jaxface train vggface_triplet --workdir runs/vggface_triplet

# Train every network on real images, about a minute each; existing results are skipped. Results: docs/models.md.
sweep-models: $(VENV)/test
	$(BIN)/python docs/sweep_models.py
	$(BIN)/python docs/make_models_page.py

# Ingredients for few images, measured on view 1, and the best once on view 2: some twenty minutes for each network on two idle cores.
# `make small-data SMALL_DATA=` leaves the other networks out. Results: docs/results.md.
SMALL_DATA := deeper narrower larger_batch
small_deeper := --model.options.units 1,3,2
small_narrower := --model.options.widths 32,64,128
small_larger_batch := --batch_size 256 --steps 2250 --terms.0.margin.warmup_steps 900 --optimizer.learning_rate 0.14
VIEW_1 := --evaluation.0.name view1 --evaluation.0.protocol lfw-view1 --evaluation.0.pairs '$$JAXFACE_DATA/protocols'
small-data: $(VENV)/test
	$(BIN)/jaxface train celeba_lfw
	$(foreach name,$(SMALL_DATA),$(BIN)/jaxface train celeba_lfw --workdir runs/small_data/$(name) $(small_$(name)) $(VIEW_1) &&) true
	$(BIN)/python docs/check_small_data.py --model runs/celeba_lfw --other $(addprefix runs/small_data/,$(SMALL_DATA)) --data $(JAXFACE_DATA) \
	  --embeddings runs/small_data/embeddings --thirty --view-2

# FaceNet's tables, scaled down: a network for each embedding size, then JPEG quality and pixels of the one with 128 numbers. Results: docs/sweeps.md.
LFW_SWEEP := $(BIN)/jaxface sweep --images $(JAXFACE_DATA)/lfw_aligned112 --template arcface112 --pairs $(JAXFACE_DATA)/protocols/pairs.txt --protocol lfw
sweep-facenet: $(VENV)/test
	$(BIN)/jaxface train facenet_sizes --small
	$(LFW_SWEEP) --model $(addprefix runs/facenet_sizes_small/nn2_,64 128 256 512) --by embedding-size --out runs/sweeps/facenet_sizes
	$(LFW_SWEEP) --model runs/facenet_sizes_small/nn2_128 --jpeg --pixels 400,900,1600 --out runs/sweeps/facenet_quality
	$(BIN)/python docs/make_sweeps_page.py --part facenet runs/sweeps/facenet_sizes runs/sweeps/facenet_quality

# The small forms of the papers' experiments.
sweep-papers: $(VENV)/test
	for name in deepid deepface lightcnn sphereface arcface_r50 vggface_stages; do $(BIN)/jaxface train $$name --small || exit 1; done
	$(BIN)/jaxface papers deepface --run --model runs/deepface_small --lfw '$$JAXFACE_DATA/lfw_aligned112' \
	  --train '$$JAXFACE_DATA/celeba_aligned112' --lists '$$JAXFACE_DATA/protocols' --out runs/deepface_system.json
	$(BIN)/jaxface train deepface --small --workdir runs/deepface_gradient --model.options.input gradient
	$(BIN)/jaxface papers deepface --run --model runs/deepface_small runs/deepface_gradient --lfw '$$JAXFACE_DATA/lfw_aligned112' \
	  --train '$$JAXFACE_DATA/celeba_aligned112' --lists '$$JAXFACE_DATA/protocols' --out runs/deepface_ensemble.json
	$(BIN)/jaxface patches groups deepid2_patches --small --count 4 --groups 3 --workdir runs/deepid2_patches_small

# Result files of the papers' systems, from finished runs of sweep-losses and sweep-papers. Table: docs/papers.md.
PAPER_RUNS := $(addprefix runs/,deepid_small/system/deepid_small_system.json deepid2_patches_small/system/deepid2_patches_small_groups.json deepface_small deepface_system.json deepface_ensemble.json facenet_triplet vggface vggface_triplet \
  $(addprefix vggface_stages_small/,vggface_a vggface_b vggface_d vggface_b_projected) center_loss cosface \
  $(addprefix facenet_sizes_small/,nn2_64 nn2_128 nn2_256 nn2_512 nns1_128) \
  sphereface_small lightcnn_small arcface_r50_small deepid2_0 deepid2_0.05 deepid2_0.5 deepid2_5 deepid2_infinite deepid2_same deepid2_different \
  deepid2_l1 deepid2_cosine)
papers: $(VENV)/test
	$(BIN)/jaxface papers --keep $(wildcard $(PAPER_RUNS))
	$(BIN)/python docs/make_papers_table.py

# Accuracy with sampled classes, three rates and three seeds, about four minutes each. Results: docs/class_centers.md.
sweep-rates: $(VENV)/test
	$(BIN)/python docs/sweep_rates.py

clean:
	rm -rf $(VENV) runs .cache
