# Everything a fresh machine with Python 3.11 and make needs. Each target makes what it stands on.
#   make run      trains the default experiment and shows what it learned
#   make test     runs the tests; make test-all runs all of them
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS ?=
ARGS ?=

.PHONY: install run test test-all lint format types docs dist docker-lint clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# The package with the extras named in EXTRAS, such as EXTRAS=cuda.
install: $(VENV)/.base
	$(if $(EXTRAS),$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]",@true)

run: $(VENV)/.base
	$(BIN)/infojax train experiment=default $(ARGS)

# Each worker takes half of the files: tests of one file share fixtures and what they compile.
test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

# With the batteries of all methods and estimators, of which `test` takes one of each kind.
test-all: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "slow or not slow" $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev
	$(BIN)/pyright

docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The wheel, installed in a clean environment, runs from another folder.
dist: $(VENV)/.dev
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist . > /dev/null
	work=$$(mktemp -d) && trap 'rm -rf '$$work EXIT && \
	$(PYTHON) -m venv $$work/venv && \
	$$work/venv/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl && \
	cd $$work && venv/bin/infojax --version && venv/bin/infojax train experiment=smoke

docker-lint: $(VENV)/.dev
	$(BIN)/hadolint Dockerfile

clean:
	rm -rf $(VENV) build dist site
