# Listenlake: `make help` lists the verbs. A machine needs Python 3.11 or newer and make; the rest is set up here, once.

PYTHON ?= python3
BIN := .venv/bin
READY := .tools/.ready
AIRFLOW := .tools/airflow
CHECKOV := .tools/checkov
SOAK := .listenlake/soak

.DEFAULT_GOAL := help
.PHONY: help demo test check synth bench soak clean lock setup

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup ## Run the whole pipeline on this machine and compare what it serves with the truth
	@$(BIN)/listenlake demo $(ARGS)

test: setup $(AIRFLOW)/.installed $(CHECKOV)/.installed ## Run every test
	@$(BIN)/python -m pytest $(ARGS)

check: .venv/.installed ## Format, lint, types and import rules, in seconds
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

synth: setup ## Write the CloudFormation templates to cdk.out; ARGS='{"listenlake:environment": "prod"}'
	@rm -rf cdk.out
	@CDK_OUTDIR=cdk.out CDK_CONTEXT_JSON='$(or $(ARGS),{})' $(BIN)/python -m infra.app && ls cdk.out/*.template.json

bench: setup ## Measure the stages
	@$(BIN)/python -m benchmarks

soak: setup ## Send for ten minutes and report whether memory stays flat
	@trap '$(BIN)/listenlake down --state $(SOAK)' EXIT; \
		$(BIN)/listenlake up --state $(SOAK) && \
		$(BIN)/listenlake produce --state $(SOAK) --profile soak --rate 2000 --report soak.html $(ARGS)

clean: ## Remove everything that was set up or written here
	@if [ -x $(BIN)/listenlake ]; then $(BIN)/listenlake down || true; fi
	rm -rf soak.html .venv .tools .listenlake infra/node_modules tests/integration/resharding/node_modules cdk.out .mypy_cache .pytest_cache .ruff_cache .hypothesis

lock: .venv/.installed ## Pin the newest allowed versions of everything anew
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' requirements/bootstrap.in -o requirements/bootstrap.lock
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url --no-emit-package listenlake \
		--custom-compile-command 'make lock' --extra dev pyproject.toml -o requirements/dev.lock
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url --no-emit-package listenlake \
		--custom-compile-command 'make lock' --extra airflow pyproject.toml -o requirements/airflow.lock
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url \
		--custom-compile-command 'make lock' requirements/checkov.in -o requirements/checkov.lock
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m local_cloud.setup --lock-jars

setup: $(READY)

# Each step below runs again only when what it depends on has changed.

.venv/.bootstrapped: requirements/bootstrap.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "set-up: expected Python 3.11 or newer as $(PYTHON); found $$($(PYTHON) --version 2>&1)." \
			"Name another one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "set-up: virtual environment" >&2
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@touch $@

.venv/.locked: .venv/.bootstrapped requirements/dev.lock
	@echo "set-up: Python packages (the first time about 1.3 GB)" >&2
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements/dev.lock
	@touch $@

.venv/.installed: .venv/.locked pyproject.toml
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(READY): .venv/.installed requirements/jars.lock infra/package-lock.json local_cloud/setup.py local_cloud/toolchain.py
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m local_cloud.setup
	@touch $@

# Only the tests of the DAG need Airflow. It reads the project from the clone, as it reads the wheel elsewhere.
$(AIRFLOW)/.installed: .venv/.bootstrapped requirements/airflow.lock
	@echo "set-up: Airflow, for the tests of its DAG (0.5 GB)" >&2
	@rm -rf $(AIRFLOW) && $(PYTHON) -m venv --without-pip $(AIRFLOW)
	@VIRTUAL_ENV=$(AIRFLOW) $(BIN)/uv pip install --quiet --require-hashes -r requirements/airflow.lock
	@touch $@

# Only the review of the templates needs checkov.
$(CHECKOV)/.installed: .venv/.bootstrapped requirements/checkov.lock
	@echo "set-up: checkov, for the review of the templates (0.2 GB)" >&2
	@rm -rf $(CHECKOV) && $(PYTHON) -m venv --without-pip $(CHECKOV)
	@VIRTUAL_ENV=$(CHECKOV) $(BIN)/uv pip install --quiet --require-hashes -r requirements/checkov.lock
	@touch $@
