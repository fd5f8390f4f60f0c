"""What a layer's means say of its pre-activations, and the matrix products that carry gradients back to weights and inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from factorgraph import Backend
from factorgraph.backends import Array
from factorgraph.factors import Port

VARIANCE_FLOOR = 1e-8


class Reaction(NamedTuple):
    """What the Onsager terms need of the sweep before: means of the weights, gradients, means of the inputs.

    Attributes
    ----------
    m, g, x : (K, N), (K, M), (N, M)
    """

    m: Array
    g: Array
    x: Array


class Sum(NamedTuple):
    """
    Matrix products, and what is made of them.

    Attributes
    ----------
    pairs : factors of each product
    add_up : function of the products
    """

    pairs: list[tuple[Array, Array]]
    add_up: Callable[..., Array]


def evaluate(sums: Sequence[Sum], backend: Backend) -> list[Array]:
    """Values of sums, their products worked out side by side where the backend can."""
    products = iter(backend.matmul_all([pair for one in sums for pair in one.pairs]))
    return [one.add_up(*islice(products, len(one.pairs))) for one in sums]


class Moments:
    """
    Moments of a layer's weights, inputs and pre-activations, for one pair of their versions.

    Parameters
    ----------
    weights, inputs : Port
    mask : (K, N) of 0 and 1, which weights there are; None for all
    constants : int
        Number of inputs, after those of the port, that are always 1.
    signs : bool
        Whether weights are +1 or -1.
    reaction : of the sweep before; None in the first, and for approximations without Onsager terms
    noise : float
        Variance of a normal number that is added to each sum.
    backend : Backend

    Attributes
    ----------
    m, x, omega, variance : (K, N), (N, M), (K, M), (K, M)
    weights_variance, inputs_variance : (K, N), (N, M); None where they are observed
    x_square : (N, M)
    constants : number of inputs, the last ones, that are always 1
    """

    def __init__(
        self,
        weights: Port,
        inputs: Port,
        mask: Array | None,
        constants: int,
        signs: bool,
        reaction: Reaction | None,
        noise: float,
        backend: Backend,
    ) -> None:
        self.m, self.x, self.mask, self.reaction = weights.mean, inputs.mean, mask, reaction
        self.weights_variance, self.inputs_variance = weights.variance, inputs.variance
        self._signs, self.constants = signs, constants
        if constants:
            self.x = self._with_constants(self.x, 1.0, backend)
            if self.inputs_variance is not None:
                self.inputs_variance = self._with_constants(self.inputs_variance, 0.0, backend)
        if mask is not None:
            self.m = self.m * mask
            self.weights_variance = None if self.weights_variance is None else self.weights_variance * mask
        self.x_square = self.x * self.x
        # V = sigma x^2 + (m^2 + sigma) Delta
        pairs, squares = [(self.m, self.x)], self._squares()
        if self.weights_variance is not None:
            pairs.append((self.weights_variance, self.x_square))
        if self.inputs_variance is not None and squares is not None:
            pairs.append((squares, self.inputs_variance))
        self.omega, *terms = backend.matmul_all(pairs)
        of_inputs: Any = 0.0
        if self.inputs_variance is not None:
            of_inputs = backend.xp.sum(self.inputs_variance, axis=0, keepdims=True) if squares is None else terms.pop()
        self.variance = terms[0] if terms else backend.xp.zeros_like(self.omega)
        self.variance += of_inputs + (VARIANCE_FLOOR + noise)
        if reaction is not None:
            self.omega = self.omega - self._own_past(reaction, backend)

    def _with_constants(self, inputs: Array, value: float, backend: Backend) -> Array:
        # One array for all: a join of many reads their addresses on the host, which no recording allows.
        return backend.xp.concat([inputs, backend.zeros((self.constants, inputs.shape[1])) + value])

    def _squares(self) -> Array | None:
        """Mean squares ``m^2 + sigma`` of the weights, ``(K, N)``; None where all are 1."""
        if self._signs:
            return self.mask
        square = self.m * self.m
        return square if self.weights_variance is None else square + self.weights_variance

    def _own_past(self, old: Reaction, backend: Backend) -> Array:
        """What the neuron hears of its own messages of the sweep before (Lucibello et al. 2022, eq. 109)."""
        past: Any = 0.0
        if self.weights_variance is not None:
            past = backend.matmul(self.weights_variance, self.x * old.x)
        if self.inputs_variance is not None:
            past = past + backend.matmul(self.m * old.m, self.inputs_variance)
        past = past * old.g
        if self.weights_variance is not None and self.inputs_variance is not None:
            past = past - old.g * old.g * backend.matmul(self.weights_variance * old.m, old.x * self.inputs_variance)
        return past

    def to_weights(self, g: Array, gamma: Array | None, counts: Array | None, backend: Backend) -> Sum:
        """
        Sum over patterns of the fields that a neuron sends its weights, ``(K, N)``; ``counts`` of each pattern, one if None.

        ``g x`` without ``gamma``, ``(g + m x Gamma) x`` with it; with a reaction less
        ``m' (g g' Delta) + m m' (g' Gamma Delta x)``, primes marking the sweep before.
        """
        if counts is not None:  # all terms are linear in one of the two
            g, gamma = g * counts, None if gamma is None else gamma * counts
        pairs = [(g, self.x.T)]
        old, spread = self.reaction, self.inputs_variance
        if gamma is not None:
            pairs.append((gamma, self.x_square.T))
            if old is not None and spread is not None:
                pairs += [(g * old.g, spread.T), (old.g * gamma, (spread * self.x).T)]

        def add_up(total: Array, *terms: Array) -> Array:
            if terms:
                total = backend.add_product(total, terms[0], self.m)
            if terms[1:] and old is not None:
                total = total - old.m * (terms[1] + self.m * terms[2])
            return total if self.mask is None else total * self.mask

        return Sum(pairs, add_up)

    def weights_curvature(self, g: Array, gamma: Array, counts: Array | None, backend: Backend) -> Array:
        """
        Sum over patterns of the curvatures that a neuron sends its weights, ``(K, N)``: ``(x^2 + Delta) Gamma - Delta g^2``.

        Of an input whose sign is in doubt a pattern may say less than nothing.
        """
        spread, square = self.inputs_variance, g * g
        if counts is not None:
            gamma, square = gamma * counts, square * counts
        if spread is None:
            total = backend.matmul(gamma, self.x_square.T)
        else:
            total = backend.matmul(gamma, (self.x_square + spread).T) - backend.matmul(square, spread.T)
        return total if self.mask is None else total * self.mask

    def to_inputs(self, g: Array, gamma: Array | None, backend: Backend) -> Sum:
        """
        Sum over neurons of the fields sent to each input, ``(N, M)``.

        ``m g`` without ``gamma``, ``m (g + m x Gamma)`` with it; with a reaction less
        ``x' (sigma g g') + x x' (sigma m g' Gamma)``.
        """
        pairs = [(self.m.T, g)]
        old, spread = self.reaction, self.weights_variance
        squares = self._squares() if self._signs else None
        reacts = gamma is not None and old is not None and spread is not None
        if gamma is not None:
            # m^2, for signs mask - sigma
            if not self._signs:
                pairs.append(((self.m * self.m).T, gamma))
            else:
                pairs += [(array.T, gamma) for array in (squares, spread) if array is not None]
            if reacts and old is not None and spread is not None:
                pairs += [(spread.T, g * old.g), ((spread * self.m).T, old.g * gamma)]

        def add_up(total: Array, *terms: Array) -> Array:
            own = list(terms[:-2] if reacts else terms)
            if gamma is not None:
                if self._signs and squares is None:
                    own.insert(0, backend.xp.sum(gamma, axis=0, keepdims=True))
                means = own[0] if len(own) == 1 else own[0] - own[1]
                total = backend.add_product(total, means, self.x)
            if reacts and old is not None:
                total = total - old.x * (terms[-2] + self.x * terms[-1])
            return self.without_constants(total)

        return Sum(pairs, add_up)

    def inputs_curvature(self, g: Array, gamma: Array, backend: Backend) -> Array:
        """Sum of neurons' curvatures sent to each input, ``(N, M)``: ``(m^2 + sigma) Gamma - sigma g^2``."""
        squares = self._squares()
        if squares is None:
            total = backend.xp.zeros_like(self.x) + backend.xp.sum(gamma, axis=0, keepdims=True)
        else:
            total = backend.matmul(squares.T, gamma)
        if self.weights_variance is not None:
            total = total - backend.matmul(self.weights_variance.T, g * g)
        return self.without_constants(total)

    def without_constants(self, total: Array) -> Array:
        """Totals to the inputs of the port alone."""
        return total[: total.shape[0] - self.constants, :] if self.constants else total
