# make demo    set everything up and run the main job
# make test    set everything up and pass the tests
# make compat  set up the lowest versions that pyproject.toml promises, and pass the quick tests on them
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST ?= .venv-lowest

.PHONY: demo test lint types pytest slow compat bench performance coverage coverage-page gpu results train-results zoo zoo-page reproduction index clean

demo: $(VENV)/installed
	$(BIN)/distmatch demo

test: lint types pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

# One process for each core, and one thread for each process: two threads each would fight for the cores.
pytest slow compat: export OMP_NUM_THREADS := $(or $(OMP_NUM_THREADS),1)

pytest: $(VENV)/installed
	$(BIN)/pytest -n auto

# Long trainings and long kills.
slow: $(VENV)/installed
	$(BIN)/pytest -n auto -m slow

# The quick tests on the lowest versions that are promised, in an environment of its own, where warnings are no errors:
# some gigabytes at first. `make compat TESTS=tests/training` runs some of them.
compat: $(LOWEST)/installed
	$(LOWEST)/bin/pytest -n $(or $(JOBS),auto) -W default $(TESTS)

# Every benchmark, one after the other, and the page of them: half an hour on a quiet machine (DATA=DIR names the folder
# with MNIST's files, for the price of the ColorMNIST sweep). `make performance` makes the page alone.
bench: $(VENV)/installed
	$(BIN)/python docs/results/performance.py measure $(if $(DATA),--data-dir $(DATA))

performance: $(VENV)/installed
	$(BIN)/python docs/results/performance.py

# Every metric's intervals and every two-sample test under repetition, and their page: a quarter of an hour on one core.
# What is measured already stays (ONLY="codes maps" measures these families alone; AGAIN=1 all of them anew).
coverage: $(VENV)/installed
	$(BIN)/python docs/results/interval_coverage.py measure $(if $(ONLY),--only $(ONLY)) $(if $(AGAIN),--again)

coverage-page: $(VENV)/installed
	$(BIN)/python docs/results/interval_coverage.py

# What a machine with a CUDA device should measure, unattended and in under ten minutes; then the page.
gpu: $(VENV)/installed
	$(BIN)/python benchmarks/gpu.py $(if $(DATA),--data-dir $(DATA))
	$(BIN)/python docs/results/performance.py

# The page of MNIST results, from the JSON files beside it; `make train-results` makes these
# (DATA=DIR names the folder with MNIST's files; their timings are in the JSON files: half an hour on one core).
results: $(VENV)/installed
	$(BIN)/python docs/results/mnist.py page

train-results: $(VENV)/installed
	$(BIN)/python docs/results/mnist.py train $(if $(DATA),--data-dir $(DATA))

# Train every row of the zoo and make its page: about an hour on two cores (DATA=DIR names the folder with MNIST's
# files). `make zoo-page` makes the page alone, from the JSON files in docs/results/zoo.
zoo: $(VENV)/installed
	$(BIN)/python docs/results/zoo.py train $(if $(DATA),--data-dir $(DATA))

zoo-page: $(VENV)/installed
	$(BIN)/python docs/results/zoo.py page

# What `distmatch list` and `distmatch show` print, from the declarations.
index: $(VENV)/installed
	$(BIN)/python tools/index.py

# The page of the seeds' experiments, from docs/results/experiments; `distmatch reproduce NAME` writes what is there.
reproduction: $(VENV)/installed
	$(BIN)/distmatch reproduce --page docs/reproduction.md

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(LOWEST)/installed: pyproject.toml constraints.txt tools/lowest.py
	$(PYTHON) -m venv $(LOWEST)
	$(PYTHON) tools/lowest.py > $(LOWEST)/requirements.txt
	$(LOWEST)/bin/python -m pip install --quiet --requirement $(LOWEST)/requirements.txt --editable .
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) .mypy_cache .ruff_cache .pytest_cache
