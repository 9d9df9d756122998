# Everything a fresh machine with Python 3.11 and make needs. Each target makes what it stands on.
#   make run      trains the default experiment and shows what it learned
#   make test     runs the tests; make test-all runs all of them
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS ?=
ARGS ?=

.PHONY: install run test test-all lint format types docs dist docker-lint cloud-lint sweep-joblib sweep-optuna sweep-submitit sweep-ray clean lower-tpu

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

# Sweeps for real, each given twice, with jobs that fail and processes that are killed in the middle.
sweep-joblib sweep-optuna sweep-submitit: sweep-%: $(VENV)/.test
	$(BIN)/python tests/lanes/sweeps.py $*

# Two nodes of a Ray cluster on loopback addresses, in an environment of their own: Ray is 400 MB. The launcher asks for
# dashboards, AWS and an older cloudpickle, of which it needs none here.
$(VENV)-ray/.installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)-ray
	$(VENV)-ray/bin/python -m pip install --quiet --constraint constraints.txt --editable . "ray<3"
	$(VENV)-ray/bin/python -m pip install --quiet --no-deps hydra-ray-launcher==1.2.2
	touch $@

sweep-ray: $(VENV)-ray/.installed
	$(VENV)-ray/bin/python tests/lanes/sweeps.py ray

# Everything compiles for a slice of TPUs that is not there, and takes what tests/data/lower_tpu.json says. libtpu is
# 700 MB, hence an environment of its own; the whole takes about 20 minutes of two free cores. ARGS=agent/ are agents alone.
$(VENV)-tpu/.installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)-tpu
	$(VENV)-tpu/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[test,tpu]"
	touch $@

lower-tpu: $(VENV)-tpu/.installed
	$(VENV)-tpu/bin/python tests/lower_tpu.py $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/yamllint --strict configs experiments/cloud
	$(BIN)/shellcheck .ci/run experiments/cloud/queued_resources/*.sh

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

$(VENV)-sky/.installed:
	$(PYTHON) -m venv $(VENV)-sky
	$(VENV)-sky/bin/python -m pip install --quiet skypilot==0.14.1
	touch $@

$(VENV)-xpk/.installed:
	$(PYTHON) -m venv $(VENV)-xpk
	$(VENV)-xpk/bin/python -m pip install --quiet xpk==1.16.0
	touch $@

# What the tools themselves say of experiments/cloud: about 1 GB of them, each in an environment of its own; not in the gate.
cloud-lint: $(VENV)/.dev $(VENV)-sky/.installed $(VENV)-xpk/.installed
	$(BIN)/shellcheck --version | sed -n 2p
	$(BIN)/shellcheck .ci/run experiments/cloud/queued_resources/*.sh
	$(BIN)/yamllint --version
	$(BIN)/yamllint --strict configs experiments/cloud
	$(BIN)/hadolint --version
	$(BIN)/hadolint Dockerfile
	$(VENV)-sky/bin/python experiments/cloud/check.py sky
	work=$$(mktemp -d) && trap 'rm -rf '$$work EXIT && \
	$(BIN)/infojax sky experiments/cloud/skypilot/spot.yaml --output $$work/tasks env=maze/open agent=sac,diayn 'seed=range(2)' && \
	$(VENV)-sky/bin/python experiments/cloud/check.py sky $$work/tasks/*.yaml
	$(VENV)-xpk/bin/python experiments/cloud/check.py jobset

clean:
	rm -rf $(VENV) $(VENV)-ray $(VENV)-sky $(VENV)-xpk $(VENV)-tpu build dist site
