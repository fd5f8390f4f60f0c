"""The algebra of `LinearGaussian` where each variable is one number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors.base import Parameters, Rows
from factorgraph.semiring import Semiring
from factorgraph.variables import Gaussian


class NumberForm:
    """
    ``a_0 x_0 + ... + a_k x_k = b + noise``. Each coefficient, the variance of the noise, and b are a number or ``(F,)``.

    The messages are sums of means and of variances, so that nothing cancels.
    """

    is_exact = False

    def __init__(self, coefficients: Sequence[np.ndarray], noise_variance: np.ndarray, offset: np.ndarray) -> None:
        self.coefficients, self.noise_variance, self.offset = coefficients, noise_variance, offset

    def check(self, count: int) -> None:
        """Refuse arrays that do not fit this number of factors."""
        named = [(f"coefficient {port}", a) for port, a in enumerate(self.coefficients)]
        for name, array in [*named, ("noise_variance", self.noise_variance), ("offset", self.offset)]:
            if array.shape not in ((), (count,)):
                raise ValueError(f"{name} has shape {array.shape}; expected a number or ({count},), one for each factor")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} must be finite")
        if (self.noise_variance < 0).any():
            raise ValueError("noise_variance must be at least 0")
        if all((a == 0).any() for a in self.coefficients):
            raise ValueError("a factor has only coefficients of 0")

    def key(self) -> Any:
        """What factors must share to run as one."""
        return ()

    def parameters(self) -> dict[str, np.ndarray]:
        """Host arrays, with the factor axis last."""
        return {
            "coefficients": np.stack(np.broadcast_arrays(*(np.atleast_1d(a) for a in self.coefficients))),
            "variance": np.atleast_1d(self.noise_variance),
            "offset": np.atleast_1d(self.offset),
        }

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        """Whether a relation of one variable is exact."""
        alone = (parameters["coefficients"] != 0).sum(axis=0) == 1
        return bool((alone & (parameters["variance"] == 0)).any())

    def passes_certainty(self, parameters: Mapping[str, np.ndarray]) -> bool:
        """Whether a relation is exact."""
        return bool((parameters["variance"] == 0).any())

    def linear(self, parameters: Mapping[str, np.ndarray]) -> Rows:
        """As `Factor.linear`."""
        return Rows(parameters["coefficients"][None], parameters["offset"][None], parameters["variance"][None], np.zeros(1))

    def log_potential(self, *values: np.ndarray) -> np.ndarray:
        """Log-density of the noise that the values imply."""
        residual = self.offset - sum(a * x for a, x in zip(self.coefficients, values, strict=True))
        exact = self.noise_variance == 0
        variance = np.where(exact, 1.0, self.noise_variance)
        density = -0.5 * (residual * residual / variance + np.log(2.0 * math.pi * variance))
        return np.where(exact, np.where(residual == 0, 0.0, -np.inf), density)

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        xp = semiring.xp
        means, variances = self._terms(incoming, parameters, semiring)
        return [
            self._message(parameters["coefficients"][port, ...], *self._others(port, means, variances, parameters), xp)
            for port in ports
        ]

    def relation(self, incoming: Sequence[Array], parameters: Parameters, ports: tuple[int, int], semiring: Semiring) -> Array:
        """``a_0 x_0 + a_1 x_1 + ... = b + noise`` solved for one x; a coefficient of 0 relates nothing."""
        xp, (first, second) = semiring.xp, (parameters["coefficients"][port, ...] for port in ports)
        residual, variance = parameters["offset"], parameters["variance"]
        if len(incoming) > 2:
            means, variances = self._terms(incoming, parameters, semiring)
            for port in set(range(len(incoming))) - set(ports):
                residual, variance = residual - means[port], variance + variances[port]
        first = xp.where((first != 0) & (second != 0), first, xp.full_like(first, xp.nan))
        zero = xp.zeros_like(first)
        parts = [-second / first, residual / first, variance / (first * first), zero, zero]
        return xp.stack(list(xp.broadcast_arrays(*parts)))

    @staticmethod
    def _message(coefficient: Array, residual: Array, variance: Array, xp: Any) -> Array:
        """What the other variables say: the value of a x, with a mean and a variance."""
        exact, zero = variance == 0, xp.zeros_like(residual)
        safe = xp.where(exact, xp.ones_like(variance), variance)
        divisor = xp.where(coefficient == 0, xp.ones_like(coefficient), coefficient)
        h = xp.where(exact, residual / divisor, coefficient * residual / safe)
        precision = xp.where(exact, zero + xp.inf, coefficient * coefficient / safe)
        silent = (coefficient == 0) | (variance == xp.inf)
        return xp.stack([xp.where(silent, zero, h), xp.where(silent, zero, precision)])

    def _terms(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> tuple[list[Array], list[Array]]:
        """Mean and variance of each term a x; where nothing is known of x, 0 and infinity."""
        xp = semiring.xp
        means, variances = [], []
        for port, params in enumerate(incoming):
            coefficient, h, precision = parameters["coefficients"][port, ...], params[0, ...], params[1, ...]
            flat, certain = precision == 0, precision == xp.inf
            safe = xp.where(flat, xp.ones_like(precision), precision)
            mean = xp.where(certain, h, xp.where(flat, xp.zeros_like(h), h / safe))
            variance = xp.where(flat, xp.full_like(h, xp.inf), 1.0 / safe)
            means.append(coefficient * mean)
            variances.append(xp.where(coefficient == 0, xp.zeros_like(h), coefficient * coefficient * variance))
        return means, variances

    @staticmethod
    def _others(port: int, means: list[Array], variances: list[Array], parameters: Parameters) -> tuple[Array, Array]:
        """Offset minus all other terms, and its variance. These are sums, not differences, so that nothing cancels."""
        residual = parameters["offset"] + 0.0 * means[0]
        variance = parameters["variance"] + 0.0 * means[0]
        for other, (mean, spread) in enumerate(zip(means, variances, strict=True)):
            if other != port:
                residual, variance = residual - mean, variance + spread
        return residual, variance

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """
        Log of the integral (or maximum) over all variables.

        With one flat variable it is that of the others, whatever they are; with two it is infinite. Negative
        precisions are taken at their formal value, which is right wherever the joint belief is proper.
        """
        xp = semiring.xp
        is_sum = semiring.mode == "sum"
        means, variances = self._terms(incoming, parameters, semiring)
        flats = 0.0 * means[0]
        total, slope, divisor = flats, flats, flats + 1.0
        finite = []
        for port, params in enumerate(incoming):
            h, precision = params[0, ...], params[1, ...]
            flat, certain = precision == 0, precision == xp.inf
            safe = xp.where(flat | certain, xp.ones_like(precision), precision)
            alone = h * h / (2.0 * safe)
            if is_sum:
                alone = alone + 0.5 * (math.log(2.0 * math.pi) - xp.log(xp.abs(safe)))
            total = total + xp.where(flat | certain, xp.zeros_like(alone), alone)
            coefficient = parameters["coefficients"][port, ...] + xp.zeros_like(h)
            flats = flats + xp.where(flat, xp.where(coefficient == 0, xp.full_like(h, 2.0), xp.ones_like(h)), xp.zeros_like(h))
            usable = flat & (coefficient != 0)
            slope = xp.where(usable, h / xp.where(usable, coefficient, xp.ones_like(h)), slope)
            divisor = xp.where(usable, xp.abs(coefficient), divisor)
            finite.append(xp.where(variances[port] == xp.inf, xp.zeros_like(h), variances[port]))
        residual, variance = self._others(-1, means, finite, parameters)
        exact = variance == 0
        safe = xp.where(exact, xp.ones_like(variance), variance)
        noise = parameters["variance"] + xp.zeros_like(variance)
        scale = xp.abs(safe) if is_sum else xp.where(noise == 0, xp.full_like(noise, 1.0 / (2.0 * math.pi)), noise)
        constant = -0.5 * xp.log(2.0 * math.pi * scale)
        met = xp.abs(residual) <= 1e-6 * (1.0 + xp.abs(parameters["offset"]))
        certain_value = xp.where(met, xp.zeros_like(total), xp.full_like(total, -xp.inf))
        bound = total + xp.where(exact, certain_value, constant - 0.5 * residual * residual / safe)
        free = total + slope * residual + 0.5 * slope * slope * variance
        free = free - xp.log(divisor) if is_sum else free + constant
        return xp.where(flats == 0, bound, xp.where(flats == 1, free, xp.full_like(total, xp.inf)))

    def centred_log_partition(
        self, incoming: Sequence[Array], values: Sequence[Array], parameters: Parameters, semiring: Semiring
    ) -> Array:
        """
        As `Factor.centred_log_partition`.

        With the determinant multiplied out, ``v J_1 ... J_k + sum_i a_i^2 prod_(j != i) J_j``, a cavity that has lost its
        digits beside a sharp message, or is flat, does no harm: others outweigh it.
        """
        xp, coefficients, noise = semiring.xp, parameters["coefficients"], parameters["variance"]
        residual = parameters["offset"] + xp.zeros_like(values[0])
        size = xp.abs(residual)
        for port, value in enumerate(values):
            term = coefficients[port, ...] * value
            residual, size = residual - term, size + xp.abs(term)
        exact = noise + xp.zeros_like(residual) == 0
        # What is left within rounding is none.
        rounding = 8.0 * float(xp.finfo(residual.dtype).eps) * size
        residual = xp.where(xp.abs(residual) <= rounding, xp.zeros_like(residual), residual)
        safe = xp.where(exact, xp.ones_like(residual), noise + xp.zeros_like(residual))
        density = xp.where(exact, xp.zeros_like(residual), -0.5 * residual * (residual / safe))
        if semiring.mode == "max":
            return density - xp.where(exact, xp.zeros_like(safe), 0.5 * xp.log(2.0 * math.pi * safe))
        determinant, others = noise + xp.zeros_like(residual), xp.ones_like(residual)
        scale, free = xp.zeros_like(residual), xp.zeros_like(residual)
        for port, params in enumerate(incoming):
            precision, weight = params[1, ...], coefficients[port, ...] ** 2
            certain = precision == xp.inf
            largest = xp.where(certain, xp.ones_like(precision), xp.clip(xp.abs(precision), 1.0, None))
            share = precision / largest
            determinant = xp.where(certain, determinant, determinant * share + weight * others / largest)
            others = xp.where(certain, others, others * share)
            scale = scale + xp.log(largest)
            free = free + xp.astype(~certain, residual.dtype)
        known = (free == 0) & exact  # nothing to integrate: the relation holds or not
        determinant = xp.where(known, xp.ones_like(determinant), xp.abs(determinant))
        free = xp.where(known, xp.ones_like(free), free)
        met = xp.where(
            known & (xp.abs(residual) > 1e-6 * (1.0 + xp.abs(parameters["offset"]))),
            xp.full_like(residual, -xp.inf),
            xp.zeros_like(residual),
        )
        return met + density + 0.5 * ((free - 1.0) * math.log(2.0 * math.pi) - xp.log(determinant) - scale)

    def marginals(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """Joint mean (first row) and covariance of the variables, ``(1 + d, d, F)``."""
        xp = semiring.xp
        _, variances = self._terms(incoming, parameters, semiring)
        outgoing = self.messages(incoming, parameters, range(len(incoming)), semiring)
        kind = Gaussian()
        beliefs = []
        for params, message in zip(incoming, outgoing, strict=True):
            left, right = kind.split(params, semiring.backend), kind.split(message, semiring.backend)
            beliefs.append(kind.join(left[0] + right[0], left[1] + right[1], semiring.backend))
        moments = [kind.marginals(belief, semiring.backend) for belief in beliefs]
        rows = [xp.stack([moment[0, ...] for moment in moments])]
        for i in range(len(incoming)):
            row = []
            for j in range(len(incoming)):
                row.append(moments[i][1, ...] if i == j else self._covariance(i, j, incoming, variances, parameters, xp))
            rows.append(xp.stack(row))
        return xp.stack(rows)

    def _covariance(
        self, i: int, j: int, incoming: Sequence[Array], variances: list[Array], parameters: Parameters, xp: Any
    ) -> Array:
        """-cov(a_i x_i, a_j x_j) is the product of both cavity variances over the variance of the whole sum."""
        rest = parameters["variance"] + 0.0 * incoming[0][0, ...]
        for other, variance in enumerate(variances):
            if other not in (i, j):
                rest = rest + variance
        a, b = (parameters["coefficients"][k, ...] for k in (i, j))
        left, right = (1.0 / xp.where(v == 0, xp.ones_like(v), v) for v in (variances[i], variances[j]))
        known = (variances[i] == 0) | (variances[j] == 0) | (rest == xp.inf)
        denominator = left + right + xp.where(known, xp.zeros_like(rest), rest) * left * right
        denominator = xp.where(denominator == 0, xp.full_like(rest, xp.nan), denominator) * a * b
        return xp.where(known, xp.zeros_like(rest), -1.0 / xp.where(known, xp.ones_like(rest), denominator))
