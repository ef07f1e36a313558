# Two commands matter to a newcomer: `make demo` and `make test`. Both set up everything they need.
PY := .venv/bin/python

.PHONY: setup demo test check format bench clean help

help:
	@echo 'make demo              a real PBX, database, daemon and phones: watch calls as they happen (Ctrl-C ends it)'
	@echo 'make demo ARGS=--once  one pass that checks itself'
	@echo 'make test              every test, the ones with a real PBX included'
	@echo 'make check             format, lint, types, unit and tidy tests'
	@echo 'make bench             the benchmark table'

setup:
	@tools/setup

demo: setup
	@$(PY) -m ccsvc demo $(ARGS)

test: setup
	@$(PY) -m ccsvc.testing.prefix
	@$(PY) -m pytest tests/unit tests/integration -q $(ARGS)
	@$(PY) -m tests.acceptance.together -q $(ARGS)

check: setup
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) -m pytest tests/unit -q $(ARGS)

format: setup
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

bench: setup
	@$(PY) -m ccsvc.testing.bench $(ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis run
