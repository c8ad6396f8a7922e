PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PREFIX ?= /opt/dialplan-sms
AGI_BIN ?= $(firstword $(wildcard /var/lib/asterisk/agi-bin /usr/share/asterisk/agi-bin))
ASTERISK_ETC ?= /etc/asterisk

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format venv install clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(BIN)/sms.agi ## one call on a real Asterisk that sends an SMS to a stand-in PBX
	@$(BIN)/python -m tests.asterisk.demo

test: $(BIN)/sms.agi ## the tests, real Asterisk 22 and 16 included; no root needed
	$(BIN)/python -m pytest -m "not slow"

test-all: test ## also the tests that need root or time
	$(BIN)/python -m pytest -m slow

lint: $(BIN)/sms.agi ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(BIN)/sms.agi ## rewrite the sources as ruff formats them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

venv: $(BIN)/sms.agi ## .venv with bin/dialplan-sms and bin/sms.agi

$(BIN)/sms.agi: setup.cfg agi/sms.agi agi/dialplan_sms/install.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11: run make PYTHON=<a newer one>"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python cannot make virtual environments here: run apt install python3-venv"; exit 1; }
	@echo "making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install --editable '.[sandbox,dev]'
	@$(BIN)/python -m dialplan_sms.install $(BIN)/sms.agi

install: ## install into PREFIX and link sms.agi into Asterisk's agi-bin (as root)
	@test -n "$(AGI_BIN)" || { echo "no agi-bin folder found: run make install AGI_BIN=<folder>"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python cannot make virtual environments here: run apt install python3-venv"; exit 1; }
	rm -rf build # else a module that is gone would be installed again
	umask 022; $(PYTHON) -m venv "$(PREFIX)"
	umask 022; "$(PREFIX)/bin/python" -m pip --quiet --disable-pip-version-check install .
	umask 022; "$(PREFIX)/bin/python" -m dialplan_sms.install "$(PREFIX)/bin/sms.agi"
	rm -rf build
	@test "$$(id -u)" != 0 || setpriv --reuid=65534 --regid=65534 --clear-groups "$(PREFIX)/bin/python" -c '' \
	  || { echo "other users cannot run $(PYTHON): run make install PYTHON=/usr/bin/python3"; exit 1; }
	ln -sf "$(PREFIX)/bin/sms.agi" "$(AGI_BIN)/sms.agi"
	install -m 0644 dialplan/extensions-sms.conf "$(ASTERISK_ETC)/extensions-sms.conf"

clean: ## remove what make has made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis agi/*.egg-info
