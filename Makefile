# make demo   runs the server on a bundled recording, start to finish
# make test   runs the tests
# Everything lives in .venv, which is rebuilt when the requirements change.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := $(wildcard *.py) tests benchmarks tools

# Everything needs the environment, and says nothing while it is up to date.
.PHONY: demo serve test check oracle lock download clean

demo: $(STAMP)
	$(BIN)/python -m tools.demo

serve: $(STAMP)
	$(BIN)/python server.py

test: $(STAMP)
	$(BIN)/python -m pytest

check: $(STAMP)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy

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

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
