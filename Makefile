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
@$(PYTHON) -c '' 2>/dev/null \
  || { echo "PYTHON=$(PYTHON) cannot be run: give the path of Python 3.11 or newer"; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "$(PYTHON) is older than 3.11: run make with PYTHON=<a newer one>"; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
  || { echo "Python cannot make virtual environments here: run apt install python3-venv"; exit 1; }
endef

# Asterisk's user is another one than root: what it has to enter and to run is tried as nobody. Where
# that cannot be (as in some containers) nothing is said.
define MAY_ENTER
import os, sys
from pathlib import Path
python = os.path.realpath(sys.executable)
try:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
except OSError:
    sys.exit()
for name, path in ("PREFIX", Path(sys.argv[1])), ("PYTHON", Path(python)):
    for folder in (*reversed(path.parents), *([path] if name == "PREFIX" else [])):
        if not os.access(folder, os.X_OK):
            if not os.path.lexists(folder):
                break
            print(f"other users cannot enter {folder}: chmod o+x it, or give {name} elsewhere")
            sys.exit(1)
endef
define CAN_RUN
import os, sys
try:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
except OSError:
    sys.exit()
os.execv(sys.argv[1], [sys.argv[1], "-c", ""])
endef
export MAY_ENTER CAN_RUN

# make install begins with what it would stumble over later: nothing is changed before all of it holds.
define check-install
@test "$(words $(PREFIX))" = 1 \
  || { echo "PREFIX=$(PREFIX) must be one folder without a space: run make install PREFIX=<that>"; exit 1; }
@test "$$(printf %s "$(TO)" | wc -c)" -le 109 \
  || { echo "PREFIX=$(PREFIX) is longer than the first line of a script may be: give a shorter one"; exit 1; }
@test ! -e "$(TO)/bin" || test -e "$(TO)/pyvenv.cfg" \
  || { echo "PREFIX=$(PREFIX) has other programs: give a folder for dialplan-sms alone"; exit 1; }
@there="$(AGI_BIN)/sms.agi"; \
  if test -L "$$there"; then test ! -e "$$there" || grep -qs '^ *from dialplan_sms' "$$there"; \
  else test ! -e "$$there"; fi \
  || { echo "$$there is not from make install: run mv $$there $$there.old, and make install again"; exit 1; }
endef

# An extensions-sms.conf that is not what the last make install has put there (PREFIX still has that)
# was edited: it stays. Before pip, which would bring the new one into PREFIX.
define put-dialplan
@ours=dialplan/extensions-sms.conf there="$(ASTERISK_ETC)/extensions-sms.conf"; \
  if cmp -s "$$ours" "$$there"; then :; \
  elif test ! -e "$$there" || cmp -s "$(TO)/share/dialplan-sms/extensions-sms.conf" "$$there"; \
  then install -m 0644 "$$ours" "$$there"; \
  else install -m 0644 "$$ours" "$$there.new"; \
    echo "$$there was edited and stays: compare it with $$there.new"; fi
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

lint: $(BIN)/sms.agi ## ruff, mypy, and which module may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(BIN)/sms.agi ## rewrite the sources as ruff formats them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

venv: $(BIN)/sms.agi ## .venv with bin/dialplan-sms and bin/sms.agi

$(BIN)/sms.agi: setup.cfg agi/sms.agi agi/dialplan_sms/host/entry.py
	$(check-python)
	@echo "making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install --editable '.[sandbox,dev]'
	@$(BIN)/python -m dialplan_sms.host.entry $(BIN)/sms.agi

install: ## install into PREFIX and link sms.agi into Asterisk's agi-bin, as root (WITH=postgresql)
	@test -z "$(WRONG)" || { echo "WITH=$(WRONG) is no extra, allowed: $(EXTRAS)"; exit 1; }
	@test -n "$(AGI_BIN)" || { echo "no agi-bin folder: run make install AGI_BIN=<folder>"; exit 1; }
	@test -d "$(AGI_BIN)" || { echo "AGI_BIN=$(AGI_BIN) is no folder: give Asterisk's agi-bin"; exit 1; }
	@test -d "$(ASTERISK_ETC)" || { echo "no $(ASTERISK_ETC): run make install ASTERISK_ETC=<folder>"; exit 1; }
	$(check-install)
	$(check-python)
	@test "$$(id -u)" != 0 || $(PYTHON) -c "$$MAY_ENTER" "$(TO)"
	rm -rf build # else a module that is gone would be installed again
	test ! -e "$(TO)/pyvenv.cfg" || rm -f "$(TO)"/bin/python* # else an earlier interpreter would stay
	umask 022; $(PYTHON) -m venv "$(TO)"
	@test "$$(id -u)" != 0 || $(PYTHON) -c "$$CAN_RUN" "$(TO)/bin/python" 2>/dev/null \
	  || { echo "other users cannot run $(TO)/bin/python, made of PYTHON=$(PYTHON): give another PYTHON"; exit 1; }
	$(put-dialplan)
	umask 022; "$(TO)/bin/python" -m pip --quiet --disable-pip-version-check install ".$(if $(WANTED),[$(subst $(SPACE),$(COMMA),$(strip $(WANTED)))])"
	umask 022; "$(TO)/bin/python" -m dialplan_sms.host.entry "$(TO)/bin/sms.agi"
	rm -rf build
	ln -sfn "$(TO)/bin/sms.agi" "$(AGI_BIN)/sms.agi"

deb: $(BIN)/sms.agi ## a Debian package with all that it needs, in DIST, dist/ (no root needed)
	@$(BIN)/python -m debian.build "$(DIST)"

dist: $(BIN)/sms.agi ## wheel and sdist, in DIST, dist/
	@$(BIN)/python -m build --outdir "$(DIST)" .

clean: ## remove what make has made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis agi/*.egg-info
