# Each target sets up .venv first, and again only when the lock, the list of dependencies or DEVICE has changed.
PYTHON ?= python3
PROFILE ?= quick
EXTRAS ?= dev
# what Keras computes with: cpu or gpu, which are TensorFlow, or jax, jax-gpu or torch
DEVICE ?= cpu
ifeq ($(filter cpu gpu jax jax-gpu torch,$(DEVICE)),)
$(error DEVICE is cpu, gpu, jax, jax-gpu or torch, not "$(DEVICE)")
endif
ifeq ($(filter cpu gpu,$(DEVICE)),)
export KERAS_BACKEND := $(DEVICE:-gpu=)
endif
# notebooks at a time: two small trainings keep two cores busier than one; a large one takes them all, and the memory of a GPU
WORKERS ?= $(if $(filter quick-cpu quick-jax quick-torch,$(PROFILE)-$(DEVICE)),2,1)
BIN := .venv/bin
READY := .venv/ready-$(DEVICE)
# Containers set this, and each start of TensorFlow would compile its sources again: 24 seconds instead of 9.
unexport PYTHONDONTWRITEBYTECODE

report: $(READY)  ## run the series under PROFILE into reports/PROFILE
	$(BIN)/python -m deconvlib run --profile $(PROFILE) --workers $(WORKERS)

setup: $(READY)  ## .venv with all that the notebooks need

wheel: $(READY)  ## what a user installs: the wheel by itself, then with the notebooks
	bash tests/wheel.sh $(BIN)

test: $(READY)  ## style, unit tests, and every notebook against its stored outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest -q -n 3 --nbval --nbval-current-env --nbval-cell-timeout=1800 \
	  --nbval-kernel-startup-timeout=300 tests notebooks

benchmark: $(READY)-benchmark  ## agreement, time and memory beside the other tools, into reports/benchmarks
	$(BIN)/pytest -q tests/benchmarks/agreement.py
	$(BIN)/python tests/benchmarks/host.py
	$(BIN)/python tests/benchmarks/speed.py
	$(BIN)/python tests/benchmarks/network_deconvolution.py
	$(BIN)/python tests/benchmarks/operators.py
	$(BIN)/python tests/benchmarks/memory.py
	$(BIN)/python tests/benchmarks/training.py

lab: $(READY)  ## open JupyterLab
	$(if $(DECONVLIB_DATA),DECONVLIB_DATA=$(abspath $(DECONVLIB_DATA))) $(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks

screenshots: $(READY)  ## what each panel looks like, into reports/panels
	SCREENSHOTS=$(abspath reports/panels) $(BIN)/pytest -q tests/browser/test_lab.py

app: $(READY)  ## the notebooks as apps under Voilà: panels and texts, without code
	$(if $(DECONVLIB_DATA),DECONVLIB_DATA=$(abspath $(DECONVLIB_DATA))) $(BIN)/voila notebooks

# The only way stored outputs change: executed with the committed defaults, metadata cleared of times and machines.
# Progress bars appear on a slow machine and not on a fast one.
notebooks: $(READY)
	TQDM_DISABLE=1 $(BIN)/jupyter nbconvert --to notebook --inplace --execute --log-level=WARN \
	  --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False \
	  --CoalesceStreamsPreprocessor.enabled=True --ClearMetadataPreprocessor.enabled=True \
	  --ClearMetadataPreprocessor.preserve_cell_metadata_mask="tags" \
	  --ClearMetadataPreprocessor.preserve_nb_metadata_mask="kernelspec" notebooks/*.ipynb

lock: $(READY)  ## newest versions that fit together, on every platform and Python that pyproject.toml names
	$(BIN)/uv pip compile -q pyproject.toml --all-extras --universal --fork-strategy fewest --python-version 3.11 \
	  --upgrade --no-header --no-annotate --no-emit-index-url -o requirements.txt

$(READY): pyproject.toml requirements.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install -q -c requirements.txt uv
	$(BIN)/uv pip install -q --system-certs --python $(BIN)/python -c requirements.txt -e '.[$(EXTRAS),$(DEVICE)]'
	touch $@

$(READY)-benchmark: $(READY)
	$(BIN)/uv pip install -q --system-certs --python $(BIN)/python -c requirements.txt -e '.[dev,benchmark,$(DEVICE)]'
	# Xplique declares an older TensorFlow than it runs with, so that what it imports is named here; it may be missing
	-$(BIN)/uv pip install -q --system-certs --python $(BIN)/python -c requirements.txt --no-deps xplique==2.0.2 \
	  einops==0.8.2 opencv-python-headless==5.0.0.93 tensorflow-probability==0.25.0 tf-keras==2.21.0 dm-tree==0.1.10 \
	  decorator==5.3.1
	touch $@

.PHONY: report setup test wheel benchmark lab app screenshots notebooks lock
