# Everything here needs only python3 (3.11 or newer) and make.
PYTHON ?= python3
# Compiled modules are kept: without them every process compiles torch anew, which takes longer than to import it.
unexport PYTHONDONTWRITEBYTECODE
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := --constraint $(VENV)/constraints.txt --editable '.[dev,parquet,serve]'
# Another torch than the one that fits this machine's driver: make install TORCH=2.9.1
TORCH ?=
# Processes that share the tests, file by file; auto is decided in tests/conftest.py.
JOBS ?= auto
# Cases of datasets, checkpoints and verdicts, each with programs that write and check them.
CASES ?= $(wildcard ../shared/cases)

.DEFAULT_GOAL := help
.PHONY: help install demo test versions faults cases slurm-faults lint format bench bench-table screenshots clean

help:  ## Say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## Create .venv and install the console with everything that tests need

$(VENV)/.installed: pyproject.toml constraints.txt constraints-cuda12.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ssl-console needs Python 3.11 or newer, this is %s: make PYTHON=/path/to/python3.11 install" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(PYTHON) -I ssl_console/system/torch_build.py "$(TORCH)" > $(VENV)/constraints.txt
	command -v uv > /dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv || true
	PATH="$(BIN):$$PATH" VIRTUAL_ENV=$(VENV) uv pip install $(PACKAGES) || \
		$(BIN)/python -m pip install --disable-pip-version-check $(PACKAGES)
	$(BIN)/python -c "import torch, torchvision, timm, sklearn, textual.app"
	@touch $@

demo: install  ## Evaluate the demo backbones on the demo suite and print the ranking
	$(BIN)/ssl-console demo --headless

test: install  ## Run the whole test suite in several processes; one after another: make test JOBS=0
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -rs

versions: install  ## Prove the oldest and newest versions: make versions ARGS="python3.11 python3.13"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.packaging.versions $(ARGS)

faults: install  ## Break everything that can break, simulate every verdict, and put the figures into tests/faults/README.md
	SSL_CONSOLE_FAULTS=full SSL_CONSOLE_FAULTS_FIGURES=tests/faults/figures.json \
		$(BIN)/python -m pytest -n 4 --dist worksteal tests/faults tests/verdicts \
		tests/backbones/inspection/test_timm_modules.py tests/backbones/checkpoints/test_published_formats.py \
		tests/ssl_console/analysis/statistics/test_simulation.py \
		tests/tasks/protocols/test_killed.py tests/tasks/protocols/test_families.py tests/packaging/test_gpu_proof.py \
		tests/ssl_console/cli/test_watch.py
	$(BIN)/python -m tests.faults.tally

cases: install  ## Check datasets, checkpoints and verdicts as people have them: make cases CASES=DIR ARGS=datasets
	@test -n "$(CASES)" || { echo "make cases CASES=DIR: name the folder that holds datasets, checkpoints or verdicts"; exit 2; }
	$(BIN)/python -m tests.cases "$(CASES)" build/cases $(ARGS)

slurm-faults: install  ## Break a real Slurm cluster in every way that the tests know (needs Slurm's daemons)
	SSL_CONSOLE_REQUIRE_SLURM=1 $(BIN)/python -m pytest -m "slurm_faults or not slurm_faults" tests/slurm

lint: install  ## Check format, style, types and the import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install  ## Run the benchmarks and print their ratios: make bench ARGS="--quick knn"
	@$(BIN)/python -m tests.benchmarks $(ARGS)

bench-table: install  ## Write the table of tests/benchmarks/README.md from what make bench has left
	@$(BIN)/python -m tests.benchmarks --table

screenshots: install  ## Run the demo and take pictures of every screen
	$(BIN)/python screenshots/take.py

clean:  ## Remove the environment and the caches
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
