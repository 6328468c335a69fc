# Two commands do everything: `make run` and `make test`. Each sets itself up.

# Python keeps what it compiles, whatever the caller's shell says: a test run starts a server some hundred times.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
# A variable that is set and empty counts as not set, as it does for the server.
STEELSIGHT_HOME := $(or $(STEELSIGHT_HOME),var)
MODELS := $(or $(STEELSIGHT_MODELS),$(STEELSIGHT_HOME)/models)
export STEELSIGHT_HOME
# Generated steel for the starter model: enough for a useful first verdict, little enough for minutes on two cores.
STARTER_TILES = 6000
# Of the same shape as the default preset, but it learns from few images: docs/log.md.
STARTER_PRESET = steel-128-local
STARTER_EPOCHS = 6
# A line of which one tile in a thousand shows a defect. Unstated, 5 % of the good tiles may be called, and a frame has a hundred.
STARTER_COSTS = --escape-cost 100 --overkill-cost 5 --review-cost 1 --line-defect-share 0.001

BIN = .venv/bin
READY = .venv/.ready
STARTER_DATA = $(STEELSIGHT_HOME)/starter-data
ACTIVE = $(MODELS)/active.json

.PHONY: setup run test lint licences sbom bench faults lock fuzz

setup: $(READY)

$(READY): requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	touch $(READY)

# The desk runs beside the server and ends with it.
run: $(READY) $(ACTIVE)
	@$(BIN)/python -m app dashboard --api http://127.0.0.1:$(or $(STEELSIGHT_PORT),8000) & desk=$$!; \
	trap '{ kill $$desk; wait $$desk; } 2> /dev/null' EXIT; trap : INT TERM; \
	$(BIN)/python -m app serve

$(ACTIVE): | $(READY) $(STARTER_DATA)/labels.csv
	$(BIN)/python -m training train $(STARTER_DATA) --preset $(STARTER_PRESET) --epochs $(STARTER_EPOCHS) $(STARTER_COSTS) --models $(MODELS) --activate

# labels.csv is written last: without it the folder was left half made.
$(STARTER_DATA)/labels.csv: | $(READY)
	rm -rf $(STARTER_DATA)
	$(BIN)/python -m training synthesize $(STARTER_DATA) --tiles $(STARTER_TILES)

# Two processes share the tests. The desk's come after, and those last that ask how soon something is on the screen.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore tests/dashboard
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not alone" tests/dashboard
	$(BIN)/python -m pytest -m alone tests/dashboard

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m supply.licences > /dev/null

# Package by package, held against supply/licences.toml.
licences: $(READY)
	$(BIN)/python -m supply.licences

# What a release is made of: CycloneDX, one document for each lock file.
sbom: $(READY)
	$(BIN)/python -m supply.sbom build/sbom

# Made-up requests against a real server with and without keys, all checks.
fuzz: $(READY) $(ACTIVE)
	$(BIN)/python -m benchmarks.fuzz --models $(MODELS) --cases 20000

# Each single figure; the tables go into docs/performance.md.
FIGURES = $(dir $(MODELS))benchmarks
measure = $(if $(wildcard benchmarks/$(1).py),$(BIN)/python -m benchmarks.document $(1) $(2))

bench: $(READY) $(ACTIVE)
	mkdir -p $(FIGURES)
	$(call measure,engines,--models $(MODELS))
	$(call measure,serving,--models $(MODELS))
	$(call measure,frames,--models $(MODELS))
	$(call measure,decode,--json $(FIGURES)/decode.json)
	$(call measure,swap,--models $(MODELS) --between 0.5 5)
	$(call measure,record,--models $(MODELS))
	$(BIN)/python -m benchmarks.peers --models $(MODELS)

# Kills, full disks, lost power and the like, injected for real: as root, and with gcc and PostgreSQL's programs. About half
# an hour; the table goes into docs/reliability.md.
faults: $(READY)
	$(BIN)/python -m tests.faults --document

# Needs uv. Hashes, and no registry's address.
LOCK = uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-header --no-emit-index-url --python-version 3.11 pyproject.toml
lock:
	$(LOCK) --extra train --extra dev --output-file requirements.lock
	$(LOCK) --output-file requirements-serve.lock
	$(LOCK) --extra train --extra gpu --output-file requirements-gpu.lock
