"""Linear relations between pairs of vectors with normal beliefs."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.backends.small_matrices import (
    apply,
    beside,
    diagonal,
    eliminate,
    from_diagonal,
    product,
    solve,
    solve_positive,
    symmetric,
    transposed,
)
from factorgraph.variables.relations import Relations

if TYPE_CHECKING:
    from factorgraph.variables.gaussian_vector import GaussianVector


_WIDE = 1e-6  # smaller pivots, beside what they are the rest of, leave too few digits


class VectorRelations(Relations):
    """
    ``(A, C, J, b, h)``, one below the other: the first vector is ``A y + b`` with noise of covariance C, where y is the second
    one, of which besides the density ``exp(h y - y J y / 2)`` is said.

    These are the elements of Sarkka and Garcia-Fernandez, "Temporal parallelization of Bayesian smoothers" (2021). C and J may
    be singular; neither is inverted.

    Parameters
    ----------
    kind : GaussianVector
    backend : Backend
    """

    def __init__(self, kind: GaussianVector, backend: Backend) -> None:
        super().__init__(backend)
        self.kind, self.size = kind, kind.dimension
        self.shape = (3 * self.size + 2, self.size)

    def joined(self, a: Array, c: Array, j: Array, b: Array, h: Array) -> Array:
        """The parts as one array."""
        xp = self.xp
        items = xp.broadcast_arrays(*(part[0, 0, ...] for part in (a, c, j)), b[0, ...], h[0, ...])[0].shape
        parts = [xp.broadcast_to(part, (*part.shape[:2], *items)) for part in (a, c, j, b[None, ...], h[None, ...])]
        return xp.concat(parts, axis=0)

    def _parts(self, relations: Array) -> tuple[Array, Array, Array, Array, Array]:
        d = self.size
        matrices = (relations[k * d : (k + 1) * d, ...] for k in range(3))
        return (*matrices, relations[3 * d, ...], relations[3 * d + 1, ...])

    @cached_property
    def _unit(self) -> Array:
        """The unit matrix, of one item."""
        return self.backend.asarray(np.eye(self.size)[..., None])

    def turned(self, relations: Array) -> Array:
        xp, d = self.xp, self.size
        a, c, j, b, h = self._parts(relations)
        unit, none = self._unit, xp.zeros_like(a)
        # Unknown are y and a multiplier for each row, given the first vector.
        unit = xp.broadcast_to(unit, none.shape)
        right = beside(xp, xp.concat([none, unit]), xp.concat([h, b])[:, None, ...], xp.concat([unit, none]))
        solved = eliminate(self._bordered(a, c, j), right, xp)
        found = xp.where(xp.all(solved.found, axis=0), solved.values, xp.full_like(solved.values, xp.nan))
        y, multiplier = found[:d, ...], found[d:, ...]
        return self.joined(
            -y[:, :d, ...], symmetric(y[:, d + 1 :, ...], xp), -symmetric(multiplier[:, :d, ...], xp), y[:, d, ...],
            -multiplier[:, d, ...],
        )  # fmt: skip

    def _bordered(self, a: Array, c: Array, j: Array) -> Array:
        """The matrix of the second vector and the multipliers of ``x - A y = b``."""
        xp = self.xp
        return xp.concat([xp.concat([j, -transposed(a, xp)], axis=1), xp.concat([-a, -c], axis=1)], axis=0)

    def through(self, relations: Array, params: Array) -> Array:
        xp, d = self.xp, self.size
        a, c, j, b, h = self._parts(relations)
        if self.may_be_certain:
            field, precision, known, value = self.kind.free_part(params, self.backend)
            free = 1.0 - known
            # What is certain of y is given: it is said nothing of, and moves the offset.
            either = free[:, None, ...] * free[None, ...]
            b = b + apply(a, value)
            field = field + free * (h - apply(j, value))
            precision, a = precision + either * j, a * free[None, ...]
        else:
            field, precision = params[0, ...] + h, params[1:, ...] + j
        covariance, pivots = solve_positive(precision, beside(xp, transposed(a, xp), field[:, None, ...]), xp)
        spread = symmetric(c + product(a, covariance[:, :d, ...]), xp)
        mean = b + apply(a, covariance[:, d, ...])
        inverse, more = solve_positive(spread, beside(xp, self._unit, mean[:, None, ...]), xp)
        message = xp.concat([inverse[:, d, ...][None, ...], symmetric(inverse[:, :d, ...], xp)], axis=0)
        # Where something is known far less than the rest, its covariance would outweigh that.
        proper = xp.min(pivots - _WIDE * diagonal(precision, xp), axis=0) > 0
        proper = proper & (xp.min(more - _WIDE * diagonal(spread, xp), axis=0) > 0)
        if bool(self.backend.to_host(xp.all(proper))):
            return message
        unit = xp.broadcast_to(self._unit, a.shape)
        right = beside(xp, xp.concat([xp.zeros_like(a), unit]), xp.concat([field, b])[:, None, ...])
        solved = eliminate(self._bordered(a, c, precision), right, xp)
        other = -solved.values[d:, ...]
        improper = xp.concat([other[:, d, ...][None, ...], symmetric(other[:, :d, ...], xp)], axis=0)
        improper = xp.where(xp.all(solved.found, axis=0), improper, xp.full_like(improper, xp.nan))
        return xp.where(proper, message, improper)

    def back(self, relations: Array, params: Array) -> Array:
        a, c, j, b, h = self._parts(relations)
        _, _, gain, constant = self._between(c, params)
        across = transposed(a, self.xp)
        field = h - apply(across, apply(gain, b) + constant)
        return self.xp.concat([field[None, ...], symmetric(j + product(across, product(gain, a)), self.xp)], axis=0)

    def product(self, left: Array, params: Array, right: Array) -> Array:
        xp = self.xp
        a, c, j, b, h = self._parts(right)
        further, noise, said, offset, said_field = self._parts(left)
        of_left = xp.concat([said_field[None, ...], said], axis=0)
        if self.may_be_certain:
            finite, infinite = self.kind.split(params, self.backend)
            known = self.kind.join(finite + of_left, infinite, self.backend)
        else:
            known = params + of_left
        share, mean, gain, constant = self._between(c, known)
        across = transposed(a, xp)
        through = product(further, share)
        return self.joined(
            product(through, a),
            symmetric(product(product(through, c), transposed(further, xp)) + noise, xp),
            symmetric(j + product(across, product(gain, a)), xp),
            apply(through, b) + apply(further, mean) + offset,
            h - apply(across, apply(gain, b) + constant),
        )

    def _between(self, c: Array, params: Array) -> tuple[Array, Array, Array, Array]:
        """
        A vector z that is m with noise of covariance C, where of z besides the density ``exp(H z - z P z / 2)`` is said.

        Returns
        -------
        G, g, L and l: the mean of z is ``G m + g`` and its covariance ``G C``; the force ``P z - H`` at the mean is ``L m + l``
        """
        xp, d = self.xp, self.size
        if self.may_be_certain:
            field, precision, known, value = self.kind.free_part(params, self.backend)
        else:
            field, precision, known, value = params[0, ...], params[1:, ...], None, None
        if known is None or value is None or not bool(self.backend.to_host(xp.any(known > 0.5))):
            unit = self._unit
            moved = apply(c, field)
            found = solve(unit + product(c, precision), beside(xp, unit, moved[:, None, ...]), xp)
            share, mean = found[:, :d, ...], found[:, d, ...]
            return share, mean, product(precision, share), apply(precision, mean) - field
        # Unknown are z and the force: z + C force = m; where z is free the force is P z - H, else z is its value.
        free = 1.0 - known
        unit, zero = xp.broadcast_to(self._unit, precision.shape), xp.zeros_like(field)
        rows = precision * free[:, None, ...] * free[None, ...] + from_diagonal(known, xp)
        lower = xp.concat([rows, -from_diagonal(free, xp)], axis=1)
        upper = xp.concat([unit, c + xp.zeros_like(unit)], axis=1)
        right = xp.concat(
            [
                xp.concat([unit, xp.zeros_like(unit)]),
                xp.concat([zero, field * free + known * value])[:, None, ...],
            ],
            axis=1,
        )
        solved = eliminate(xp.concat([upper, lower], axis=0), right, xp)
        found = xp.where(xp.all(solved.found, axis=0), solved.values, xp.full_like(solved.values, xp.nan))
        return found[:d, :d, ...], found[:d, d, ...], found[d:, :d, ...], found[d:, d, ...]
