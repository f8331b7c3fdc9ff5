# Every target installs what it needs into .venv. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check slow bench cards notebooks fuzz load serve screenshots
BIN := .venv/bin
export PYTHON # which one makes .venv; scripts/install.sh finds one where it is not set

# The extras of pyproject.toml that a group of targets needs.
EXTRAS_demo := train,export
EXTRAS_check := train,export,check
EXTRAS_test := train,export,test
EXTRAS_all := train,export,dev

help: ## Show the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

.venv/with-%: pyproject.toml constraints.txt scripts/install.sh
	bash scripts/install.sh $(EXTRAS_$*)
	touch $@

setup: .venv/with-all ## Make .venv with the locked dependencies of all targets

demo: .venv/with-demo ## Run the whole pipeline on the built-in phantom
	$(BIN)/python scripts/demo.py

test: .venv/with-test ## Run the test suite
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations=5

slow: .venv/with-all ## Run the tests that `make test` leaves out
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow

check: .venv/with-check ## Lint, formatting, types, workflows, template, shell, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/actionlint -shellcheck $(BIN)/shellcheck
	$(BIN)/zizmor --offline --no-progress --persona pedantic .github
	$(BIN)/cfn-lint deploy/template.yaml
	$(BIN)/hadolint Dockerfile deploy/mlflow.Dockerfile
	$(BIN)/shellcheck deploy/*.sh deploy/instance/*.sh scripts/*.sh
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict # quiet, it would not count warnings

bench: .venv/with-test ## Measure the parts against what they are made of, into docs/benchmarks.md; needs make demo
	$(BIN)/python scripts/benchmark.py --out docs/benchmarks.md

cards: .venv/with-demo ## Write MODEL_CARD.md and DATA_CARD.md of artifacts/kidney.onnx and its data
	$(BIN)/python scripts/cards.py --out .

notebooks: .venv/with-test ## Run the notebooks on KIDNEY_WORKSPACE (default: demo) and keep what they show
	KIDNEY_WORKSPACE=$${KIDNEY_WORKSPACE:-demo} $(BIN)/python scripts/run_notebooks.py

fuzz: .venv/with-test ## Send the server 20,000 damaged uploads, and all that its document allows
	$(BIN)/python -m tests.helpers.fuzz
	KIDNEY_EXAMPLES=1000 $(BIN)/pytest tests/serving/test_contract.py

load: .venv/with-test ## Overload a real server, end, swap and kill it; takes minutes, needs make demo
	$(BIN)/python scripts/load_test.py

serve: .venv/with-demo ## Serve your model, or the one in the box, to this machine, on port 8000
	KIDNEY_AUTH=off $(BIN)/python serve.py

screenshots: .venv/with-test ## Show the page in every size, state and scheme, in screenshots/; needs chromium
	$(BIN)/python scripts/screenshots.py
