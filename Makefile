# Each target sets up .venv first, and again only when the lock or the list of dependencies has changed.
PYTHON ?= python3
PROFILE ?= quick
BIN := .venv/bin
READY := .venv/ready

report: $(READY)  ## run the series under PROFILE into reports/PROFILE
	$(BIN)/python -m deconvlib run --profile $(PROFILE)

test: $(READY)  ## style, unit tests, and every notebook against its stored outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest -q
	$(BIN)/pytest -q --nbval --nbval-current-env --nbval-cell-timeout=300 notebooks

lab: $(READY)  ## open JupyterLab
	$(if $(DECONVLIB_DATA),DECONVLIB_DATA=$(abspath $(DECONVLIB_DATA))) $(BIN)/jupyter lab --notebook-dir=notebooks

# The only way stored outputs change: executed with the committed defaults, metadata cleared of times and machines.
notebooks: $(READY)
	$(BIN)/jupyter nbconvert --to notebook --inplace --execute --log-level=WARN \
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
	$(BIN)/uv pip install -q --system-certs --python $(BIN)/python -c requirements.txt -e '.[dev]'
	touch $@

.PHONY: report test lab notebooks lock
