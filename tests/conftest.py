"""Fixtures that several test files share."""

from __future__ import annotations

import numpy as np
import pytest

import factorgraph as fg


@pytest.fixture(
    params=["numpy", "array-api-strict", pytest.param("cupy", marks=pytest.mark.gpu)],
)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend in turn; those that cannot run here are skipped."""
    try:
        fg.get_backend(request.param)
    except fg.BackendUnavailableError as error:
        pytest.skip(str(error))
    return request.param


@pytest.fixture
def rng() -> np.random.Generator:
    """A fixed source of random numbers."""
    return np.random.default_rng(20220315)
