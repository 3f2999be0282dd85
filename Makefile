# make: build    make lint, test, demo: see CONTRIBUTING.md
PYTHON ?= python3
BIN := .venv/bin
CHECK := $(if $(CI),--check)

.PHONY: lint test demo bench requirements clean

lint: .venv/ready
	$(BIN)/black $(CHECK) --quiet .
	$(BIN)/flake8 src lab bench tests
	if [ -e Dockerfile ]; then $(BIN)/hadolint Dockerfile*; fi

test: .venv/ready
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src lab bench
	$(BIN)/mypy
	$(BIN)/pytest --cov

# the same rolling update without and with the helper, as a table and a picture (docs/lab.md)
demo: .venv/ready
	$(BIN)/python -m lab demo

# every scenario, about half an hour; some of them: make bench SCENARIOS="plain scale-in"
bench: .venv/ready
	$(BIN)/python -m lab bench $(SCENARIOS)

# pip, not poetry, installs: pip knows the package index that this machine is set up for
.venv/ready: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "make: needs Python 3.11 or later with venv; on Debian: apt-get install python3 python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# after a change of the dependencies in pyproject.toml
requirements: .poetry/ready
	.poetry/bin/poetry lock
	.poetry/bin/poetry export --output requirements.txt
	.poetry/bin/poetry export --all-groups --output requirements-dev.txt

.poetry/ready:
	$(PYTHON) -m venv .poetry
	.poetry/bin/pip install --quiet poetry==2.5.1 poetry-plugin-export==1.10.1
	@touch $@

clean:
	rm -rf .venv .poetry .mypy_cache .pytest_cache .hypothesis .coverage* dist runs
