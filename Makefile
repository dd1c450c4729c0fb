# research-swarm. `make launch` starts a node, `make test` runs the tests; both first set up an own .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Extra arguments for the command, as in: make launch ARGS="--budget 10 --max-experiments 6"
ARGS   ?=
# Extra arguments for pip, for example an index that has the build of torch you want.
PIP_ARGS ?=
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet $(PIP_ARGS)
TORCH  := torch==2.13.0

.PHONY: launch join test test-long soak check bench-eval bench-sandbox bench-smoke bench-memory bench-train bench-verdict bench-gossip bench-blob bench-traffic bench-faults bench-scenario bench-proposers bench-early-stop bench-surrogate bench-llm-down bench-duplicates bench-git bench-large-pack bench-browse bench-sharing bench-scaling bench-scale bench-sim sim fuzz format setup setup-dev clean
.DEFAULT_GOAL := help

help:
	@echo "make launch [ARGS=...]   set up, then start a node on the default topic"
	@echo "make join TICKET=...     set up, then join the swarm of a ticket"
	@echo "make test                set up, then run the tests"
	@echo "make test-long           set up, then run what takes long: faults among many real processes"
	@echo "make soak                whole nodes for an hour, or ARGS=\"--hours 8\": what grows, is lost or is left behind"
	@echo "make check               ruff, pyright rules (basedpyright), import rules"
	@echo "make bench-eval          what measuring a trial costs; bench-sandbox: what confining it costs; bench-smoke: trying a change"
	@echo "make bench-memory        what a node grows by with each experiment"
	@echo "make bench-train         train.py beside nanoGPT's recipe; bench-verdict: the verdict, simulated"
	@echo "make bench-gossip        findings between 20 processes; bench-blob, bench-traffic, bench-faults: the rest of the network"
	@echo "make bench-scenario      a scenario of configs/sim with real processes, an hour in a minute"
	@echo "make bench-proposers     who has the best ideas, on what real trials taught; bench-surrogate: how well that is known"
	@echo "make bench-llm-down      what a language model that is gone costs"
	@echo "make bench-early-stop    what stopping hopeless trials saves, on recorded ones"
	@echo "make bench-duplicates    how often eight nodes run the same thing, with claims and without"
	@echo "make bench-git           branches between peers, beside git's own daemon; bench-large-pack: a gigabyte, refused"
	@echo "make bench-browse        the page to browse, on 10,000 findings"
	@echo "make bench-sharing       does sharing help, at equal compute; bench-scaling: 1 to 64 nodes; bench-scale: what thousands of nodes would cost"
	@echo "make bench-sim           whether the swarm holds, in figures; ARGS=\"--seeds 20 --scale 1 --sharing-seeds 10\": all of it, hours"
	@echo "make sim                 every scenario of configs/sim in virtual time; minutes to an hour"
	@echo "make fuzz                a million hostile byte strings"
	@echo "make setup               only set up .venv; then use .venv/bin/swarm"

launch: setup
	@$(BIN)/swarm launch $(ARGS)

join: setup
	@$(BIN)/swarm join $(TICKET) $(ARGS)

# Two at a time, a file never split: many tests wait for processes of their own. ARGS=... runs what it names, one after another.
test: setup-dev
	$(BIN)/python -m pytest $(or $(ARGS),-n 2 --dist loadfile --no-loadscope-reorder)

test-long: setup-dev
	$(BIN)/python -m pytest -m long $(ARGS)

soak: setup-dev
	$(BIN)/python tests/soak.py $(ARGS)

check: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

bench-proposers: setup
	@$(BIN)/swarm bench proposers $(ARGS)

bench-eval bench-sandbox bench-smoke bench-memory bench-train bench-verdict bench-gossip bench-blob bench-traffic bench-faults bench-scenario bench-early-stop bench-surrogate bench-llm-down bench-duplicates bench-git bench-large-pack bench-browse: bench-%: setup-dev
	$(BIN)/python tests/bench/bench_$(subst -,_,$*).py $(ARGS)

bench-sharing bench-scaling bench-scale bench-sim: bench-%: setup-dev
	$(BIN)/swarm bench $* $(ARGS)

sim: setup-dev
	for scenario in configs/sim/*.toml; do echo "$$scenario"; $(BIN)/swarm simulate "$$scenario" $(ARGS) || exit; done

fuzz: setup-dev
	nice -n 10 $(BIN)/python tests/fuzz/fuzz_wire.py $(ARGS)

format: setup-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev

# torch with its own dependencies (CUDA libraries where they belong), everything else exactly as locked.
$(VENV)/.installed: requirements.lock pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "research-swarm needs Python 3.11 or newer; $(PYTHON) is older. Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up $(VENV): torch and about a hundred small packages, some minutes the first time." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --constraint requirements.lock $(TORCH)
	@$(PIP) --no-deps --requirement requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@$(PIP) --no-deps --requirement requirements-dev.lock
	@rm -rf $(VENV)/lib/python3*/site-packages/trio-stubs # old types that trio-typing lays over trio's own
	@touch $@

clean:
	rm -rf $(VENV)
