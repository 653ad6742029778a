# make demo   runs the server on a bundled recording, start to finish
# make serve  runs the server, with settings from the environment
# make test   runs the tests; make test-agents those of voice agents
# The server runs in .venv-light, with any of PYTHONS; TORCH_INDEX chooses PyTorch's
# build when it is made (tools/light_env.sh). Tests run in .venv, which has fairseq2.
# When the requirements change, .venv is made again, and .venv-light brought up to date.

PYTHON ?= python3.11
PYTHONS ?= 3.13 3.12 3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
AGENTS := .venv-agents
AGENTS_STAMP := $(AGENTS)/.installed
AUDIT := .venv-audit
AUDIT_STAMP := $(AUDIT)/.installed
UTTERANCES := 20
NODE_STAMP := tests/node/node_modules/.installed

# Most targets need .venv, and say nothing while it is up to date.
.PHONY: demo serve test test-light test-scale test-agents test-transformers test-ray check oracle throughput \
  neighbours soak fuzz lock sbom audit download clean

demo:
	venv=$$(sh tools/light_env.sh "$(PYTHONS)" requirements-light.txt) \
	  && $$venv/bin/python -m tools.demo

serve:
	venv=$$(sh tools/light_env.sh "$(PYTHONS)" requirements-light.txt) \
	  && exec $$venv/bin/python server.py

test: $(STAMP) $(NODE_STAMP)
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 30 -m "not oracle and not gpu"

# Voice agents in an environment of their own, against the real server.
test-agents: $(STAMP) $(AGENTS_STAMP)
	$(AGENTS)/bin/python -m pytest -c tests/agents/pytest.ini --rootdir . \
	  --confcutdir tests/agents tests/agents --utterances $(UTTERANCES)

