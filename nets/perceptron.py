"""The perceptron layer as a block factor: all neurons of a layer on all patterns of a mini-batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from factorgraph import Backend, BlockFactor, Categorical, Data, Port, Spin, VariableType
from factorgraph.backends import Array
from nets.cavities import CavityMessages, exact_totals
from nets.channels import SignTail, argmax_backward, argmax_exact_backward, argmax_forward, sign_backward, sign_forward
from nets.moments import Moments, Reaction

METHODS = ("bp", "bpi", "amp", "mf")
CAVITIES = ("first-order", "exact")
ARGMAX = ("pairwise", "exact")
MEMORY_LIMIT = 1 << 28


class Perceptron(BlockFactor):
    """
    ``output[k, a] = activation(sum_i weights[k, i] * input[i, a])`` for K neurons, N inputs and M patterns.

    Ports: ``weights`` (K, N) spins; ``input`` (N, M) spins or data; ``output`` either (K, M) spins, for sign activations, or
    (M,) categorical variables of K states, the neuron with the largest sum.

    With m, x the means of weights and inputs, and their pre-activations' moments omega and V, the totals are, in the
    notation of `nets.channels` (Lucibello et al. 2022, eqs. 60-118):

    ========  ====================================  ====================================
    method    field on input i of pattern a         field on weight k, i
    ========  ====================================  ====================================
    ``mf``    sum_k m_ki g_ka                       sum_a g_ka x_ia
    ``bpi``   sum_k m_ki g_ka(omega - m_ki x_ia)    sum_a g_ka(omega - m_ki x_ia) x_ia
    ``bp``    the same with m and x themselves without the pattern's and the neuron's own messages
    ``amp``   bp to first order in what is taken out: with Onsager terms from the sweep before
    ========  ====================================  ====================================

    With the first-order cavity of bpi, ``g(omega - m x)`` is expanded to ``g + m x Gamma``, which costs matrix products
    only. In the first sweep after messages were forgotten, bp is bpi with exact cavities and amp with first-order ones. An
    argmax output has one form, that of ``mf``.

    Parameters
    ----------
    method : {"bpi", "bp", "amp", "mf"}, default "bpi"
    cavity : {"first-order", "exact"}, default "first-order"
        How ``bpi`` takes one input out of a sum. Exact costs K N M evaluations of g, in tiles.
    memory_limit : int, default 256 MiB
        Bytes for the temporary arrays of exact cavities. ``bp`` keeps three arrays of K N M numbers besides.
    mask : (K, N) array of bool, optional
        Which weights there are; the others are 0 and get no messages. Default: all.
    argmax : {"pairwise", "exact"}, default "pairwise"
        What an argmax output takes for the probability that the label has the largest sum: the product over the other neurons
        of the probabilities of each pair, or the integral that it is.
    """

    ports: ClassVar[tuple[str, ...]] = ("weights", "input", "output")

    def __init__(
        self,
        method: str = "bpi",
        cavity: str = "first-order",
        memory_limit: int = MEMORY_LIMIT,
        mask: np.ndarray | None = None,
        argmax: str = "pairwise",
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"method must be one of {METHODS}, not {method!r}")
        if cavity not in CAVITIES:
            raise ValueError(f"cavity must be one of {CAVITIES}, not {cavity!r}")
        if argmax not in ARGMAX:
            raise ValueError(f"argmax must be one of {ARGMAX}, not {argmax!r}")
        self.method = method
        self.argmax = argmax
        self.cavity = cavity
        self.memory_limit = memory_limit
        self.mask = None if mask is None else np.asarray(mask, dtype=np.bool_)
        self._masks: dict[int, Array] = {}  # on the devices of the backends that have asked
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
        if self.mask is not None and self.mask.shape != shapes[0]:
            raise ValueError(f"mask has shape {self.mask.shape}; the weights have {shapes[0]}")
        expected = (patterns,) if self._argmax else (neurons, patterns)
        if shapes[1][0] != size or shapes[2] != expected:
            raise ValueError(
                f"weights {shapes[0]} need input ({size}, M) and output {('(M,)' if self._argmax else f'({neurons}, M)')}, "
                f"not {shapes[1]} and {shapes[2]}"
            )
        if isinstance(output, Categorical) and output.num_states != neurons:
            raise ValueError(f"{neurons} neurons need an output of {neurons} states, not {output.num_states}")

    def update(self, ports: Sequence[Port], memory: dict[str, Any], asked: Sequence[int], backend: Backend) -> list[Array]:
        output = ports[2]
        moments = self._moments(ports, memory, backend)
        if 2 in asked and len(asked) == 1:
            return [self._to_output(moments, memory, backend)]
        totals: dict[int, Array] = {2: self._to_output(moments, memory, backend)} if 2 in asked else {}
        exact = self.method == "bp" or (self.method == "bpi" and self.cavity == "exact")
        if self._argmax:
            if not output.observed:
                raise ValueError("an argmax output sends messages back only where its labels are observed")
            backward = argmax_backward if self.argmax == "pairwise" else argmax_exact_backward
            (g,) = backend.elementwise(backward, moments.omega, moments.variance, output.mean)
            gamma = None
        elif exact:
            field = _field(output, backend)
            if self.method == "bpi":
                totals[0], totals[1] = exact_totals(moments, field, self.memory_limit, backend)
            else:
                totals[0], totals[1] = memory["cavities"].totals(moments, field, ports[1], backend)
            return [totals[port] for port in asked]
        else:
            g, gamma = backend.elementwise(sign_backward, *_tail(moments, memory, backend), _field(output, backend))
            gamma = None if self.method == "mf" else gamma
        if 0 in asked:
            totals[0] = moments.to_weights(g, gamma, backend)
        if 1 in asked:
            totals[1] = moments.to_inputs(g, gamma, backend)
        if self.method == "amp" and not self._argmax:
            # Plates may be updated in place.
            copied = [backend.xp.asarray(array, copy=True) for array in (moments.m, moments.x)]
            memory["reaction"] = Reaction(copied[0], g, copied[1])
        return [totals[port] for port in asked]

    def _moments(self, ports: Sequence[Port], memory: dict[str, Any], backend: Backend) -> Moments:
        """Worked out once for each pair of versions of weights and inputs."""
        weights, inputs, _ = ports
        key = (weights.version, inputs.version)
        if memory.get("key") != key:
            moments = Moments(weights, inputs, self._device_mask(backend), memory.get("reaction"), backend)
            if self.method == "bp" and not self._argmax:
                cavities = memory.setdefault("cavities", CavityMessages(self.memory_limit))
                if cavities.started:
                    moments.omega = cavities.omega(moments, weights, inputs, backend)
            memory["moments"], memory["key"] = moments, key
            memory.pop("tail", None)
        return memory["moments"]

    def _device_mask(self, backend: Backend) -> Array | None:
        if self.mask is None:
            return None
        if id(backend) not in self._masks:
            self._masks[id(backend)] = backend.asarray(self.mask)
        return self._masks[id(backend)]

    def _to_output(self, moments: Moments, memory: dict[str, Any], backend: Backend) -> Array:
        if self._argmax:
            return backend.elementwise(argmax_forward, moments.omega, moments.variance)[0]
        return _tail(moments, memory, backend).message


def _tail(moments: Moments, memory: dict[str, Any], backend: Backend) -> SignTail:
    if "tail" not in memory:
        memory["tail"] = SignTail(*backend.elementwise(sign_forward, moments.omega, moments.variance))
    return memory["tail"]


def _field(output: Port, backend: Backend) -> Array:
    """Field on the output without this layer's own message; infinite for labels."""
    if output.observed:
        return output.mean * backend.xp.inf
    return output.incoming
