PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo study test test-slow check docs bench demo-assets clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/cagul demo --out runs/demo

test: setup
	$(BIN)/python -m pytest -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# docs/cli.md, from the commands themselves; docs/study.md, from the kept summaries
docs: setup
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_study.py

study: setup
	$(BIN)/cagul study --out runs/study

bench: setup
	$(BIN)/python benchmarks/choices.py --out runs/choices
	$(BIN)/python benchmarks/carrying.py --out runs/carrying
	$(BIN)/python benchmarks/request_seconds.py --patch runs/carrying/trained-on-8/patch

# tower, pictures, records and both hosts, from nothing but seeds; resumes in .demo-assets
demo-assets: setup
	$(BIN)/python -m cagul.demo.build

clean:
	rm -rf .venv runs/demo runs/choices runs/carrying runs/study