check: $(STAMP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# The model, REST and streaming tests without fairseq2, on a newer PyTorch, with each
# of these Pythons that is here.
LIGHT_PYTHONS ?= 3.11 3.13
LIGHT_TESTS := tests/languages tests/live tests/protocols tests/weights tests/test_model.py \
  tests/test_server.py tests/test_streaming.py tests/vad/test_silero.py \
  $(filter-out %/test_wav2vec2.py,$(wildcard tests/network/test_*.py)) \
  $(addprefix tests/api/routes/,test_event_stream.py test_realtime.py) \
  $(addprefix tests/conformance/,test_api.py test_live.py test_realtime.py \
    test_realtime_hours.py)

test-light:
	sh tools/test_light.sh "$(LIGHT_PYTHONS)" $(LIGHT_TESTS)

# Conformance at the address of HAProxy with two processes behind it; the tests run a part.
test-scale: $(STAMP) $(NODE_STAMP)
	$(BIN)/python -m tests.scale.by_address tests/conformance tests/client \
	  tests/api/routes/test_event_stream.py tests/api/test_languages.py

# transformers as a second reference, in an environment of its own without fairseq2.
# FULL=--full adds the 300M model with all its layers.
TRANSFORMERS_PYTHONS ?= 3.13 3.12 3.11
FULL ?=

test-transformers:
	venv=$$(VENV_NAME=.venv-transformers sh tools/light_env.sh \
	    "$(TRANSFORMERS_PYTHONS)" requirements/transformers.txt) \
	  && $$venv/bin/python -m pytest -c tests/transformers/pytest.ini --rootdir . \
	    --confcutdir tests/transformers tests/transformers $(FULL)

# Servers that Ray starts, behind HAProxy, on a cluster of this machine, in an environment
# of its own: some minutes.
RAY_PYTHONS ?= 3.13 3.12 3.11

test-ray:
	venv=$$(VENV_NAME=.venv-ray sh tools/light_env.sh "$(RAY_PYTHONS)" requirements/ray.txt) \
	  && $$venv/bin/python -m pytest -c tests/ray/pytest.ini --rootdir . \
	    --confcutdir tests/ray tests/ray

# The long comparison with upstream's own pipeline: hours on two cores.
oracle: $(STAMP)
	$(BIN)/python -m pytest -m oracle

# What else the network runs in. pip wants no hashes in a file of constraints; uv minds none.
BENCHMARKS := $(BIN)/uv pip install --quiet --python $(BIN)/python \
  -r requirements/benchmarks.in -c requirements/dev.txt

# The 300M architecture beside Meta's pipeline and ONNX Runtime: an hour on two cores.
throughput: $(STAMP)
	$(BENCHMARKS)
	$(BIN)/python -m benchmarks.throughput

# Passes and live text beside other programs, and ONNX Runtime: half an hour on two cores.
neighbours: $(STAMP)
	$(BENCHMARKS)
	$(BIN)/python -m benchmarks.neighbours
	$(BIN)/python -m benchmarks.neighbours --model 300m_v2 --dtype int8 --window 2

# A server in use for half an hour; the tests run it for a minute.
soak: $(STAMP)
	$(BIN)/python -m benchmarks.soak --output benchmarks/results/soak.json \
	  --plot benchmarks/results/soak.svg

# 20,000 damaged files, and as many conversations and requests as they take; the tests
# try a twentieth.
fuzz: $(STAMP)
	FUZZ_CASES=20000 $(BIN)/python -m pytest tests/fuzz

download:
	venv=$$(sh tools/light_env.sh "$(PYTHONS)" requirements-light.txt) \
	  && $$venv/bin/python -m tools.download $(MODEL_CARD)

# Newest releases that fit the .in files, for Linux and macOS alike, with their hashes.
# PyTorch has a file of its own for the light environment, since its builds differ, and
# what only its CUDA builds need is left out: pip adds it by itself.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --custom-compile-command "make lock"
LIGHT = --no-config --no-annotate
WITHOUT_TORCH = awk '/^[a-z]/ {keep = !/^(torch==|cuda|nvidia|triton)/} /^\#/ || keep'
ONLY_TORCH = sed -n 's/^\(torch==[^ ]*\).*/\1/p'

lock: $(STAMP)
	$(COMPILE) --upgrade requirements.in -o requirements.txt
	$(COMPILE) -c requirements.txt requirements/dev.in -o requirements/dev.txt
	mkdir -p build
	$(COMPILE) $(LIGHT) requirements-light.in requirements/languages.in \
	  -o build/light.txt
	$(ONLY_TORCH) build/light.txt > requirements-torch.txt
	$(WITHOUT_TORCH) build/light.txt > requirements-light.txt
	$(COMPILE) $(LIGHT) -c build/light.txt requirements-light.in \
	  requirements/languages.in requirements/tests.in \
	  | $(WITHOUT_TORCH) > requirements/light-tests.txt
	$(COMPILE) $(LIGHT) -c build/light.txt requirements/transformers.in \
	  | $(WITHOUT_TORCH) > requirements/transformers.txt
	$(COMPILE) $(LIGHT) -c build/light.txt requirements/ray.in \
	  | $(WITHOUT_TORCH) > requirements/ray.txt
	$(COMPILE) --upgrade requirements/agents.in -o requirements/agents.txt
	$(COMPILE) --upgrade requirements/audit.in -o requirements/audit.txt

$(STAMP): requirements.txt requirements/dev.txt tools/find_python.sh
	rm -rf $(VENV)
	"$$(sh tools/find_python.sh $(PYTHON))" -m venv $(VENV)
	sh tools/install.sh $(BIN)/python requirements/dev.txt
	touch $(STAMP)

$(AGENTS_STAMP): requirements/agents.txt tools/find_python.sh
	rm -rf $(AGENTS)
	"$$(sh tools/find_python.sh $(PYTHON))" -m venv $(AGENTS)
	sh tools/install.sh $(AGENTS)/bin/python requirements/agents.txt
	touch $(AGENTS_STAMP)

# What the light server is made of: build/sbom.cdx.json (CycloneDX) and a list of licences
# beside it; then the known weaknesses, where their data can be reached.
sbom: $(AUDIT_STAMP)
	venv=$$(sh tools/light_env.sh "$(PYTHONS)" requirements-light.txt) \
	  && $(AUDIT)/bin/python -m tools.sbom $$venv/bin/python build

audit: $(AUDIT_STAMP)
	sh tools/audit.sh $(AUDIT)/bin/pip-audit requirements.txt requirements-light.txt

$(AUDIT_STAMP): requirements/audit.txt tools/find_python.sh
	rm -rf $(AUDIT)
	"$$(sh tools/find_python.sh $(PYTHON))" -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --require-hashes -r requirements/audit.txt
	touch $(AUDIT_STAMP)

# Node and npm come from a wheel, so the machine needs neither.
$(NODE_STAMP): tests/node/package.json | $(STAMP)
	$(BIN)/python -m tools.npm install --prefix tests/node \
	  --no-package-lock --no-audit --no-fund
	touch $(NODE_STAMP)

clean:
	rm -rf $(VENV) .venv-light .venv-light-* .venv-transformers-* .venv-ray-* $(AGENTS) $(AUDIT) build tests/node/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis
