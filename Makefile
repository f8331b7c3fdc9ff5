# Every target does the set-up that it needs. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check slow bench cards notebooks fuzz load serve screenshots
PYTHON ?= python3.11
BIN := .venv/bin

help: ## Show the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

setup: .venv/ready ## Make .venv with the locked dependencies

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,export,dev]'
	touch $@

demo: setup ## Run the whole pipeline on the built-in phantom
	$(BIN)/python scripts/demo.py

test: setup ## Run the test suite
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations=5

slow: setup ## Run the tests that `make test` leaves out
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow

check: setup ## Lint, formatting, types, workflows, template, shell, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/actionlint -shellcheck $(BIN)/shellcheck
	$(BIN)/zizmor --offline --no-progress --persona pedantic .github
	$(BIN)/cfn-lint deploy/template.yaml
	$(BIN)/hadolint Dockerfile deploy/mlflow.Dockerfile
	$(BIN)/shellcheck deploy/*.sh deploy/instance/*.sh scripts/*.sh
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict # quiet, it would not count warnings

bench: setup ## Measure the parts against what they are made of, into docs/benchmarks.md; needs make demo
	$(BIN)/python scripts/benchmark.py --out docs/benchmarks.md

cards: setup ## Write MODEL_CARD.md and DATA_CARD.md of artifacts/kidney.onnx and its data
	$(BIN)/python scripts/cards.py --out .

notebooks: setup ## Run the notebooks on what lies in the workspace
	$(BIN)/pytest --nbmake notebooks

fuzz: setup ## Send the server 20,000 damaged uploads, and all that its document allows
	$(BIN)/python -m tests.helpers.fuzz
	KIDNEY_EXAMPLES=1000 $(BIN)/pytest tests/serving/test_contract.py

load: setup ## Overload a real server, end, swap and kill it; takes minutes, needs make demo
	$(BIN)/python scripts/load_test.py

serve: setup ## Serve artifacts/kidney.onnx to this machine, on port 8000
	KIDNEY_AUTH=off $(BIN)/python serve.py

screenshots: setup ## Show the page in every size, state and scheme, in screenshots/; needs chromium
	$(BIN)/python scripts/screenshots.py
