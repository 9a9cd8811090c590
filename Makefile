# Every target works on a fresh clone: it needs Python 3.11+ with venv and pip, and a package registry.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
EXTRAS := dev,dask,dp,frames,onnx,parquet,skops,torch
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Tests are compiled once, also where the shell asks Python to keep no compiled files.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: bench demo test test-slow test-oldest test-newest test-browser test-hosts test-servers test-trainers docs gpu lint clean

demo: .venv/demo ## install, audit a model on bundled data, print the summary and the path of the report
	$(BIN)/miaudit demo

test: .venv/dev ## install, run the default tests
	$(PYTEST)

test-slow: .venv/dev ## the tests that take minutes
	$(PYTEST) -m slow

test-oldest: .venv-oldest/ready ## the default tests with the oldest libraries that pyproject.toml allows; Python 3.11 or 3.12
	.venv-oldest/bin/python -m pytest -n 2 --dist worksteal

test-newest: ## the default tests with the newest libraries, a torch with its libraries for GPUs among them
	test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager --editable '.[$(EXTRAS)]'
	.venv-newest/bin/python -m pytest -n 2 --dist worksteal

test-browser: .venv/dev ## the report in a real browser; needs Chromium on the machine
	$(BIN)/python -m pytest -m browser

test-hosts: .venv/dev ## an audit over three hosts in network namespaces; needs root
	$(BIN)/python -m pytest -m hosts

test-servers: .venv/dev .venv-servers/ready ## audits of models behind MLServer, LitServe and MLflow
	$(BIN)/python -m pytest -m servers

test-trainers: .venv-trainers/ready ## shadow models trained by Lightning, CatBoost, Keras and transformers
	.venv-trainers/bin/python -m pytest -p no:xdist tests/trainers -m "trainers or not trainers"

docs: .venv/dev .venv-docs/ready ## the site in docs/_build, the notebooks and what the pages tell to do
	.venv-docs/bin/sphinx-build -q -W --keep-going -b html docs docs/_build
	.venv-docs/bin/python docs/run_notebooks.py
	$(BIN)/python -m pytest -m docs tests/test_docs_run.py

gpu: .venv/dev ## tests and bench that need an NVIDIA GPU, and a torch built for it in .venv
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python bench/gpu.py --out bench/results/gpu.json
	$(BIN)/python bench/compiled.py --device cuda --out bench/results/compiled_gpu.json

bench: .venv/dev ## list the benchmarks and when their figures were taken; bench/all.py --run takes them again
	$(BIN)/python bench/all.py

lint: .venv/dev ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --editable .
	touch $@

.venv/dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[$(EXTRAS)]'
	touch $@

.venv-oldest/ready: pyproject.toml tests/floors.py
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python tests/floors.py > .venv-oldest/floors.txt
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --constraint .venv-oldest/floors.txt --editable '.[$(EXTRAS)]'
	touch $@

.venv-servers/ready: tests/servers/requirements.txt
	test -x .venv-servers/bin/python || $(PYTHON) -m venv .venv-servers
	.venv-servers/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.venv-docs/ready: docs/requirements.txt pyproject.toml constraints.txt
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement $< --editable '.[frames,plots]'
	touch $@

.venv-trainers/ready: tests/trainers/requirements.txt pyproject.toml constraints.txt
	test -x .venv-trainers/bin/python || $(PYTHON) -m venv .venv-trainers
	.venv-trainers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement $< --editable .
	touch $@

clean:
	rm -rf .venv .venv-docs docs/_build .venv-servers .venv-trainers .venv-oldest .venv-newest .mypy_cache .ruff_cache .pytest_cache miaudit-demo miaudit-out
