# make demo: install into .venv and run the main job on sample_data/.   make test: install and test.
# make bench: measure speed and memory, into benchmarks/results.md.   make docs: build the site, into site/.
PYTHON ?= python3
BIN := .venv/bin
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
endif

.PHONY: demo test test-all scorecard bench docs lint clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -c "open('.venv/installed', 'w').close()"

demo: .venv/installed
	$(BIN)/defectkit prepare sample_data/train.csv --out demo/dataset
	$(BIN)/python -c "import shutil; shutil.rmtree('demo/run', ignore_errors=True)"
	$(BIN)/defectkit train --approach segment --data demo/dataset --out demo/run --max-time 150s
	$(BIN)/defectkit inspect demo/run sample_data/Train --out demo/inspection
	$(BIN)/defectkit evaluate demo/run

# Processes share out the tests by whole files, so that what a file trains is trained once.
test: .venv/installed
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow"

test-all: .venv/installed
	$(BIN)/python -m pytest

scorecard: .venv/installed
	$(BIN)/python tests/scorecard/run.py

bench: .venv/installed
	$(BIN)/python benchmarks/bench.py

# The theme tells of its own plans with each build.
docs: export NO_MKDOCS_2_WARNING = 1
docs: .venv/installed
	$(BIN)/python -m mkdocs build --strict --quiet
	$(BIN)/python docs/check_site.py site

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

clean:
	rm -rf .venv demo build dist site *.egg-info
