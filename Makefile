# Everything runs from a checkout in its own .venv; nothing is installed elsewhere.
#   make demo      fit on real data, print a table, draw a fan chart     make examples   run examples/
#   make gallery   every kind of picture on one page
#   make test      the test suite, warnings as errors                    make lint       ruff and mypy
#   make peers     what other libraries score on the benchmarks' data, in an environment of their own, .venv-peers
#   make test-all  the slow tests, which `make test` leaves out          make sktime     sktime's own checks of the adapter

# The first of these that is at least 3.11. Another one: make demo PYTHON=/path/to/python
PYTHON ?= $(shell for python in python3.11 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
# Constraints pin torch: without them pip may choose a build of several GB.
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt

.PHONY: demo gallery test test-all lint sktime peers examples clean

demo: $(VENV)/.plot
	$(RUN) examples/demo.py

gallery: $(VENV)/.plot
	$(RUN) examples/gallery.py

examples: $(VENV)/.plot
	OMP_NUM_THREADS=1 PYTHONPATH=. $(RUN) -W error tests/run_examples.py $(filter-out examples/demo.py,$(wildcard examples/*.py))

# A worker takes tests from the other only when it has run out of its own: most tests of a file share its fitted models.
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist worksteal -W error --durations 10

test: $(VENV)/.dev
	$(PYTEST) -m "not slow"

# With `make test` this is everything, and nothing runs twice: forecasts of learned systems against the truth, and hostile
# data in full, of which `make test` draws a part.
test-all: $(VENV)/.dev
	$(PYTEST) -m slow

sktime: $(VENV)/.sktime
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist worksteal tests/integrations/test_sktime.py

# The tables that the benchmarks of structural models and of the first hour compare themselves with. Their releases are
# pinned, and need none of ours.
PEERS := .venv-peers
peers: $(PEERS)/.peers
	OMP_NUM_THREADS=1 PYTHONPATH=. $(PEERS)/bin/python tests/benchmarks/peers_structural.py
	OMP_NUM_THREADS=1 PYTHONPATH=. $(PEERS)/bin/python tests/benchmarks/peers_first_hour.py

lint: $(VENV)/.dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

clean:
	rm -rf $(VENV) $(PEERS) output

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "tsode needs Python 3.11 or newer: make demo PYTHON=/path/to/python"; exit 1; }
	@# An environment with pip that is there already serves as it is. Some systems ship Python without ensurepip: then
	@# the system's own pip fills a new one.
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
		$(PYTHON) -m venv --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(RUN) install --quiet --disable-pip-version-check pip; }
	@touch $@

$(PEERS)/.peers: tests/benchmarks/peers.txt
	@test -n "$(PYTHON)" || { echo "the peers need Python 3.11 or newer: make peers PYTHON=/path/to/python"; exit 1; }
	@rm -rf $(PEERS)
	@$(PYTHON) -m venv $(PEERS) >/dev/null 2>&1 || { rm -rf $(PEERS); $(PYTHON) -m venv --without-pip $(PEERS); }
	@PYTHONPATH= $(PYTHON) -m pip --python $(PEERS)/bin/python install --quiet --disable-pip-version-check --no-input \
		-r tests/benchmarks/peers.txt
	@touch $@

# A stamp for each set of extras: nothing is installed twice.
$(VENV)/.plot: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing tsode and what it needs into $(VENV) (once; torch takes most of the time) ..."
	@$(INSTALL) -e ".[plot,tune]"
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing tsode and the development tools into $(VENV) (once; torch takes most of the time) ..."
	@$(INSTALL) -e ".[dev,plot]"
	@touch $@

$(VENV)/.sktime: $(VENV)/.dev tests/integrations/constraints.txt
	@$(INSTALL) -c tests/integrations/constraints.txt -e ".[dev,plot,sktime]"
	@touch $@
