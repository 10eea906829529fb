# One door for everything. All it needs is make and Python 3.11 or newer; the rest lives in .venv.

FIRST    := notebooks/00_start_here.ipynb
LAB_ARGS ?=
# JupyterLab's list of files shows each notebook once, as .ipynb, with its whole name.
HIDDEN   := [0-9][0-9]_*.py jupytext.toml __pycache__ *.pyc *.pyo .DS_Store *~
# No question about news covers the first notebook, and Lab does not ask the network for its own updates.
LAB_SETTINGS := {"@jupyterlab/filebrowser-extension:browser": {"showLastModifiedColumn": false}, \
  "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}
# Its first layout: the list wide enough for the longest name in a small window. Lab keeps in this file what you change.
LAB_LAYOUT := {"data": {"layout-restorer:data": {"relativeSizes": [0.23, 0.77], \
  "left": {"collapsed": false, "visible": true, "current": "filebrowser", "widgets": ["filebrowser"]}, \
  "right": {"collapsed": true, "visible": true, "widgets": []}}}, "metadata": {"id": "default"}}
LAB_HOME := .venv/share/jupyter/lab
# PyPI's torch for Linux holds the CUDA libraries. Without an NVIDIA driver, take the CPU build, a tenth of the size.
TORCH    ?= auto
CPU_INDEX ?= https://download.pytorch.org/whl/cpu
ifeq ($(OS),Windows_NT)
PY := .venv/Scripts/python
else
PY := .venv/bin/python
endif
WHEEL := build/wheel/bin/python
# One thread per process, one process per core (four at most: each loads its own torch).
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal --durations=15
# Pass only these files, or pytest would import all tests a second time to find the few that run a notebook.
NOTEBOOK_TESTS = $(shell grep -rl --include='*.py' 'mark\.notebook' tests)

# Large maps in large pages of memory, where Linux has them: a training step on a CPU takes .67 to .96 times as long
# (benchmarks/results/pages.md). torch asks for this once, at its first tensor.
export THP_MEM_ALLOC_ENABLE ?= 1

.DEFAULT_GOAL := help
.PHONY: help lab test check lint notebooks labs site sitecheck verdict pairs links dist clean

help:  ## this list
	@echo "dsnotes: five papers on deeply supervised segmentation, to run, see, question and change"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  Another Python:         make lab PYTHON=/path/to/python3.12"
	@echo "  Options for Jupyter:    make lab LAB_ARGS='--port=9000'    (in a container: --ip=0.0.0.0)"
	@echo "  torch for a GPU:        make lab TORCH=cuda    (on Linux without an NVIDIA driver the CPU build is the default)"

lab: .venv/.lab  ## set up what the notebooks need, then open JupyterLab on the first one
	@echo "==> JupyterLab on $(FIRST). No browser here? Open one of the addresses below. Ctrl-C stops it."
	@mkdir -p $(LAB_HOME)/settings $(LAB_HOME)/workspaces && echo '$(LAB_SETTINGS)' > $(LAB_HOME)/settings/overrides.json
	@layout=$(LAB_HOME)/workspaces/default-37a8.jupyterlab-workspace; [ -e $$layout ] || echo '$(LAB_LAYOUT)' > $$layout
	@as_root=$$([ "$$(id -u)" != 0 ] || echo --allow-root); export JUPYTERLAB_WORKSPACES_DIR='$(CURDIR)/$(LAB_HOME)/workspaces'; \
	exec $(PY) -m jupyterlab $$as_root --LabApp.default_url=/lab/tree/$(FIRST) $(HIDDEN:%=--ContentsManager.hide_globs='%') $(LAB_ARGS)

test: lint  ## set up everything, then style, tests, notebook pairs and every notebook head-less
	@echo "==> tests and notebook pairs"
	@$(PYTEST) -m "not slow and not notebook"
	@echo "==> every notebook head-less, in its smoke mode; executed copies go to build/notebooks/"
	@$(PYTEST) -m notebook $(NOTEBOOK_TESTS)

check: lint  ## the fast part: style, tests and notebook pairs, nothing that runs a notebook or a browser
	@echo "==> tests and notebook pairs"
	@$(PYTEST) -m "not slow and not notebook and not browser"

lint: .venv/.all  ## style alone
	@echo "==> style"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

notebooks: .venv/.all  ## every notebook head-less, in its smoke mode; executed copies go to build/notebooks/
	@$(PYTEST) -m notebook $(NOTEBOOK_TESTS)

labs: .venv/.all  ## every lab's reference, empty and wrong submissions, and thirty graded in one command
	@OMP_NUM_THREADS=1 $(PY) -m pytest tests/labs -m "slow or not slow" --durations=15

site: .venv/.all  ## the book, in build/site/: notebooks executed (never twice), papers, library, labs; SMOKE=1 is quick
	@$(PY) site/build.py $(if $(SMOKE),--smoke) $(if $(STALE),--stale)

sitecheck: .venv/.all  ## the built book in a browser without a network: accessibility, dark, phone, keyboard (chromium, npm)
	@$(PY) site/check.py

verdict: .venv/.all  ## the missing runs of sweeps/verdict-*.yml, hours; then the book's page and the README's table
	@OMP_NUM_THREADS=1 $(PY) benchmarks/verdict.py sweeps/verdict-*.yml
	@$(PY) benchmarks/verdict.py --write

pairs: .venv/.all  ## bring the .py and the .ipynb of every notebook together (the newer wins) and strip outputs
	@find notebooks -name '*.py' -not -path '*/.*' -not -path '*/labs/*' -exec $(PY) -m jupytext --quiet --sync {} +
	@find notebooks -name '*.ipynb' -not -path '*/.*' -exec $(PY) -m nbstripout {} +

links: .venv/.lab  ## links to Colab and Binder, from the address in pyproject.toml (or REPOSITORY=github.com/OWNER/NAME)
	@$(PY) assets/links.py $(REPOSITORY)

dist:  ## the package's wheel in dist/, checked, then installed in an empty environment and tried there
	@rm -rf dist build/wheel
	@$(or $(PYTHON),python3) -m venv build/wheel
	@$(WHEEL) -m pip install --disable-pip-version-check --quiet build twine
	@$(WHEEL) -m build --outdir dist .
	@$(WHEEL) -m twine check --strict dist/*
	@$(or $(PYTHON),python3) -m venv --clear build/wheel
	@$(TORCH_INDEX); $(WHEEL) -m pip install --disable-pip-version-check --quiet $$also -c constraints.txt dist/*.whl
	@cp tests/installed_wheel.py build/wheel/ && cd build/wheel && bin/python installed_wheel.py

clean:  ## remove .venv, build/ and caches; runs/ and data/ stay
	@echo "==> removing .venv, build/ and caches"
	@rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says which set is installed; the second call installs nothing unless the two files have changed.
.venv/.lab: EXTRAS := itk
.venv/.all: EXTRAS := all
.venv/.lab .venv/.all: pyproject.toml constraints.txt
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then \
	  for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && break; python=; \
	  done; \
	  if [ -z "$$python" ]; then \
	    echo "dsnotes needs Python 3.11 or newer; $(or $(PYTHON),this machine's python3) is \
	$$($(or $(PYTHON),python3) --version 2>/dev/null || echo not a Python that runs)." >&2; \
	    echo "Install one from https://www.python.org/downloads/, or name it: make lab PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	  fi; \
	  echo "==> making .venv with $$("$$python" --version)"; "$$python" -m venv --clear .venv; \
	fi
	@echo "==> installing dsnotes[$(EXTRAS)] into .venv with the versions of constraints.txt (minutes, the first time)"
	@$(TORCH_INDEX); \
	$(PY) -m pip install --disable-pip-version-check $$also -c constraints.txt torch && \
	$(PY) -m pip install --disable-pip-version-check --quiet $$also -c constraints.txt -e ".[$(EXTRAS)]"
	@touch .venv/.lab $@

# Add the index of torch's CPU wheels where they are needed and the index can be reached, and say so.
define TORCH_INDEX
also=; \
if [ "$(TORCH)" != auto ] && [ "$(TORCH)" != cpu ] && [ "$(TORCH)" != cuda ]; then \
  echo "TORCH=$(TORCH) is unknown; write TORCH=cpu, TORCH=cuda or leave it out" >&2; exit 1; \
fi; \
if [ "$(TORCH)" = cpu ] || { [ "$(TORCH)" = auto ] && [ "$$(uname -s)" = Linux ] && \
   [ ! -e /proc/driver/nvidia/version ] && ! command -v nvidia-smi >/dev/null; }; then \
  if $(firstword $(wildcard $(PY)) $(PYTHON) python3) -c "from urllib.request import urlopen; urlopen('$(CPU_INDEX)/torch/', timeout=10)" 2>/dev/null; then \
    echo "==> torch for the CPU, from $(CPU_INDEX) (another build: make TORCH=cuda)"; \
    also="--extra-index-url $(CPU_INDEX)"; \
  else \
    echo "==> $(CPU_INDEX) cannot be reached: taking the torch of your package index, which may hold CUDA"; \
  fi; \
fi
endef
