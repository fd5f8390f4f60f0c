"""Linear relations between pairs of normal variables."""

from __future__ import annotations

from factorgraph.backends import Array
from factorgraph.variables.relations import Relations


class NormalRelations(Relations):
    """
    ``(a, b, c, h, J)``: the first variable is ``a y + b`` with noise of variance c, where y is the second one, of which besides
    the density ``exp(h y - J y^2 / 2)`` is said.

    These are the elements of Sarkka and Garcia-Fernandez, "Temporal parallelization of Bayesian smoothers" (2021), in natural
    parameters. No noise is c = 0, nothing said J = 0; neither is divided by.
    """

    shape = (5,)

    def turned(self, relations: Array) -> Array:
        a, b, c, h, precision = (relations[i, ...] for i in range(5))
        divisor = c * precision + a * a
        divisor = self.xp.where(divisor == 0, self.xp.full_like(divisor, self.xp.nan), divisor)
        parts = (a, c * h - a * b, c, b * precision + a * h, precision)
        return self.xp.stack([part / divisor for part in parts])

    def through(self, relations: Array, params: Array) -> Array:
        xp = self.xp
        a, b, c, h, precision = (relations[i, ...] for i in range(5))
        certain = params[1, ...] == xp.inf
        known = xp.where(certain, xp.zeros_like(c), params[1, ...]) + precision
        field = xp.where(certain, xp.zeros_like(c), params[0, ...]) + h
        divisor = xp.where(certain, c, c * known + a * a)
        share = xp.where(certain, a * params[0, ...] + b, a * field + b * known)
        # Without noise what is certain stays certain.
        exact = (divisor == 0) & (certain | (c == 0))
        value = xp.where(certain, share, b)
        safe = xp.where(exact, xp.ones_like(c), xp.where(divisor == 0, xp.full_like(c, xp.nan), divisor))
        weight = xp.where(certain, xp.ones_like(c), known)
        return xp.stack([xp.where(exact, value, share / safe), xp.where(exact, xp.full_like(c, xp.inf), weight / safe)])

    def product(self, left: Array, params: Array, right: Array) -> Array:
        """
        From the right's second variable y to the one between, x, and on to the left's first one.

        With K, H what is said of x, its weight beside the relation's noise is ``g = 1 / (1 + c K)``.
        """
        xp = self.xp
        a, b, c, h, precision = (right[i, ...] for i in range(5))
        further, offset, noise, said, said_precision = (left[i, ...] for i in range(5))
        certain = params[1, ...] == xp.inf
        known = xp.where(certain, xp.zeros_like(c), params[1, ...]) + said_precision
        field = xp.where(certain, xp.zeros_like(c), params[0, ...]) + said
        g = 1.0 / (1.0 + c * known)
        zero = xp.zeros_like(c)
        # A certain x says of y what noise lets through; without noise that has no such form.
        noisy = xp.where(c == 0, xp.full_like(c, xp.nan), c)
        value = params[0, ...]
        parts = [
            xp.where(certain, zero, further * g * a),
            xp.where(certain, further * value, further * g * (b + c * field)) + offset,
            xp.where(certain, zero, further * further * g * c) + noise,
            h + xp.where(certain, a * (value - b) / noisy, a * g * (field - known * b)),
            precision + xp.where(certain, a * a / noisy, a * a * g * known),
        ]
        return xp.stack(parts)
