"""How many mutants each fuzzer tries."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cases", type=int, default=300, help="mutants that each fuzzer tries (pytest tests/fuzz --cases 10000)")


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> int:
    """How many mutants to try; the option is known only where this folder is named on the command line."""
    return int(request.config.getoption("--cases", default=300))
