# make reproduce [STUDY=builtin] [ONLY=run] [DATA=folder] [PROFILE=slurm] | make test | make lab
# make verify [STUDY=builtin] | make fuzz | make benchmark          each does all of its own set-up
STUDY ?= builtin
CORES ?= $(shell nproc 2>/dev/null || echo 2)
ifneq ($(CONDA_PREFIX),)
ENV := $(CONDA_PREFIX)
else
ENV := .venv
endif
PYTHON := $(ENV)/bin/python
STAMP := $(ENV)/.corrlib-installed
TESTS := $(ENV)/.corrlib-tests-installed
BENCHMARK := $(ENV)/.corrlib-benchmark-installed
CLUSTER := $(ENV)/.corrlib-cluster-installed
# pip compiles on one core, and the packages' tests, too
INSTALL := -m pip install --quiet --disable-pip-version-check --no-compile --editable
COMPILE := -m compileall -qq -j 0 -x '/tests/' $(ENV)/lib
ifneq ($(DATA),)
export DATA
endif
ifneq ($(SOUNDS),)
export SOUNDS
endif
export PYTHONUNBUFFERED = 1

reproduce: $(if $(PROFILE),$(CLUSTER),$(STAMP))
	$(PYTHON) -m corrlib.study.reproduce $(STUDY) --cores $(CORES) $(if $(ONLY),--only $(ONLY)) $(if $(PROFILE),--profile $(PROFILE))

test: $(TESTS)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pyrefly check --summary=none
	$(PYTHON) -m pytest --numprocesses auto --maxprocesses 8 --no-loadscope-reorder

# a finished study's tables and figures from runs/ to where they are published, and the pages that show them
publish: $(STAMP)
	$(PYTHON) -m corrlib.study.publish $(STUDY) $(if $(REPLACE),--replace)
	$(PYTHON) -m corrlib.reports.pages

# README.md and docs/ once more from figures/
pages: $(STAMP)
	$(PYTHON) -m corrlib.reports.pages

# a study once more from nothing, held against its published results.csv
verify: $(STAMP)
	$(PYTHON) -m corrlib.study.verify $(STUDY) --cores $(CORES)

# the fuzzers with new inputs, again and again until ten minutes are over or one finds something
fuzz: $(TESTS)
	end=$$(($$(date +%s) + 600)); while [ $$(date +%s) -lt $$end ]; do \
	FUZZ_EXAMPLES=300 $(PYTHON) -m pytest tests/robustness/test_fuzz.py || exit 1; done

# every part of the work beside what one would pick instead, on this machine: figures/benchmark/
benchmark: $(BENCHMARK)
	mkdir -p runs
	$(PYTHON) -m papermill notebooks/90_benchmark.ipynb runs/benchmark.ipynb --cwd .

lab: $(STAMP)
	-$(PYTHON) -m jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements 2>/dev/null
	$(PYTHON) -m jupyterlab notebooks

$(PYTHON):
	python3.11 -m venv $(ENV) || python3 -m venv $(ENV)

$(STAMP): pyproject.toml | $(PYTHON)
	$(PYTHON) $(INSTALL) .
	-$(PYTHON) $(COMPILE)
	touch $(STAMP)

$(TESTS): pyproject.toml | $(PYTHON)
	$(PYTHON) $(INSTALL) '.[test]'
	-$(PYTHON) $(COMPILE)
	touch $(STAMP) $(TESTS)

$(BENCHMARK): pyproject.toml | $(PYTHON)
	$(PYTHON) $(INSTALL) '.[benchmark]'
	touch $(STAMP) $(BENCHMARK)

$(CLUSTER): pyproject.toml | $(PYTHON)
	$(PYTHON) $(INSTALL) '.[cluster]'
	touch $(STAMP) $(CLUSTER)

.PHONY: reproduce test fuzz verify benchmark lab publish pages
