PYTHON ?= python3
BIN := .venv/bin
export CHROMIUM ?= /usr/bin/chromium
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: setup demo study test test-slow test-nightly test-browser check docs results bench demo-assets second-host third-host scene-host clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps --upgrade --target .venv/beside torchao
	touch $@

demo: setup
	$(BIN)/cagul demo --out runs/demo

# in two processes, each with one torch thread; below the coverage in pyproject.toml it fails
test: setup
	$(PYTEST) -m "not slow and not nightly" --cov --cov-report=

test-slow: setup
	$(PYTEST) -m slow

# what takes ten minutes: run before an issue is called resolved
test-nightly: setup
	@began=$$(date +%s); $(PYTEST) -vv -m nightly; status=$$?; \
	echo "nightly tests: $$(( ($$(date +%s) - began) / 60 )) min"; exit $$status

# the report in Debian's Chromium, which is installed if it is missing (as root, or by sudo)
test-browser: setup
	test -x $(CHROMIUM) || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends chromium; }
	$(PYTEST) tests/browser

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# docs/cli.md, from the commands themselves; docs/study.md and docs/attack.md, from the kept figures
docs: setup
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_study.py
	$(BIN)/python docs/make_attack.py

study: setup
	$(BIN)/cagul study --out runs/study

# docs/results.md and its figures, from the rows in runs/compare-demo
results: setup
	$(BIN)/python docs/make_results.py

bench: setup second-host
	$(BIN)/python benchmarks/choices.py --out runs/choices
	$(BIN)/python benchmarks/fingerprint.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/steps.py
	$(BIN)/python benchmarks/carrying.py --out runs/carrying
	$(BIN)/python benchmarks/carrying.py --trained-on 6 12 --out runs/carrying/second \
		--host runs/second-host/host --records runs/second-host/records.jsonl
	$(BIN)/python benchmarks/carrying.py --config store --out runs/carrying
	$(BIN)/python benchmarks/carrying.py --config store --trained-on 6 --out runs/carrying/second \
		--host runs/second-host/host --records runs/second-host/records.jsonl
	$(BIN)/python benchmarks/importance_kinds.py --out runs/importance
	$(BIN)/python benchmarks/growing_store.py
	$(BIN)/python benchmarks/gate_edits.py
	$(BIN)/python benchmarks/target_kinds.py --out runs/targets/demo
	$(BIN)/python benchmarks/output_filter.py --patch runs/carrying/trained-on-8/patch
	$(BIN)/python benchmarks/random_edits.py --patch runs/carrying/trained-on-8/patch
	$(BIN)/python benchmarks/names.py
	$(BIN)/python benchmarks/named_questions.py --patch runs/carrying/trained-on-8/patch
	$(BIN)/python benchmarks/request_seconds.py --patch runs/carrying/trained-on-8/patch
	$(BIN)/python benchmarks/serving.py --patch runs/carrying/trained-on-8/patch
	$(BIN)/python benchmarks/refusal_tells.py --patch runs/carrying/trained-on-8/patch
	$(BIN)/python benchmarks/leading_on.py --patch runs/carrying/trained-on-8/patch

# tower, pictures, records and both hosts, from nothing but seeds; resumes in .demo-assets
demo-assets: setup
	$(BIN)/python -m demo_recipe.build

# a small Gemma 3 that knows 24 people, with its records: twelve minutes on one core; resumes
second-host: setup
	$(BIN)/python -m demo_recipe.gemma_host --out runs/second-host

# a small Idefics3 that speaks French, two retain hosts and their records; resumes
third-host: setup
	$(BIN)/python -m demo_recipe.french_host --out runs/french-host

# a small LLaVA over SigLIP and Qwen2 that speaks German, of people in scenes; resumes; below its bars so far
scene-host: setup
	$(BIN)/python -m demo_recipe.scene_host --out runs/scene-host --only host

clean:
	rm -rf .venv runs/demo runs/study runs/choices runs/carrying runs/importance runs/second-host runs/french-host runs/scene-host
