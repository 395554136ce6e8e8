# Everything a person or CI does with Tokenyard. `make help` lists it.
#
# Each step leaves a stamp and is skipped while its inputs are older. Stamps lie in .venv/made, so
# that a deleted .venv takes them with it; logs of the long steps lie in .make/logs.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules

SHELL := /bin/sh
BIN := .venv/bin
MADE := .venv/made
PIP := $(BIN)/python -m pip install --no-input --disable-pip-version-check --progress-bar off
# Not `npm ci`: it refuses a lock that lacks the native parts for other platforms, and those whose hash
# we could not see are left out on purpose. This keeps to the locked versions and hashes as well; a
# native part that is not locked is pinned to one version by the package that asks for it.
NPM_INSTALL := tools/with-node npm install --no-save --no-audit --no-fund
PAGE := src/tokenyard/_web/index.html
KERNELS := src/tokenyard/engine/model/kernels.c
WEB_MODULES := web/node_modules/.package-lock.json
CLIENT_MODULES := tests/acceptance/node/node_modules/.package-lock.json
WEB_SOURCES := $(shell find web -type f -not -path '*/node_modules/*' -not -path 'web/tests/*' \
	-not -path 'web/dev/*' 2>/dev/null)
# The model server: own, llamacpp or vllm; `tokenyard up` alone asks the settings (engine.kind).
WANTED_ENGINE := $(or $(ENGINE),own)
PACKAGES_own := requirements/engine.txt
PACKAGES_llamacpp := requirements/llamacpp.txt
# vLLM is a program of the operator's own (engine.command).
PACKAGES_vllm :=
INSTALL_SIZE_own := some 300 MB, a minute or more
INSTALL_SIZE_llamacpp := some 60 MB
INSTALL_SIZE_vllm := some 30 MB
ifeq ($(filter own llamacpp vllm,$(WANTED_ENGINE)),)
$(error ENGINE=$(ENGINE): there are own, llamacpp and vllm)
endif
ENGINE_PACKAGES := $(PACKAGES_$(WANTED_ENGINE))
# What fails fast is run first, on two cores; the others start processes and want them for these.
QUICK_TESTS := $(filter-out %/acceptance/ %/integration/ %/__pycache__/,$(sort $(wildcard tests/*/)))
NETWORK := Is the network there? Run the same command again: it goes on where it stopped.

.PHONY: help up test check fast web bench docs format clean ready model programs

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ready ## Install what is missing, build the page, fetch the model, start (PORT=8400 ENGINE=own)
	@exec $(BIN)/tokenyard up $(if $(PORT),--port '$(PORT)') $(if $(ENGINE),--engine '$(ENGINE)')

test: ready $(CLIENT_MODULES) programs check ## Everything CI runs
	@tools/step "Testing the page" "Mend the test named above; repeat with: cd web && npm test" \
		tools/with-node npm --prefix web test
	@$(BIN)/python -m pytest -n 2 $(QUICK_TESTS)
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/integration tests/acceptance

check: $(MADE)/dev $(MADE)/package $(WEB_MODULES) ## Format, lint, types, import contracts, house style
	@tools/check

fast: $(MADE)/dev $(MADE)/package ## Unit tests, in under 10 seconds
	@$(BIN)/python -m pytest tests/unit -q --hypothesis-profile=fast

web: $(PAGE) ## Build the page

bench: ready $(MADE)/dev ## Time to ready, first token, tokens per second at 1, 8 and 16 streams
	@$(BIN)/python -m benchmarks.engine

docs: $(MADE)/dev $(MADE)/package ## Write the generated reference pages again
	@PYTHONPATH=tests $(BIN)/python -m tools.generate_docs

format: $(MADE)/dev $(WEB_MODULES) ## Format the code and mend what can be mended by itself
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/clang-format -i $(KERNELS)
	@tools/with-node npm --prefix web run --silent format

clean: ## Remove all that was made here (not the data folder, ~/.tokenyard)
	rm -rf .venv .make web/node_modules tests/acceptance/node/node_modules src/tokenyard/_web dist
	rm -rf src/tokenyard/engine/model/_kernels
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- the steps behind these ----------------------------------------------------------------------

ready: $(MADE)/package $(if $(filter own,$(WANTED_ENGINE)),$(MADE)/kernels) $(PAGE) model

$(MADE)/kernels: $(KERNELS) tools/build-kernels | $(MADE)/venv
	@tools/step "Compiling the engine's kernels" \
		"Is cc a working C compiler? Without any, torch computes instead." tools/build-kernels
	@touch $@

$(MADE)/venv:
	@python=$$(tools/python) && { $(BIN)/python -m pip --version >/dev/null 2>&1 || \
		tools/step "Making .venv with $$python" \
		"Debian and Ubuntu keep this part of Python apart: apt-get install python3-venv" \
		"$$python" -m venv .venv; }
	@mkdir -p $(MADE) && touch $@

# A stamp for each engine: one that was not asked for yet is installed, the others stay.
$(MADE)/runtime-$(WANTED_ENGINE): requirements/base.txt $(ENGINE_PACKAGES) $(MADE)/venv
	@tools/step "Installing the Python packages ($(INSTALL_SIZE_$(WANTED_ENGINE)))" "$(NETWORK)" \
		$(PIP) -r requirements/base.txt $(addprefix -r ,$(ENGINE_PACKAGES))
	@touch $@

$(MADE)/package: pyproject.toml $(MADE)/venv | $(MADE)/runtime-$(WANTED_ENGINE)
	@tools/step "Installing tokenyard itself" "Run make clean, then the same command again." \
		$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

# Tests compare our engine with llama.cpp, so they need the packages of both.
ALL_PACKAGES := $(foreach part,base engine llamacpp scaled ray dev,requirements/$(part).txt)
$(MADE)/dev: $(ALL_PACKAGES) $(MADE)/venv
	@tools/step "Installing the packages for tests" "$(NETWORK)" \
		$(PIP) $(addprefix -r ,$(ALL_PACKAGES))
	@touch $@

$(WEB_MODULES): web/package.json web/package-lock.json | $(MADE)/venv
	@tools/step "Installing what the page is built with" "$(NETWORK)" \
		$(NPM_INSTALL) --prefix web
	@touch $@

$(CLIENT_MODULES): tests/acceptance/node/package.json tests/acceptance/node/package-lock.json | $(MADE)/venv
	@tools/step "Installing the Node client for tests" "$(NETWORK)" \
		$(NPM_INSTALL) --prefix tests/acceptance/node
	@touch $@

$(PAGE): $(WEB_SOURCES) $(WEB_MODULES)
	@tools/step "Building the page" "Run make check: it says what does not fit." \
		tools/with-node npm --prefix web run build
	@touch $@

# vLLM fetches its own.
model: $(MADE)/package
	@[ $(WANTED_ENGINE) = vllm ] || $(BIN)/tokenyard models path >/dev/null 2>&1 || \
		tools/step "Fetching the model (93 MB)" "$(NETWORK)" $(BIN)/tokenyard models pull

# What is missing then fails its tests.
programs:
	@tools/test-programs || true
