# Thin on purpose: a target is a line to type into a shell, after the environment it needs.

VENV  ?= .venv
STUDY ?= configs/studies/shapes.json
# ARGS is more for the command of a target, as in: make test ARGS='-k lock'

python = "$(VENV)/bin/python"

.DEFAULT_GOAL := help
.PHONY: help setup reproduce test lint check format bench schemas metrics environment clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "Variables: VENV=.venv, STUDY=configs/studies/shapes.json, ARGS=, PYTHON= (for setup)"

setup: ## make the environment VENV from requirements.lock, where it is not there yet
	@./setup_venv.sh "$(VENV)"

# Of the default study five minutes: one seed of its small rows. All of it: make reproduce ARGS=
reproduce: ARGS ?= $(if $(filter configs/studies/shapes.json,$(STUDY)),--budget quick)
reproduce: setup ## run STUDY from its data to its tables; go on where it was broken off
	$(python) reproduce.py $(STUDY) $(ARGS)

# One thread for each of the two workers: with one a core in each of them, as torch takes by
# default, they would slow each other down. A file's tests stay in one worker and share what they made.
test: setup ## run the tests
	OMP_NUM_THREADS=1 $(python) -m pytest -n 2 --dist loadfile $(ARGS)

lint: setup ## check formatting and style
	$(python) -m ruff format --check .
	$(python) -m ruff check .
	"$(VENV)/bin/shellcheck" -x slurm/*.sbatch slurm/*.sh setup_venv.sh .ci/run

check: lint test ## lint, then test

format: setup ## format the code, mend what can be mended
	$(python) -m ruff format .
	$(python) -m ruff check --fix .

bench: setup ## measure speed, killed runs, memory and evaluation beside their rivals, briefly (benchmarks/)
	$(python) -m benchmarks.train --cases small mnist-32
	$(python) -m benchmarks.kills --kills 10
	$(python) -m benchmarks.memory
	$(python) -m benchmarks.evaluate

schemas: setup ## write configs/schema/, by which editors complete and check the configs
	$(python) -m configs.make_schemas

metrics: setup ## write evaluate/METRICS.md, which says what every metric is
	$(python) -m evaluate metrics --page > .METRICS.md.partial
	mv .METRICS.md.partial evaluate/METRICS.md

environment: ## write the pins of requirements.lock into environment.yml
	{ sed '/^  - pip:$$/q' environment.yml; sed -n 's/^[a-z].*/      - &/p' requirements.lock; } \
	    > .environment.yml.partial
	mv .environment.yml.partial environment.yml

clean: ## delete caches; data, runs and the environment stay
	rm -rf .pytest_cache .ruff_cache
	find . \( -path ./data -o -path ./raw -o -path ./runs -o -path './.venv*' -o -path ./.git \) -prune \
	    -o -type d -name __pycache__ -exec rm -rf {} +
