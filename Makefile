# Each target sets up what it needs; a bare machine needs only Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install train test lint format mutants clean

install: $(BIN)/.installed

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

train: install
	$(BIN)/nets train digits

test: install
	$(BIN)/pytest -n 2 --dist worksteal

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mutants: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check coverage
	$(BIN)/python tests/mutants.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .mypy_cache .ruff_cache build dist
