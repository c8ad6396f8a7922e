# Debian's own Python if it will do: Asterisk's user can run it (one below a home it cannot), and it
# is a fourth quicker than one built without optimizations.
ifndef PYTHON
PYTHON := $(shell /usr/bin/python3 -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
  2>/dev/null && echo /usr/bin/python3 || echo python3)
endif
BIN := .venv/bin
DIST ?= dist
export PYTHON

define check-python
@$(PYTHON) -c '' 2>/dev/null \
  || { echo "PYTHON=$(PYTHON) cannot be run: give the path of Python 3.11 or newer"; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "$(PYTHON) is older than 3.11: run make with PYTHON=<a newer one>"; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
  || { echo "Python cannot make virtual environments here: run apt install python3-venv"; exit 1; }
endef

.DEFAULT_GOAL := help
.PHONY: help demo test test-all bench lint man format venv install deb dist clean
help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
demo: $(BIN)/sms.agi ## one call on a real Asterisk that sends an SMS to a stand-in PBX
	@$(BIN)/python -m tests.asterisk.demo
test: $(BIN)/sms.agi ## the tests, real Asterisk 22 and 16 included; no root needed
	$(BIN)/python -m pytest -m "not slow" -n 4 --dist loadfile
test-all: test ## also the tests that need root or time
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile --ignore=tests/bench
	$(BIN)/python -m pytest -m slow tests/bench
bench: $(BIN)/sms.agi ## CPU and latency against CURL() and scripts, on Asterisk 22 and 16 (QUICK=1: a minute)
	@$(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(BENCH)
lint: $(BIN)/sms.agi ## ruff, mypy, which module may import which, current manual pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m man.build --check
man: $(BIN)/sms.agi ## write the manual pages and sms.conf.sample from the help and the keys
	$(BIN)/python -m man.build
format: $(BIN)/sms.agi ## rewrite the sources as ruff formats them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
venv: $(BIN)/sms.agi ## .venv with bin/dialplan-sms and bin/sms.agi
$(BIN)/sms.agi: setup.cfg agi/sms.agi agi/dialplan_sms/host/installation.py
	$(check-python)
	@echo "making .venv ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install --editable '.[sandbox,dev]'
	@$(BIN)/python -m dialplan_sms.host.installation $(BIN)/sms.agi
install: ## install into PREFIX and link sms.agi into Asterisk's agi-bin, as root (WITH=postgresql)
	$(check-python)
	@PYTHONPATH=agi $(PYTHON) -B -m dialplan_sms.cli.setup.install
deb: $(BIN)/sms.agi ## a Debian package with all that it needs, in DIST, dist/ (no root needed)
	@$(BIN)/python -m debian.build "$(DIST)"
dist: $(BIN)/sms.agi ## wheel and sdist, in DIST, dist/
	@$(BIN)/python -m build --outdir "$(DIST)" .
clean: ## remove what make has made
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis agi/*.egg-info
