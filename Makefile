# `make` prints what there is. Every target does all of its own set-up, in .venv or in the active conda environment.
# What the command line gives (STUDY=... ONLY=... DATA=...) is data: it is taken as it stands, `$` and all, and reaches
# commands through the environment, where no shell reads it.
STUDY ?= builtin
ifndef CORES
CORES := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
endif
ENVIRONMENT := .venv
ifdef CONDA_PREFIX
ifneq ($(value CONDA_DEFAULT_ENV),base)
ENVIRONMENT := $(value CONDA_PREFIX)
endif
endif
GIVEN := STUDY CORES ONLY PROFILE REPLACE DATA SOUNDS CORPUS RUN TO K PUSH AUDIO DEVICE PROCESSES PYTHON_FOR_VENV
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
# a study file may ask whether DATA is there at all: what is empty is not handed on
$(foreach name,$(GIVEN),$(if $(value $(name)),$(eval export $(name)),$(eval unexport $(name))))
export ENVIRONMENT
export PYTHONUNBUFFERED = 1
PYTHON = "$$ENVIRONMENT/bin/python"

help: ## print this
	@echo "make TARGET [NAME=value ...]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' Makefile
	@echo "STUDY is the name of a file in studies/ (builtin), ONLY some of its runs, CORES how many at a time, PROFILE one of"
	@echo "studies/profiles (a cluster), DATA and SOUNDS the folders that a study file asks for."

reproduce: ## run a study, from nothing to its tables and figures [STUDY= ONLY= CORES= PROFILE= DATA= SOUNDS=]
	@sh .ci/setup.sh $(if $(value PROFILE),cluster)
	set -f; $(PYTHON) -m corrlib.study.reproduce --cores "$$CORES" $${PROFILE:+--profile "$$PROFILE"} $${ONLY:+--only} $$ONLY -- "$$STUDY"

data: ## fetch the corpora and weights that a study names [STUDY= or CORPUS=, DATA=]
	@sh .ci/setup.sh
	$(PYTHON) -m corrlib.study.fetch $${CORPUS:+--corpus "$$CORPUS"} $${DATA:+--data "$$DATA"} -- "$$STUDY"

check: ## before days are spent: what a study lacks, needs and takes [STUDY= DATA= SOUNDS= CORES=]
	@sh .ci/setup.sh
	$(PYTHON) -m corrlib.benchmarks.check --cores "$$CORES" -- "$$STUDY"

publish: ## copy a finished study's tables and figures into figures/ and render the pages [STUDY= REPLACE=1]
	@sh .ci/setup.sh
	$(PYTHON) -m corrlib.study.publish $${REPLACE:+--replace} -- "$$STUDY"
	$(PYTHON) -m corrlib.reports.pages

pages: ## render the numbers in README.md and docs/ from figures/
	@sh .ci/setup.sh
	$(PYTHON) -m corrlib.reports.pages

verify: ## compute a study once more, from nothing, and hold it against its published results [STUDY= CORES=]
	@sh .ci/setup.sh
	$(PYTHON) -m corrlib.study.verify --cores "$$CORES" -- "$$STUDY"

export: ## a finished run's model as a folder that needs nothing else [RUN= TO= PUSH=owner/name]
	@sh .ci/setup.sh
	$(PYTHON) -m corrlib export $${PUSH:+--push "$$PUSH"} -- "$$RUN" "$$TO"

correspondences: ## a study's estimates as parquet, the K most probable of each caption and clip [STUDY= K= TO=]
	@sh .ci/setup.sh share
	$(PYTHON) -m corrlib correspondences $${K:+-k "$$K"} -- "$$STUDY" "$$TO"

site: ## a finished study as web pages in site/, its notebooks with all they showed [STUDY= AUDIO=none TO=]
	@sh .ci/setup.sh site
	$(PYTHON) -m corrlib site $${AUDIO:+--audio "$$AUDIO"} -- "$$STUDY" "$${TO:-site}"

lab: ## open JupyterLab on the notebooks
	@sh .ci/setup.sh
	-@$(PYTHON) -m jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements 2>/dev/null
	$(PYTHON) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks

test: ## lint, check formatting and types, run the tests
	@sh .ci/setup.sh test
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pyrefly check --summary=none
	$(PYTHON) -m pytest --numprocesses auto --maxprocesses 8 --no-loadscope-reorder

test-full: ## run what `make test` leaves out: published sizes, a quarter of an hour and up to 16 GB
	@sh .ci/setup.sh test
	$(PYTHON) -m pytest -m full_size -rP

fuzz: ## run the fuzzers on new inputs until ten minutes are over or one finds something
	@sh .ci/setup.sh test
	end=$$(($$(date +%s) + 600)); while [ $$(date +%s) -lt $$end ]; do \
	FUZZ_EXAMPLES=300 $(PYTHON) -m pytest tests/robustness/test_fuzz.py || exit 1; done

benchmark: ## time every part of the work beside what one would pick instead, into runs/benchmark/figures/
	@sh .ci/setup.sh benchmark
	mkdir -p runs
	$(PYTHON) -m papermill notebooks/90_benchmark.ipynb runs/benchmark.ipynb --cwd .

gpu: ## prove and measure everything on a GPU, in eight minutes [TO= PROCESSES=; DEVICE=cpu: a rehearsal]
	@sh .ci/setup.sh benchmark
	$(PYTHON) -m corrlib.benchmarks.gpu $${TO:+--out "$$TO"} $${DEVICE:+--device "$$DEVICE"} $${PROCESSES:+--processes "$$PROCESSES"}

gpu-carry: ## into a folder, what the same needs where nothing can be fetched, beside torch and transformers [TO=]
	@sh .ci/setup.sh
	@sh .ci/carry.sh "$${TO:-}"

.DEFAULT_GOAL := help
.PHONY: help reproduce data check publish pages verify export correspondences site lab test test-full fuzz benchmark gpu gpu-carry
