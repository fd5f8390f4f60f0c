"""What of a pool is evidence, as the host knows it."""

from __future__ import annotations

from typing import Any

import numpy as np

from factorgraph.inference.layout.pools import Pool
from factorgraph.inference.state.observations import OnDevice


class Observed:
    """Which variables are observed, and at which values; these may be on the device."""

    pool: Pool
    _observed: np.ndarray
    _values: np.ndarray | OnDevice
    _any_and_all: tuple[bool, bool] | None

    @property
    def values(self) -> np.ndarray:
        """Observed values, on the host, ``(*value_shape, V)``; of no meaning where nothing is observed."""
        return self._values.values if isinstance(self._values, OnDevice) else self._values

    @values.setter
    def values(self, values: np.ndarray | OnDevice) -> None:
        self._values = values

    @property
    def possible_values(self) -> np.ndarray:
        """Observed values, and some possible value where nothing is observed."""
        possible = np.nan if self.pool.type.value_shape else self.values.reshape(-1)[np.argmax(self.observed)]
        return np.where(self.observed, self.values, possible)

    @property
    def fixed(self) -> np.ndarray:
        """Which variables are evidence as a whole, and not in some components alone, on the host, ``(V,)``."""
        if not self.pool.type.value_shape:
            return self.observed
        return np.asarray(self.observed & np.isfinite(self.values).all(axis=0))

    @property
    def observed(self) -> np.ndarray:
        """Which variables are evidence, on the host, ``(V,)``; changed by `mark_observed`."""
        return self._observed

    @observed.setter
    def observed(self, observed: np.ndarray) -> None:
        self._observed, self._any_and_all = observed, None

    def mark_observed(self, place: Any, observed: bool) -> None:
        """Say of some places whether they are evidence."""
        self._observed[place], self._any_and_all = observed, None

    def _looked_through(self) -> tuple[bool, bool]:
        """Whether any and whether all variables are evidence: looked through once for each change, which is far from free."""
        if self._any_and_all is None:
            self._any_and_all = bool(self._observed.any()), bool(self._observed.all())
        return self._any_and_all

    @property
    def any_observed(self) -> bool:
        """Whether some variable is evidence."""
        return self._looked_through()[0]

    @property
    def all_observed(self) -> bool:
        """Whether every variable is evidence."""
        return self._looked_through()[1]

    def kept_values(self) -> np.ndarray | OnDevice:
        """A copy of the values."""
        return self._values.kept() if isinstance(self._values, OnDevice) else self._values.copy()
