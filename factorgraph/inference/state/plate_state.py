"""The arrays of a plate: a pool of its own that block factors see as one array."""

from __future__ import annotations

from functools import cached_property
from typing import Self

import numpy as np

from factorgraph.backends import Array
from factorgraph.inference.state.observations import OnDevice, Rows, Values
from factorgraph.inference.state.pool_state import PoolState
from factorgraph.inference.state.terms import Base
from factorgraph.variables.base import Plate


class PlateState(PoolState):
    """A pool at which block factors have ports: their sums of messages, and the moments that they are handed."""

    _expected: tuple[Array, Array] | None = None  # mean parameters, and the expected values that they give

    @cached_property
    def own_totals(self) -> dict[tuple[str, int], Array]:
        """Of the totals that all ranks add up this rank's own."""
        return {}

    def upload_evidence(self) -> None:
        """Bring the host's evidence to the device; the belief is to be summed anew."""
        if self.evidence.all_observed:
            mean = self.pool.type.certain_mean(self.evidence.values)
            self.mean = self.backend.asarray(mean.reshape(*mean.shape[:-1], *self.pool.blocks[0].shape))
            self.mean_variance = None
            self.version += 1
        super().upload_evidence()

    def observe_rows(self, rows: Rows) -> None:
        """Observe the whole plate at rows of `Observations`, which are on the device."""
        mean, certain = rows.observations.gather(rows.index)
        self._observe(rows, mean, certain)

    def observe_mode(self) -> None:
        """Observe the whole plate at the most probable values of its belief."""
        kind, backend = self.pool.type, self.backend
        certain = kind.certain_mode(self.belief, backend)
        self._observe(Values(kind, certain, backend), self.in_shape(kind.mean(certain, backend)), certain)

    def _observe(self, values: OnDevice, mean: Array, certain: Array | None) -> None:
        """Everything is observed: mean parameters in the plate's shape, and natural ones, but for data."""
        evidence = self.evidence
        evidence.values = values
        self.mean, self.mean_variance = mean, None
        if certain is not None:
            if evidence.mask is None or not evidence.all_observed:
                evidence.mask = self.backend.zeros((self.pool.size,)) == 0.0
            evidence.certain = self.backend.xp.reshape(certain, self.total.shape)
        if not evidence.all_observed:
            evidence.observed = np.ones(self.pool.size, dtype=np.bool_)
        self.version += 1
        self.stale = True

    def receive(self, key: tuple[str, int], total: Array, everywhere: Array | None = None) -> Array:
        """
        Take in the sum of a block factor's messages into this plate; return the sum that it replaces.

        The one place where totals enter the belief. ``everywhere`` is the sum of all ranks' totals, where they share it.
        """
        old = self.totals.get(key)
        self.totals[key] = self.backend.xp.reshape(total if everywhere is None else everywhere, self.total.shape)
        if everywhere is not None:
            self.own_totals[key] = self.backend.xp.reshape(total, self.total.shape)
        return 0.0 if old is None else old

    def of_others(self, key: tuple[str, int]) -> Array | None:
        """What other ranks say through the same port; None where there are none."""
        return self.totals[key] - self.own_totals[key] if key in self.own_totals and key in self.totals else None

    def update_belief(self, alone: bool = False) -> None:
        """
        Sum the plate's belief anew; damp it, or the means made from it.

        Parameters
        ----------
        alone : whether the belief is summed anew only here in an iteration
        """
        kind, old = self.pool.type, self.total
        assert isinstance(self.step, float)  # a plate has one damping for all its variables, and no batch
        strength, parameters = 1.0 - self.step, self.pool.damping.parameters
        if self._update_at_once(strength, alone):
            return
        means = self.mean if strength and parameters == "mean" else None
        self.refresh()
        if means is not None:
            fields = self.backend.xp.reshape(self.total, means.shape)
            self.mean = kind.relax_mean(means, fields, strength, self.backend)
            self.mean_version, self.mean_variance = self.version, None
        elif strength and parameters == "natural":
            self.total = old + (1.0 - strength) * (self.total - old)
            self.total, _ = self.evidence.clamped(self.total, None)

    def _update_at_once(self, strength: float, alone: bool) -> bool:
        """Prior, belief and damped mean in the type's own single pass, where all is as that takes it."""
        terms, to_come = self.terms, self.terms.base is Base.TO_COME
        damped = strength > 0 and self.pool.damping.parameters == "mean" and self.mean is not None
        plain = self.evidence.mask is None and not self.hard and not self.pool.num_edges and len(self.totals) == 1
        if (
            not ((damped or strength == 0) and plain and (alone or not to_come))
            or terms.reinforced is not None
            or (terms.centre is not None and to_come)
        ):
            return False
        shape = self._plate_shape
        mean = self.backend.zeros(shape) if self.mean is None else self.mean
        variance = self.backend.zeros(shape) if self.mean_variance is None else self.mean_variance
        (message,) = self.totals.values()
        message = terms.with_centre(message)
        prior, belief, message = (self.in_shape(array) for array in (terms.prior, self.total, message))
        plate = Plate(prior, belief, message, mean, variance)
        reinforcement = terms.strength if to_come else 0.0
        assert isinstance(reinforcement, float)  # as damping
        found = self.pool.type.update(plate, terms.power, reinforcement, strength, self.backend)
        if found is None:
            return False
        self.mean, self.mean_variance, flat = found.mean, found.variance, self.total.shape
        prior, self.total = (self.backend.xp.reshape(array, flat) for array in (found.prior, found.belief))
        terms.put(prior)
        terms.base = Base.IN_BELIEF if to_come else Base.KNOWN
        self.version += 1
        self.mean_version, self.stale = self.version, False
        return True

    def means(self) -> Array:
        """Mean parameters in the plate's shape, computed once for each change of the belief."""
        if self.mean is None or not self.mean_is_current:
            self.mean = self.pool.type.mean(self.in_shape(self.belief), self.backend)
            self.mean_version, self.mean_variance = self.version, None
        return self.mean

    def expectations(self) -> Array:
        """Expected values in the plate's shape, from `means`; the mean parameters themselves where these are one number."""
        mean = self.means()
        if self._expected is None or self._expected[0] is not mean:
            self._expected = mean, self.pool.type.expectation(mean, self.backend)
        return self._expected[1]

    def copy(self) -> Self:
        """An independent copy."""
        twin = super().copy()
        twin.own_totals = dict(self.own_totals)
        twin.forget_expectations()
        return twin

    def forget_expectations(self) -> None:
        """Expected values that are kept for speed alone."""
        self._expected = None

    def resume(self, belief: Array | None, mean: Array) -> None:
        """
        Stand where another run stood: its belief, which is the prior as well, and its damped mean parameters.

        Arrays of the host or the device, in the plate's shape. Without a belief, that of the means.
        """
        xp = self.backend.xp
        self.mean, self.mean_variance = self.backend.settle(self.mean, self.backend.asarray(mean)), None
        with np.errstate(divide="ignore"):
            given = self.pool.type.from_mean(self.mean, self.backend) if belief is None else self.backend.asarray(belief)
        self.total = self.backend.settle(self.total, xp.reshape(given, self.total.shape))
        self.terms.put(xp.asarray(self.total, copy=True))
        self.terms.prior_is_finite = bool(self.backend.to_host(xp.all(xp.isfinite(self.total))))
        self.forget_totals()
        self.terms.centre = self.infinite = None
        self.version += 1
        self.mean_version, self.stale = self.version, False

    def cavity_means(self, belief: Array, messages: Array, old: Array | None, axis: int) -> Array:
        """Means of beliefs without some messages, damped as the plate's own: see `Port.cavity_mean`."""
        kind, backend = self.pool.type, self.backend
        params = backend.xp.expand_dims(belief, axis=self.pool.axis + axis) - messages
        assert isinstance(self.step, float)
        if old is None or self.step == 1.0 or self.pool.damping.parameters != "mean":
            return kind.mean(params, backend)
        return kind.relax_mean(old, params, 1.0 - self.step, backend)

    def variances(self) -> Array:
        """Variance of the belief in the plate's shape, from `means`."""
        mean = self.means()
        if self.mean_variance is None:
            self.mean_variance = self.pool.type.variance(mean, self.backend)
        return self.mean_variance

    @property
    def mean_is_current(self) -> bool:
        """Whether `mean` is of the belief as it is now (or damped on the way to it)."""
        return self.mean_version == self.version or self.evidence.all_observed

    def in_shape(self, params: Array) -> Array:
        """Parameters ``(*param_shape, V)`` in the plate's shape, ``(*param_shape, *shape)``."""
        return self.backend.xp.reshape(params, self._plate_shape)

    @cached_property
    def _plate_shape(self) -> tuple[int, ...]:
        return (*self.pool.type.param_shape, *self.pool.blocks[0].shape)
