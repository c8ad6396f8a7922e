# Debian's own Python where it will do: Asterisk's user can run it (one below a home it cannot), and it
# is a fourth quicker than one built without optimizations.
ifndef PYTHON
PYTHON := $(shell /usr/bin/python3 -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
  2>/dev/null && echo /usr/bin/python3 || echo python3)
endif
VENV := .venv
BIN := $(VENV)/bin
PREFIX ?= /opt/dialplan-sms
DIST ?= dist
TO = $(abspath $(PREFIX))
AGI_BIN ?= $(firstword $(wildcard /var/lib/asterisk/agi-bin /usr/share/asterisk/agi-bin))
ASTERISK_ETC ?= /etc/asterisk
EXTRAS := $(shell sed -n '/^\[options.extras_require\]/,/^\[options.entry/s/^\([a-z]*\) =$$/\1/p' setup.cfg)
COMMA := ,
SPACE := $(subst ,, )
WANTED = $(subst $(COMMA), ,$(WITH))
WRONG = $(filter-out $(EXTRAS),$(WANTED))

# What both ways to install need of $(PYTHON).
define check-python
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "$(PYTHON) is older than 3.11: run make with PYTHON=<a newer one>"; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
  || { echo "Python cannot make virtual environments here: run apt install python3-venv"; exit 1; }
endef

.DEFAULT_GOAL := help
.PHONY: help demo test test-all bench lint format venv install deb dist clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(BIN)/sms.agi ## one call on a real Asterisk that sends an SMS to a stand-in PBX
	@$(BIN)/python -m tests.asterisk.demo

test: $(BIN)/sms.agi ## the tests, real Asterisk 22 and 16 included; no root needed
	$(BIN)/python -m pytest -m "not slow" -n 4 --dist loadfile

test-all: test ## also the tests that need root or time
	$(BIN)/python -m pytest -m slow

bench: $(BIN)/sms.agi ## CPU and latency against CURL() and scripts, on Asterisk 22 and 16 (QUICK=1: a minute)
	@$(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(BENCH)

lint: $(BIN)/sms.agi ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(BIN)/sms.agi ## rewrite the sources as ruff formats them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

venv: $(BIN)/sms.agi ## .venv with bin/dialplan-sms and bin/sms.agi

$(BIN)/sms.agi: setup.cfg agi/sms.agi agi/dialplan_sms/install.py
	$(check-python)
	@echo "making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install --editable '.[sandbox,dev]'
	@$(BIN)/python -m dialplan_sms.install $(BIN)/sms.agi

install: ## install into PREFIX and link sms.agi into Asterisk's agi-bin, as root (WITH=postgresql)
	@test -z "$(WRONG)" || { echo "WITH=$(WRONG) is no extra, allowed: $(EXTRAS)"; exit 1; }
	@test -n "$(AGI_BIN)" || { echo "no agi-bin folder: run make install AGI_BIN=<folder>"; exit 1; }
	@test -d "$(AGI_BIN)" || { echo "AGI_BIN=$(AGI_BIN) is no folder: give Asterisk's agi-bin"; exit 1; }
	@test -d "$(ASTERISK_ETC)" || { echo "no $(ASTERISK_ETC): run make install ASTERISK_ETC=<folder>"; exit 1; }
	$(check-python)
	rm -rf build # else a module that is gone would be installed again
	rm -f "$(TO)"/bin/python* # else an earlier interpreter would stay
	umask 022; $(PYTHON) -m venv "$(TO)"
	umask 022; "$(TO)/bin/python" -m pip --quiet --disable-pip-version-check install ".$(if $(WANTED),[$(subst $(SPACE),$(COMMA),$(strip $(WANTED)))])"
	umask 022; "$(TO)/bin/python" -m dialplan_sms.install "$(TO)/bin/sms.agi"
	rm -rf build
	@test "$$(id -u)" != 0 \
	  || setpriv --reuid=65534 --regid=65534 --clear-groups sh -c 'exec "$$0" -c ""' "$(TO)/bin/python" 2>/dev/null \
	  || { echo "other users cannot run $(PYTHON): run make install PYTHON=/usr/bin/python3"; exit 1; }
	ln -sf "$(TO)/bin/sms.agi" "$(AGI_BIN)/sms.agi"
	install -m 0644 dialplan/extensions-sms.conf "$(ASTERISK_ETC)/extensions-sms.conf"

deb: $(BIN)/sms.agi ## a Debian package with all that it needs, in DIST, dist/ (no root needed)
	@$(BIN)/python -m debian.build "$(DIST)"

dist: $(BIN)/sms.agi ## wheel and sdist, in DIST, dist/
	@$(BIN)/python -m build --outdir "$(DIST)" .

clean: ## remove what make has made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis agi/*.egg-info
