# make reproduce [STUDY=builtin] [DATA=folder] | make test | make lab     (each does all of its own set-up)
STUDY ?= builtin
CORES ?= $(shell nproc 2>/dev/null || echo 2)
ifneq ($(CONDA_PREFIX),)
ENV := $(CONDA_PREFIX)
else
ENV := .venv
endif
PYTHON := $(ENV)/bin/python
STAMP := $(ENV)/.corrlib-installed
ifneq ($(DATA),)
export DATA
endif
ifneq ($(SOUNDS),)
export SOUNDS
endif
export PYTHONUNBUFFERED = 1

reproduce: $(STAMP)
	$(PYTHON) -m corrlib.reproduce $(STUDY) --cores $(CORES)

test: $(STAMP)
	$(PYTHON) -m ruff check corrlib tests
	$(PYTHON) -m pytest

lab: $(STAMP)
	$(PYTHON) -m jupyterlab notebooks

$(STAMP): pyproject.toml
	test -x $(PYTHON) || python3.11 -m venv $(ENV) || python3 -m venv $(ENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $(STAMP)

.PHONY: reproduce test lab
