"""What of a pool is evidence: on the host, and as the device needs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from factorgraph.backends import Array
from factorgraph.inference.layout.pools import Pool
from factorgraph.inference.state.observations import OnDevice
from factorgraph.inference.state.record import DERIVED, Record


@dataclass(eq=False, repr=False)
class Evidence(Record):
    """
    Which variables are observed, and at which values; these may be on the device.

    Attributes
    ----------
    observed : (V,) which variables are evidence, on the host; changed by `mark`
    values : (*value_shape, V) on the host
    mask : (V,) on the device, which variables are evidence as a whole; None where nothing is observed
    certain : (*param_shape, V) on the device, natural parameters of the observed values

    Notes
    -----
    Held by `check`: mask and certain are there together, where something is observed of a type that can be random, and the
    mask says what ``observed`` and ``values`` say.
    """

    pool: Pool
    mask: Array | None = field(default=None, init=False, metadata=DERIVED)
    certain: Array | None = field(default=None, init=False, metadata=DERIVED)

    def __post_init__(self) -> None:
        self.observed = np.zeros((self.pool.size, *self.batch), dtype=np.bool_)
        # Of vectors, a component of which nothing is known is NaN.
        unknown: float = np.nan if self.pool.type.value_shape else 0
        self.values = np.full((*self.pool.type.value_shape, self.pool.size, *self.batch), unknown)

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
        """Which variables are evidence, on the host, ``(V,)``; changed by `mark`."""
        return self._observed

    @observed.setter
    def observed(self, observed: np.ndarray) -> None:
        self._observed = observed
        self._any_and_all: tuple[bool, bool] | None = None

    def mark(self, place: np.ndarray | slice | tuple[np.ndarray, ...], observed: bool | np.ndarray) -> None:
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

    def upload(self) -> None:
        """Bring the host's evidence to the device, as natural parameters of certainty."""
        if not self.any_observed or not self.pool.type.can_be_random:
            self.mask = self.certain = None
            return
        values = self.possible_values
        self.mask = self.backend.settle(self.mask, self.backend.mask_array(self.fixed))
        self.certain = self.backend.settle(self.certain, self.backend.asarray(self.pool.type.observe(values)))

    def make_room(self) -> None:
        """Mask and natural parameters for `put`, also where nothing is observed so far."""
        if self.mask is None or self.certain is None:
            self.mask = self.backend.mask_array(np.zeros(self.observed.shape, dtype=np.bool_))
            self.certain = self.backend.zeros((*self.pool.type.param_shape, self.pool.size, *self.batch))

    def put(self, positions: np.ndarray, values: np.ndarray, device: Array) -> None:
        """Observe some variables, whose numbers are on the device too, at values, here and there; all else stays."""
        backend, batch = self.backend, self.batch
        self.values = self.values.astype(np.result_type(self.values, values), copy=False)
        place: tuple[Any, ...] = (..., positions, *(slice(None) for _ in batch))
        self.values[place] = values
        self.mark(positions, True)
        backend.put(self.certain, device, backend.asarray(self.pool.type.observe(values)), self.pool.axis)
        backend.put(self.mask, device, backend.mask_array(np.ones((positions.size, *batch), dtype=np.bool_)), 0)

    def clamped(self, total: Array, infinite: Array | None) -> tuple[Array, Array | None]:
        """Finite part and infinite counts of all beliefs, those of evidence as it says."""
        if self.mask is None:
            return total, infinite
        return self.pool.type.clamped(total, infinite, self.mask, self.certain, self.backend)

    def clamped_at(self, positions: Array, total: Array, infinite: Array | None) -> tuple[Array, Array | None]:
        """As `clamped`, of beliefs at some positions."""
        if self.mask is None:
            return total, infinite
        mask = self.backend.take(self.mask, positions, 0)
        certain = self.backend.take(self.certain, positions, self.pool.axis)
        return self.pool.type.clamped(total, infinite, mask, certain, self.backend)

    def copy(self) -> Self:
        twin = super().copy()
        twin.observed = self.observed.copy()
        twin.values = self._values.kept() if isinstance(self._values, OnDevice) else self._values.copy()
        return twin

    def select(self, sets: np.ndarray) -> Self:
        twin = super().select(sets)
        twin.observed, twin.values = self.observed[:, sets], self.values[..., sets]
        return twin

    def check(self) -> None:
        """Refuse what contradicts the class's description: for tests."""
        assert self.observed.shape == (self.pool.size, *self.batch)
        assert (self.mask is None) == (self.certain is None) == (not (self.any_observed and self.pool.type.can_be_random))
        assert self.mask is None or np.array_equal(self.backend.to_host(self.mask), self.fixed)
