# make reproduce [STUDY=builtin] [ONLY=run] [DATA=folder] | make test | make lab     (each does all of its own set-up)
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

reproduce: $(STAMP)
	$(PYTHON) -m corrlib.reproduce $(STUDY) --cores $(CORES) $(if $(ONLY),--only $(ONLY))

test: $(TESTS)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m pytest

lab: $(STAMP)
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

.PHONY: reproduce test lab
