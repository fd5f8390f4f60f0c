"""Sums of messages in which each input is taken out of each neuron's sum: arrays of (K, N, M) entries, in tiles of neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from factorgraph import Backend
from factorgraph.backends import Array
from factorgraph.factors import Port
from nets.moments import Moments

Gradient = Callable[..., Array]
"""``g`` as a function of omega, V, and what comes from above."""

_ARRAYS_OF_A_TILE = 12  # that are alive at once


def tiles(neurons: int, entries: int, memory_limit: int, itemsize: int) -> Iterator[slice]:
    """Ranges of neurons whose temporary arrays, of ``entries`` each a neuron, stay under a limit in bytes; one at least."""
    step = max(1, memory_limit // (_ARRAYS_OF_A_TILE * entries * itemsize))
    for start in range(0, neurons, step):
        yield slice(start, min(start + step, neurons))


def exact_totals(
    moments: Moments, gradient: Gradient, above: tuple[Array, ...], memory_limit: int, backend: Backend
) -> tuple[Array, Array]:
    """Fields to weights and to inputs with ``g(omega - m x)``, which needs nothing of the sweep before."""
    xp = backend.xp
    to_inputs, to_weights = xp.zeros_like(moments.x), []
    size, patterns = moments.x.shape
    x = xp.expand_dims(moments.x, axis=0)
    for part in tiles(moments.m.shape[0], size * patterns, memory_limit, _itemsize(backend)):
        m = xp.expand_dims(moments.m[part, :], axis=2)
        g = _without(moments, gradient, above, part, m * x, backend)
        to_inputs = to_inputs + xp.sum(m * g, axis=0)
        to_weights.append(xp.sum(g * x, axis=2))
    return _masked(xp.concat(to_weights, axis=0), moments), moments.without_constants(to_inputs)


class CavityMessages:
    """
    Belief propagation with true cavities: the messages of a layer, ``(K, N, M)`` each, kept from sweep to sweep.

    With the means of the weights and inputs without a pattern's, or a neuron's, own message (Lucibello et al. 2022, eqs.
    60-71), ``omega = sum_i m_kia x_kia``, and each ``g(omega - m_kia x_kia)`` is sent times ``x_kia`` to the weight and times
    ``m_kia`` to the input.

    Parameters
    ----------
    memory_limit : bytes for temporary arrays
    """

    def __init__(self, memory_limit: int) -> None:
        self._limit = memory_limit
        self._means: list[Array] = []  # of the weights, tile by tile
        self._to_weights: list[Array] = []
        self._to_inputs: list[Array] = []
        self._are_new = False  # whether messages have been sent that the means do not know yet

    @property
    def started(self) -> bool:
        """Whether there are messages of a sweep before."""
        return bool(self._to_weights)

    def omega(self, moments: Moments, weights: Port, inputs: Port, backend: Backend) -> Array:
        """Means of the pre-activations, ``(K, M)``, from cavities; brings the weights' up to date."""
        xp, rows = backend.xp, []
        for number, part in enumerate(self._parts(moments, backend)):
            if self._are_new:
                mean = weights.cavity_mean(self._to_weights[number], self._means[number], part, axis=2)
                if moments.mask is not None:
                    mean = mean * xp.expand_dims(moments.mask[part, :], axis=2)
                self._means[number] = mean
            rows.append(xp.sum(self._means[number] * self._inputs(number, inputs, moments, backend), axis=1))
        self._are_new = False
        return xp.concat(rows, axis=0)

    def totals(
        self, moments: Moments, gradient: Gradient, above: tuple[Array, ...], inputs: Port, backend: Backend
    ) -> tuple[Array, Array]:
        """Totals to weights and to inputs; keeps the messages."""
        xp = backend.xp
        first = not self.started
        total, to_weights = xp.zeros_like(moments.x), []
        for number, part in enumerate(self._parts(moments, backend)):
            if first:
                mean = xp.expand_dims(moments.m[part, :], axis=2)
                self._means.append(xp.asarray(xp.broadcast_to(mean, (*mean.shape[:2], moments.x.shape[1])), copy=True))
            mean, x = self._means[number], self._inputs(number, inputs, moments, backend)
            g = _without(moments, gradient, above, part, mean * x, backend)
            sent = g * x, mean * g
            to_weights.append(xp.sum(sent[0], axis=2))
            total = total + xp.sum(sent[1], axis=0)
            if first:
                self._to_weights.append(sent[0])
                self._to_inputs.append(sent[1])
            else:
                self._to_weights[number], self._to_inputs[number] = sent
        self._are_new = True
        return _masked(xp.concat(to_weights, axis=0), moments), moments.without_constants(total)

    def _parts(self, moments: Moments, backend: Backend) -> Iterator[slice]:
        neurons, size = moments.m.shape
        return tiles(neurons, size * moments.x.shape[1], self._limit, _itemsize(backend))

    def _inputs(self, number: int, inputs: Port, moments: Moments, backend: Backend) -> Array:
        """Means of the inputs without the neurons' own messages; before there are any, and of data, the means as they are."""
        if number >= len(self._to_inputs) or inputs.observed:
            return backend.xp.expand_dims(moments.x, axis=0)
        sent, constants = self._to_inputs[number], moments.constants
        if not constants:
            return inputs.cavity_mean(sent, None, slice(None), axis=0)
        mean = inputs.cavity_mean(sent[:, : sent.shape[1] - constants, :], None, slice(None), axis=0)
        ones = backend.zeros((mean.shape[0], constants, mean.shape[2])) + 1.0
        return backend.xp.concat([mean, ones], axis=1)


def _masked(total: Array, moments: Moments) -> Array:
    return total if moments.mask is None else total * moments.mask


def _without(
    moments: Moments, gradient: Gradient, above: tuple[Array, ...], part: slice, own: Array, backend: Backend
) -> Array:
    """``g(omega - own)`` of a tile, ``(k, N, M)``."""
    xp = backend.xp
    omega, variance, *rest = (
        xp.broadcast_to(xp.expand_dims(array[part, :], axis=1), own.shape)
        for array in (moments.omega, moments.variance, *above)
    )
    return gradient(omega - own, variance, *rest)


def _itemsize(backend: Backend) -> int:
    return 4 if backend.dtype_name == "float32" else 8
