# `make demo` and `make test` set up everything they need in .venv; `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input
# The wheels of ROS 2 exist for these; the system's own python3 is asked first.
PYTHONS := python3 python3.12 python3.11 python3.13 python3.10
PYTHON ?=

# Threads of one process: the cores this process may use, rather than all that the machine has.
CORES := $(shell nproc)
export OMP_NUM_THREADS ?= $(CORES)
# Tests share the cores: so many at once, each with its part of them.
WORKERS ?= $(shell echo $$(($(CORES) < 4 ? $(CORES) : 4)))
# .venv holds ROS 2 with Fast DDS alone. A sourced ROS 2 would put its own libraries and packages in front of these.
export RMW_IMPLEMENTATION := rmw_fastrtps_cpp
ifdef AMENT_PREFIX_PATH
unexport AMENT_PREFIX_PATH AMENT_CURRENT_PREFIX COLCON_PREFIX_PATH CMAKE_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH ROS_DISTRO
endif

LAST_FAILED := .pytest_cache/v/cache/lastfailed

.PHONY: help demo test lint pytest docs clean distclean

help:
	@echo "make demo       set up, then run densehybrid demo: leaves demo_output/index.html (ARGS='--help' for its options)"
	@echo "make test       set up, then lint and run all tests (ARGS='-k score' chooses some, WORKERS=1 one at a time)"
	@echo "make lint       ruff and mypy alone"
	@echo "make docs       the pages of docs/ as a site in site/, which needs no network (mkdocs alone is installed)"
	@echo "make clean      remove build products, caches and demo_output"
	@echo "make distclean  the same, and .venv"
	@echo "PYTHON=/path/to/python chooses the interpreter of a new .venv (3.10 to 3.13)."
	@echo "pip's own settings hold, such as PIP_EXTRA_INDEX_URL for an index with the CPU build of PyTorch: the"
	@echo "registry's Linux build comes with CUDA, about 3 GB to download."

demo: $(VENV)/.run-installed
	$(BIN)/densehybrid demo $(ARGS)

test: lint pytest

lint: $(VENV)/.test-installed
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .
	$(BIN)/mypy --no-error-summary

pytest: $(VENV)/.test-installed
	@# What failed beside others, who took the cores from a real node or camera, runs once more with nothing beside it:
	@# the whole file, as its tests may share a node and what the ones before have done to it.
	OMP_NUM_THREADS=$$(($(CORES) / $(WORKERS))) $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS) || \
	    { [ $$? = 1 ] && $(BIN)/python -m pytest $$(sed -n 's/^ *"\([^":]*\).*/\1/p' $(LAST_FAILED) | sort -u); }

docs: $(VENV)/.docs-installed
	$(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html"

$(VENV)/.docs-installed: $(VENV)/.made-for requirements/docs.txt
	@$(PIP) install --requirement requirements/docs.txt
	@touch $@

# What is installed is younger than the files that say what to install; make installs again when one of them changes.
$(VENV)/.run-installed $(VENV)/.test-installed: $(VENV)/.%-installed: $(VENV)/.made-for requirements/run.txt requirements/%.txt setup.py package.xml pyproject.toml
	@echo "Installing requirements/$*.txt into $(VENV) (once; some minutes on a first run)"
	@$(PIP) install --requirement requirements/$*.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $(VENV)/.run-installed $@

# A .venv is made again when its Python does not start, when the checkout has moved since (the start scripts and the
# editable install hold its path), or when PYTHON asks for another version.
VERSION_OF = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
MADE_WITH := $(if $(shell [ "$$(cat $(VENV)/.made-for 2>/dev/null)" = '$(CURDIR)' ] && echo yes),$(call VERSION_OF,$(BIN)/python))
ifneq ($(MADE_WITH),$(if $(PYTHON),$(call VERSION_OF,$(PYTHON)),$(or $(MADE_WITH),none)))
.PHONY: $(VENV)/.made-for
endif

$(VENV)/.made-for:
	@for python in $(or $(PYTHON),$(PYTHONS)); do \
	    "$$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || continue; \
	    found=$$python; \
	    "$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
	    "$$python" -m venv --clear $(VENV); \
	    printf '%s' '$(CURDIR)' > $@; \
	    exit 0; \
	done; \
	if [ -n "$${found:-}" ]; then \
	    echo "$$found has no venv module: apt install $$("$$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2; \
	else \
	    echo "no Python 3.10 to 3.13 among: $(or $(PYTHON),$(PYTHONS)); install one, or name it with PYTHON=/path/to/python" >&2; \
	fi; \
	exit 1

clean:
	rm -rf build install log site demo_output .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find densehybrid_ros test tools launch -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
