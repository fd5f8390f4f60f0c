"""The perceptron layer as a block factor: all neurons of a layer on all patterns of a mini-batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from factorgraph import Backend, BlockFactor, Categorical, Data, Port, Spin, VariableType
from factorgraph.backends import Array
from nets.channels import SignTail, argmax_backward, argmax_forward, sign_backward, sign_forward

METHODS = ("bpi", "mf")
CAVITIES = ("first-order", "exact")
VARIANCE_FLOOR = 1e-8
_TILE_ENTRIES = 1 << 21  # of (neurons, inputs, patterns) at once in the exact cavity


class Perceptron(BlockFactor):
    """
    ``output[k, a] = activation(sum_i weights[k, i] * input[i, a])`` for K neurons, N inputs and M patterns.

    Ports: ``weights`` (K, N) spins; ``input`` (N, M) spins or data; ``output`` either (K, M) spins, for sign activations, or
    (M,) categorical variables of K states, the neuron with the largest sum.

    With m, x the means of weights and inputs, and their pre-activations' moments omega and V, the totals are, in the
    notation of `nets.channels` (Lucibello et al. 2022, eqs. 72-95):

    ========  ====================================  ====================================
    method    field on input i of pattern a         field on weight k, i
    ========  ====================================  ====================================
    ``mf``    sum_k m_ki g_ka                       sum_a g_ka x_ia
    ``bpi``   sum_k m_ki g_ka(omega - m_ki x_ia)    sum_a g_ka(omega - m_ki x_ia) x_ia
    ========  ====================================  ====================================

    With the first-order cavity, ``g(omega - m x)`` is expanded to ``g + m x Gamma``, which costs matrix products only.

    Parameters
    ----------
    method : {"bpi", "mf"}, default "bpi"
    cavity : {"first-order", "exact"}, default "first-order"
        How ``bpi`` takes one input out of a sum. Exact costs K N M evaluations of g, in tiles.
    """

    ports: ClassVar[tuple[str, ...]] = ("weights", "input", "output")

    def __init__(self, method: str = "bpi", cavity: str = "first-order") -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, not {method!r}")
        if cavity not in CAVITIES:
            raise ValueError(f"cavity must be one of {CAVITIES}, not {cavity!r}")
        self.method = method
        self.cavity = cavity
        self._argmax = False

    def __repr__(self) -> str:
        return f"Perceptron({self.method!r}, cavity={self.cavity!r})"

    def check(self, types: Sequence[VariableType], shapes: Sequence[tuple[int, ...]]) -> None:
        weights, inputs, output = types
        if not isinstance(weights, Spin):
            raise TypeError(f"weights must be Spin, not {weights!r}")
        if not isinstance(inputs, (Spin, Data)):
            raise TypeError(f"input must be Spin or Data, not {inputs!r}")
        if not isinstance(output, (Spin, Categorical)):
            raise TypeError(f"output must be Spin or Categorical, not {output!r}")
        self._argmax = isinstance(output, Categorical)
        if len(shapes[0]) != 2 or len(shapes[1]) != 2:
            raise ValueError(f"weights must be (K, N) and input (N, M), not {shapes[0]} and {shapes[1]}")
        neurons, size = shapes[0]
        patterns = shapes[1][1]
        expected = (patterns,) if self._argmax else (neurons, patterns)
        if shapes[1][0] != size or shapes[2] != expected:
            raise ValueError(
                f"weights {shapes[0]} need input ({size}, M) and output {('(M,)' if self._argmax else f'({neurons}, M)')}, "
                f"not {shapes[1]} and {shapes[2]}"
            )
        if isinstance(output, Categorical) and output.num_states != neurons:
            raise ValueError(f"{neurons} neurons need an output of {neurons} states, not {output.num_states}")

    def update(self, ports: Sequence[Port], memory: dict[str, Any], asked: Sequence[int], backend: Backend) -> list[Array]:
        weights, inputs, output = ports
        moments = _moments(weights, inputs, memory, backend)
        totals: dict[int, Array] = {}
        if 2 in asked:
            totals[2] = self._to_output(moments, memory, backend)
        if 0 in asked or 1 in asked:
            g, gamma = self._gradient(moments, output, memory, backend)
            if self.method == "bpi" and self.cavity == "exact" and not self._argmax:
                totals[0], totals[1] = self._exact(moments, output, backend)
            else:
                curvature = gamma if self.method == "bpi" else None
                if 0 in asked:
                    totals[0] = _to_weights(moments, g, curvature, backend)
                if 1 in asked:
                    totals[1] = _to_inputs(moments, g, curvature, backend)
        return [totals[port] for port in asked]

    def _to_output(self, moments: _Moments, memory: dict[str, Any], backend: Backend) -> Array:
        if self._argmax:
            return backend.elementwise(argmax_forward, moments.omega, moments.variance)[0]
        return _tail(moments, memory, backend).message

    def _gradient(
        self, moments: _Moments, output: Port, memory: dict[str, Any], backend: Backend
    ) -> tuple[Array, Array | None]:
        if not self._argmax:
            tail = _tail(moments, memory, backend)
            g, gamma = backend.elementwise(sign_backward, *tail, _field(output, backend))
            return g, gamma
        if not output.observed:
            raise ValueError("an argmax output sends messages back only where its labels are observed")
        return backend.elementwise(argmax_backward, moments.omega, moments.variance, output.mean)[0], None

    def _exact(self, moments: _Moments, output: Port, backend: Backend) -> tuple[Array, Array]:
        """Both totals of bpi with every input taken out of its sum, in tiles over the neurons."""
        xp = backend.xp
        m, x, omega, variance = moments.m, moments.x, moments.omega, moments.variance
        field = _field(output, backend)
        neurons, size = m.shape
        to_inputs = xp.zeros_like(x)
        to_weights = []
        tile = max(1, _TILE_ENTRIES // (size * x.shape[1]))
        for start in range(0, neurons, tile):
            part = slice(start, start + tile)
            parts = xp.expand_dims(m[part, :], axis=2) * xp.expand_dims(x, axis=0)  # (k, N, M)
            spread = [
                xp.broadcast_to(xp.expand_dims(array[part, :], axis=1), parts.shape) for array in (omega, variance, field)
            ]
            tail = backend.elementwise(sign_forward, spread[0] - parts, spread[1])
            g, _ = backend.elementwise(sign_backward, *tail, spread[2])
            to_inputs = to_inputs + xp.sum(xp.expand_dims(m[part, :], axis=2) * g, axis=0)
            to_weights.append(xp.sum(g * xp.expand_dims(x, axis=0), axis=2))
        return xp.concat(to_weights, axis=0), to_inputs


class _Moments:
    """Moments of a layer's weights, inputs and pre-activations, for one pair of their versions."""

    def __init__(self, weights: Port, inputs: Port, backend: Backend) -> None:
        xp = backend.xp
        self.m, self.x = weights.mean, inputs.mean
        self.weights_variance = weights.variance
        self.x_square = self.x * self.x
        self.omega = backend.matmul(self.m, self.x)
        # For weights of +-1, m^2 + sigma = 1, and V = sigma x^2 + (m^2 + sigma) Delta needs one product.
        inputs_variance = inputs.variance
        noise = 0.0 if inputs_variance is None else xp.sum(inputs_variance, axis=0, keepdims=True)
        if self.weights_variance is None:
            self.variance = xp.zeros_like(self.omega) + (noise + VARIANCE_FLOOR)
        else:
            self.variance = backend.matmul(self.weights_variance, self.x_square)
            self.variance += noise + VARIANCE_FLOOR


