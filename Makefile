# The front door. Every target keeps its environment in .venv; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
CLUSTER := $(RUN)/python -m tests.cluster
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.ready: pyproject.toml requirements.lock requirements-dev.lock
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(RUN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lock: pyproject.toml  ## resolve the dependencies again into requirements*.lock, with hashes
	$(RUN)/$(LOCK) pyproject.toml -o requirements.lock
	$(RUN)/$(LOCK) pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock

.PHONY: help lock
