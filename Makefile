# Every target works on a machine that has Python 3.11, pip and make, and nothing else.
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
CORES := $(shell nproc 2>/dev/null || echo 2)
WORKERS ?= $(CORES)
# Tests start processes by the thousand: each would compile anew all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# What the type checker makes is mostly short-lived: with more room for it, it looks for garbage less often.
PYRIGHT := NODE_OPTIONS="$${NODE_OPTIONS:---max-semi-space-size=64}" $(BIN)/pyright

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# uv is used when it is there and put into the venv when it is not; where it fails (it does not read pip's settings),
# plain pip does the same, slower, and says what is wrong where something is.
$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Holdfast needs Python 3.11 or later; set PYTHON=/path/to/python3.11")'
	@echo "Setting up .venv, once: it takes about a minute"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@UV=$$(command -v uv || true); \
	if [ -z "$$UV" ] && $(BIN)/python -m pip install --quiet uv; then UV=$(BIN)/uv; fi; \
	{ [ -n "$$UV" ] && "$$UV" pip install --quiet --python $(BIN)/python -r requirements.lock && \
	  "$$UV" pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; } 2>/dev/null || \
	{ $(BIN)/python -m pip install --quiet -r requirements.lock && \
	  $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . ; }
	@touch $(READY)

setup: $(READY) ## make .venv with everything the other targets need

demo: $(READY) ## a scripted model repairs a real project, with real tools
	@$(BIN)/holdfast demo

check: $(READY) ## format, lint, types of the package, import contracts, unit and architecture tests
	@$(MAKE) --no-print-directory -j quick-style quick-imports quick-types quick-tests

types: $(READY) ## types of everything, tests included, as CI checks them
	@$(PYRIGHT)

quick-style: $(READY)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

quick-imports: $(READY)
	@$(BIN)/lint-imports > .lint-imports.log 2>&1 || { cat .lint-imports.log; exit 1; }

quick-types: $(READY)
	@$(PYRIGHT) src bench/run.py

# Without what the other steps of `check` do, and without a plugin that takes a second to load and none of them uses.
quick-tests: $(READY)
	@$(BIN)/python -m pytest -q -n $(CORES) --dist worksteal --hypothesis-profile quick -p no:schemathesis \
	  --deselect tests/architecture/test_repository.py::test_formatter_and_linter_find_nothing \
	  --deselect tests/architecture/test_repository.py::test_the_type_checker_finds_nothing \
	  --deselect tests/architecture/test_contracts.py::test_every_import_contract_is_kept \
	  tests/unit tests/architecture

test: $(READY) ## every test, as CI runs them
	@scripts/system-packages.sh
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

campaign: $(READY) ## the long kill campaign; writes campaign-results/*.json
	@HOLDFAST_CAMPAIGN=1 $(BIN)/python -m pytest tests/durability tests/security/test_escape_battery.py

escapes: $(READY) ## every way out of every sandbox, tried; writes campaign-results/escapes.json
	@$(BIN)/python -m tests.security.escapes.board

fuzz-server: $(READY) ## every route of both servers, fuzzed for SECONDS each; writes campaign-results/server-fuzz.json
	@$(BIN)/python -m tests.fuzzing --seconds $(or $(SECONDS),600) --examples $(or $(EXAMPLES),400) --seed $(or $(SEED),1)
	@HOLDFAST_TENANT_EXAMPLES=$(or $(TENANTS),200) $(BIN)/python -m pytest -q tests/surfaces/test_server_tenants.py

bench: $(READY) ## speed against the hand-written floor, with the budgets
	@$(BIN)/python -m bench.run $(if $(PEERS),--peers) $(ARGS)

bench-wires: $(READY) ## each provider's adapter against its own floor; writes campaign-results/wires.json
	@$(BIN)/python -m bench.wires $(ARGS)

load: $(READY) ## 12,000 streams of one server beside the least they cost; writes campaign-results/load.json
	@$(BIN)/python -m bench.load $(ARGS)

docs: $(READY) ## run every fence of the documents
	@$(BIN)/python -m pytest -q tests/docs

lock: ## resolve the dependencies anew into requirements.lock
	@UV=$$(command -v uv || echo $(BIN)/uv); \
	"$$UV" pip compile pyproject.toml --group dev --extra demo --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --output-file requirements.lock --quiet

clean: ## remove what the targets made
	@rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache .lint-imports.log campaign-results

.PHONY: help setup demo check types quick-style quick-imports quick-types quick-tests test campaign fuzz-server bench bench-wires load docs lock clean
