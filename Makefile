# Each target does all the set-up it needs, on a machine with Python 3.11 or later and make.
# The stamp files in .venv say what is installed; a change of pyproject.toml makes them stale.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint format check bench losses soak fuzz chaos faults simulate browser servers clean

# The first of these that is new enough; `make test PYTHON=python3.12` chooses another.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)))
CODE = $(wildcard src tests examples bench chaos peers soak tools)
ARGS ?=

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/ready-demo  ## Run the avatar example on real photos (ARGS=--serve keeps the page open)
	@.venv/bin/backburner demo $(ARGS)

test: .venv/ready-dev browser servers  ## Run all tests, then the core ones on every other Python found
	@.venv/bin/python tools/run_tests.py $(ARGS)

lint: .venv/ready-dev  ## Check style, formatting, types and file sizes
	@.venv/bin/ruff check $(CODE)
	@.venv/bin/ruff format --check $(CODE)
	@.venv/bin/mypy $(CODE)
	@.venv/bin/python tools/check_sizes.py

format: .venv/ready-dev  ## Format the code and fix what can be fixed
	@.venv/bin/ruff check --fix-only $(CODE)
	@.venv/bin/ruff format $(CODE)

check:  ## Run exactly what CI runs: lint, then test
	@.ci/run

bench: .venv/ready-dev servers  ## Take every measure of every library once, briefly (python -m bench measures)
	@.venv/bin/python -m bench --short --peers=all --repeats=1 $(ARGS)

chaos: .venv/ready-dev servers  ## Kill workers and brokers for ten minutes on each, and judge what was promised
	@.venv/bin/python -m chaos $(ARGS)

faults: .venv/ready-dev servers  ## Run the long tests of real faults, which `make test` leaves out
	@.venv/bin/python -m pytest -m long $(ARGS)

simulate: .venv/ready-dev  ## Run simulated worlds with their faults by seed (ARGS="--seeds 10000", or --seed 7 to replay)
	@.venv/bin/python -m tests.simulation $(ARGS)

losses: .venv/ready-dev servers  ## Kill workers and brokers of Backburner and of other libraries, and count what is lost
	@.venv/bin/python -m peers $(ARGS)

soak: .venv/ready-dev servers  ## Run mixed load for as long as asked, and fail on anything that grows
	@.venv/bin/python -m soak $(ARGS)

fuzz: .venv/ready-dev  ## Fuzz all that is decoded (ARGS="--seconds 300 cron")
	@.venv/bin/python -m tests.fuzz $(ARGS)

browser: .venv/ready-dev
	@.venv/bin/python -m tools.browser

servers: .venv/ready-dev
	@.venv/bin/python -m tools.servers

clean:  ## Remove the virtual environments and caches
	rm -rf .venv .venv-* .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Backburner needs Python 3.11 or later: install it, or say PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "Python's venv module is missing: on Debian or Ubuntu, apt install python3-venv" >&2; exit 1; }

.venv/ready-demo: pyproject.toml | .venv/bin/python
	@echo "Installing Backburner and what the demo needs into .venv …"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

.venv/ready-dev: .venv/ready-demo
	@echo "Installing the test and lint tools into .venv …"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
