# Each target sets up what it needs; a bare machine needs only Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install train test test-oldest dist-test docs docs-test lint format mutants clean

install: $(BIN)/.installed

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

train: install
	$(BIN)/nets train digits

test: install
	$(BIN)/pytest -n 2 --dist worksteal --ignore tests/site

# The tests with the oldest versions that are supported.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-oldest.txt -e ".[test]"
	.venv-oldest/bin/pytest -n 2 --dist worksteal --ignore tests/site

# The wheel and the source distribution, built and tried in fresh environments; PYTHONS="python3.11 python3.12" tries more.
dist-test:
	bash tests/dist.sh $(or $(PYTHONS),$(PYTHON))

$(BIN)/.installed-docs: pyproject.toml constraints.txt | install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

# The site, in docs/_build/html: every example is run, and a warning is an error.
docs: $(BIN)/.installed-docs
	rm -rf docs/_build/html
	$(BIN)/sphinx-build -E -W --keep-going -q -b html docs docs/_build/html

# Every page of the site in a browser, which must be installed: chromium or Chrome.
docs-test: docs
	$(BIN)/pytest tests/site

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
	rm -rf .venv .mypy_cache .ruff_cache build dist docs/_build docs/gallery docs/reference/generated
