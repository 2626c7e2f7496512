# make demo: forgetting and its cure on the built-in scene.  make test: what CI runs.  make docs: the documentation site.
# make coverage: branch coverage of the tests.  make bench: speed, as ratios.  make dist: wheel and sdist.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Where the user's own torch sees a GPU it is kept: the environment shares it, and no version is forced on it.
OWN_TORCH := $(shell $(PYTHON) -c "import torch; print('yes' if torch.cuda.is_available() else '')" 2>/dev/null)

.PHONY: install demo pictures test lint types floors unit coverage docs bench dist clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
ifeq ($(OWN_TORCH),yes)
	$(PYTHON) -m venv --system-site-packages $(VENV)
	grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt
else
	$(PYTHON) -m venv $(VENV)
	cp constraints.txt $(VENV)/constraints.txt
endif
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/nerfcl compare --data builtin --strategies finetune replay replay-images joint --out outputs/demo

# The pictures of the README.
pictures: demo
	cp outputs/demo/forgetting.gif outputs/demo/curves.png docs/images/

test: lint types floors unit

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/pyright

floors: install
	$(BIN)/lint-imports

# Each worker computes on one thread: two pools on two cores would only wait for each other.
unit: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

coverage: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal --cov --cov-report=term:skip-covered

docs: install
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build/html

dist: install
	$(BIN)/python -m build --outdir dist

bench: install
	$(BIN)/python benchmarks/speed.py

clean:
	rm -rf $(VENV) outputs dist docs/_build docs/_generated .pytest_cache .hypothesis .ruff_cache .coverage
