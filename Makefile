# make demo   runs the server on a bundled recording, start to finish
# make test   runs the tests
# Everything lives in .venv, which is rebuilt when the requirements change.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NODE_STAMP := tests/node/node_modules/.installed
SOURCES := $(wildcard *.py) client tests benchmarks tools

# Everything needs the environment, and says nothing while it is up to date.
.PHONY: demo serve test check oracle lock download clean

demo: $(STAMP)
	$(BIN)/python -m tools.demo

serve: $(STAMP)
	$(BIN)/python server.py

test: $(STAMP) $(NODE_STAMP)
	$(BIN)/python -m pytest -m "not oracle and not gpu"

check: $(STAMP)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

# The long comparison with upstream's own pipeline: hours on two cores.
oracle: $(STAMP)
	$(BIN)/python -m pytest -m oracle

download: $(STAMP)
	$(BIN)/python -m tools.download $(MODEL_CARD)

# Newest releases that fit the .in files, for Linux and macOS alike.
lock: $(STAMP)
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	  --custom-compile-command "make lock" requirements.in -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	  --custom-compile-command "make lock" -c requirements.txt \
	  requirements-dev.in -o requirements-dev.txt

$(STAMP): requirements.txt requirements-dev.txt tools/find_python.sh
	rm -rf $(VENV)
	"$$(sh tools/find_python.sh $(PYTHON))" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar on -r requirements-dev.txt
	touch $(STAMP)

# Node and npm come from a wheel, so the machine needs neither.
$(NODE_STAMP): tests/node/package.json | $(STAMP)
	$(BIN)/python -m tools.npm install --prefix tests/node \
	  --no-package-lock --no-audit --no-fund
	touch $(NODE_STAMP)

clean:
	rm -rf $(VENV) tests/node/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis
