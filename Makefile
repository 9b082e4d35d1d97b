# `make serve` and `make test` are all that a fresh machine needs: python3 (3.11 or newer) and make.

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: serve test lint bench bench-fairness bench-grammar bench-ledger bench-peers bench-stall lock score chaos load simulate

serve: $(INSTALLED)  ## serve the built-in models, or ARGS="MODEL --port 9000 …"
	@exec $(PYTHON) manage.py serve $(ARGS)

test: $(INSTALLED)  ## everything that must hold, ARGS="-k name" for a part
	$(PYTHON) -m pytest $(ARGS)

lint: $(INSTALLED)  ## style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(INSTALLED)  ## the gateway beside the engine asked directly
	$(PYTHON) -m tests.benchmarks.gateway $(ARGS)

bench-fairness: $(INSTALLED)  ## a light user beside a heavy one, and two heavy ones
	$(PYTHON) -m tests.benchmarks.fairness $(ARGS)

bench-grammar: $(INSTALLED)  ## what a grammar adds to the time of a token
	$(PYTHON) -m tests.benchmarks.grammar $(ARGS)

bench-ledger: $(INSTALLED)  ## a ledger of a million rows, or ARGS="--database postgresql"
	$(PYTHON) -m tests.benchmarks.ledger $(ARGS)

bench-peers: $(INSTALLED)  ## beside mlx-lm, mlx-vlm and vllm-mlx: an hour or two, or ARGS="--quick"
	$(PYTHON) -m tests.benchmarks.peers $(ARGS)

bench-stall: $(INSTALLED)  ## streams beside large pictures, here and on mlx-vlm and vllm-mlx, or ARGS="--quick"
	$(PYTHON) -m tests.benchmarks.stall $(ARGS)

chaos: $(INSTALLED)  ## a thousand broken and poisonous requests, then 500 under quotas, and whether the books agree
	$(PYTHON) -m tests.benchmarks.chaos $(ARGS)
	$(PYTHON) -m tests.benchmarks.quota_chaos $(ARGS)

load: $(INSTALLED)  ## fifty keys and 200 streams over three gateways, with PostgreSQL and Redis
	$(PYTHON) -m tests.benchmarks.load $(ARGS)

simulate: $(INSTALLED)  ## the scheduler alone, with a hundred thousand requests
	$(PYTHON) -m tests.benchmarks.simulator $(ARGS)

score: $(INSTALLED)  ## the built-in models on cases they were not trained on
	$(PYTHON) -m inference.builtin.text.score
	$(PYTHON) -m inference.builtin.vision.score

# A python3.x on the PATH may be a shim that does not run: try each one before choosing it.
$(INSTALLED): requirements.lock pyproject.toml
	@set -e; \
	if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then uv=uv; else uv=; fi; \
	for python in python3.14 python3.13 python3.12 python3.11 python3; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then break; fi; \
		python=; \
	done; \
	if [ -z "$$python" ]; then echo "Atelier needs Python 3.11 or newer on the PATH." >&2; exit 1; fi; \
	echo "Installing into $(VENV) with $$python; this takes a minute or two, once."; \
	if [ -n "$$uv" ]; then \
		uv venv --quiet --clear --python "$$($$python -c 'import sys; print(sys.executable)')" $(VENV); \
		uv pip install --quiet --python $(PYTHON) --require-hashes -r requirements.lock; \
		uv pip install --quiet --python $(PYTHON) --no-deps --no-build-isolation -e .; \
	else \
		$$python -m venv --clear $(VENV); \
		$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; \
		$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi; \
	touch $@

lock:  ## requirements.lock from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-header --extra dev pyproject.toml -o requirements.lock