def _moments(weights: Port, inputs: Port, memory: dict[str, Any], backend: Backend) -> _Moments:
    key = (weights.version, inputs.version)
    if memory.get("key") != key:
        memory["moments"], memory["key"] = _Moments(weights, inputs, backend), key
        memory.pop("tail", None)
    return memory["moments"]


def _tail(moments: _Moments, memory: dict[str, Any], backend: Backend) -> SignTail:
    if "tail" not in memory:
        memory["tail"] = SignTail(*backend.elementwise(sign_forward, moments.omega, moments.variance))
    return memory["tail"]


def _field(output: Port, backend: Backend) -> Array:
    """Field on the output without this layer's own message; infinite for labels."""
    if output.observed:
        return output.mean * backend.xp.inf
    return output.incoming


def _to_weights(moments: _Moments, g: Array, gamma: Array | None, backend: Backend) -> Array:
    total = backend.matmul(g, moments.x.T)
    if gamma is not None:
        total = backend.add_product(total, backend.matmul(gamma, moments.x_square.T), moments.m)
    return total


def _to_inputs(moments: _Moments, g: Array, gamma: Array | None, backend: Backend) -> Array:
    xp = backend.xp
    total = backend.matmul(moments.m.T, g)
    if gamma is not None:
        # (m^2)^T Gamma, again with m^2 = 1 - sigma.
        squares = xp.sum(gamma, axis=0, keepdims=True)
        if moments.weights_variance is not None:
            squares = squares - backend.matmul(moments.weights_variance.T, gamma)
        total = backend.add_product(total, squares, moments.x)
    return total
