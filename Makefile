# floodmark. A fresh Debian or Ubuntu machine needs python3 (3.11 or newer), python3-venv and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test alarms matrix engine soak bench dashboards docs venv

demo: venv ## a real gunicorn, its deaths, Prometheus, Alertmanager and the Slack messages, with no account
	@$(BIN)/python deploy/demo/demo.py $(DEMO_ARGS)

test: venv ## everything: lint, types, unit, contract, rule tests, end to end with the real parts
	@deploy/demo/servers.py
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m dashboards --check
	$(BIN)/python -m docs.generate --check
	$(BIN)/pytest

alarms: venv ## 24 hours, healthy and with each fault: which alerts are told
	$(BIN)/python -m tests.day

matrix: venv ## every death, worker class and gunicorn version, as root: truth against verdict; writes docs/attribution.md
	$(BIN)/python -m tests.matrix

engine: venv ## docker-compose.yml on a real Docker engine of its own, as root, without a registry; writes docs/compose.md
	$(BIN)/python -m tests.docker

soak: venv ## ten minutes of requests, recycles and kills on the agent: nothing lost, doubled or grown
	$(BIN)/python -m tests.soak

bench: venv ## what floodmark costs, against its budgets; writes docs/benchmarks.md
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

dashboards: venv ## build dashboards/json from the Python
	$(BIN)/python -m dashboards

docs: venv ## build the reference pages, and the variants of alertmanager.yml
	$(BIN)/python -m docs.generate

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@echo "floodmark: installing into $(VENV) (first run: about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "floodmark needs Python 3.11 or newer. Type: make PYTHON=python3.12 (or what you have)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "floodmark needs python3-venv. Type: sudo apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dashboards,demo]' --group dev
	@touch $@
