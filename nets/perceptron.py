"""The perceptron layer as a block factor: all neurons of a layer on all patterns of a mini-batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from factorgraph import Backend, BlockFactor, Categorical, Data, Port, Quadratic, Spin, VariableType
from factorgraph.backends import Array
from nets.channels import ACTIVATIONS, ARGMAX, channel_of
from nets.methods import CAVITIES, METHODS, Backward
from nets.moments import Moments, evaluate

MEMORY_LIMIT = 1 << 28


class Perceptron(BlockFactor):
    """
    A layer of K neurons with N inputs on M patterns: ``output[k, a] = activation(sum_i weights[k, i] * input[i, a])``.

    The ports are

    - ``weights`` (K, N) of any type whose values are numbers: spins, `factorgraph.Levels` or `factorgraph.Gaussian`;
    - ``input`` (N, M) of such a type, or data;
    - ``output``: (K, M) spins for sign activations; (K, M) normal variables for identity and ReLU; or (M,) categorical
      variables of K states, whose value is the neuron with the largest sum.

    Any port may be a view of variables, and M may be several axes. For a convolution, let ``pixels`` (J, M) be the variables of
    images with J pixels, and let ``windows`` (N, P) have the number of the pixel under each entry of a window at each place, or
    -1 outside the image. On the input ``pixels.gather(windows)`` (N, P, M), each neuron is a filter that sees P places of each
    pattern. An input must not occur twice in a column.

    Let m and x be the means of weights and inputs, and omega and V the mean and variance of the sums. The sums of the messages
    are then, in the notation of `nets.channels.base` (Lucibello et al. 2022, eqs. 60-118):

    ========  ====================================  ===========================================
    method    field on input i of pattern a         field on weight k, i
    ========  ====================================  ===========================================
    ``mf``    sum_k m_ki g_ka                       sum_a g_ka x_ia
    ``bpi``   sum_k m_ki g_ka(omega - m_ki x_ia)    sum_a g_ka(omega - m_ki x_ia) x_ia
    ========  ====================================  ===========================================

    ``bp`` sends the same fields as ``bpi``, but with cavity means m and x: the messages of this pattern and neuron are removed
    from them. ``amp`` is ``bp`` to first order in the removed messages. It has Onsager terms from the previous sweep.

    With the first-order cavity of ``bpi``, ``g(omega - m x)`` is expanded to ``g + m x Gamma``, which needs only matrix
    products. In the first sweep after messages were forgotten, ``bp`` equals ``bpi`` with exact cavities, and ``amp`` equals
    ``bpi`` with first-order cavities. With an argmax output, all methods are ``mf``.

    Spins have fields only. All other types also receive the curvatures ``sum_a (x^2 + Delta) Gamma - Delta g^2`` (weights) and
    ``sum_k (m^2 + sigma) Gamma - sigma g^2`` (inputs), where sigma and Delta are the variances of weights and inputs. With
    every method, they receive fields around their means, ``g + m x Gamma``. ``bp`` has true cavities only between spins, or
    between spins and data.

    An argmax output that is not observed but has a prior is a soft label: see `nets.channels.argmax.class_derivatives`.

    Parameters
    ----------
    method : {"bpi", "bp", "amp", "mf"}, default "bpi"
    cavity : {"first-order", "exact"}, default "first-order"
        How ``bpi`` takes one input out of a sum. Exact cavities cost K N M evaluations of g, in tiles.
    memory_limit : int, default 256 MiB
        Bytes for the temporary arrays of exact cavities. ``bp`` also keeps three arrays of K N M numbers.
    mask : (K, N) array of bool, optional
        Mask of the weights to keep. The others are 0 and receive no messages. Default: all are kept.
    argmax : {"pairwise", "exact"}, default "pairwise"
        How an argmax output finds the probability that the label has the largest sum. "pairwise" multiplies, over the other
        neurons, the probabilities that the label's sum is the larger of the two. "exact" takes the integral. Soft labels always
        take the integral.
    activation : {"sign", "identity", "relu"}, default "sign"
    scale : float, default 1
        Factor of the sums before identity and ReLU. ``1 / sqrt(N)`` keeps outputs at one scale.
    constants : int, default 0
        Number of inputs that are always 1, after those of the port. The weights are then (K, N + constants), and the last ones
        are biases.
    counted : bool, default False
        Whether there is a fourth port, ``counts``, data (M,): how many times each pattern counts, 0 or any positive number. The
        pattern's messages to the weights are multiplied by this number.
    skip : float, default 0
        If it is not 0, there is a last port, ``skip``: spins of the output's shape, which are added to the sums with this
        weight.
    noise : float, default 0
        Variance of a normal number that is added to each sum. A sign unit with noise is a probit unit, which is never quite
        certain, so that a few weights that are certain cannot push others without bounds.
    """

    ports: tuple[str, ...] = ("weights", "input", "output")
    may_be_outside = ("input",)
    may_share = ("skip",)

    def __init__(
        self,
        method: str = "bpi",
        cavity: str = "first-order",
        memory_limit: int = MEMORY_LIMIT,
        mask: np.ndarray | None = None,
        argmax: str = "pairwise",
        activation: str = "sign",
        scale: float = 1.0,
        constants: int = 0,
        counted: bool = False,
        skip: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        for name, value, allowed in (
            ("method", method, tuple(METHODS)),
            ("cavity", cavity, CAVITIES),
            ("argmax", argmax, tuple(ARGMAX)),
            ("activation", activation, ACTIVATIONS),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, not {value!r}")
        if constants < 0 or not scale > 0:
            raise ValueError(f"constants must be at least 0 and scale above 0, not {constants!r} and {scale!r}")
        if not 0.0 <= noise < np.inf:
            raise ValueError(f"noise must be at least 0, and finite, not {noise!r}")
        if counted:
            self.ports = (*self.ports, "counts")
        if skip:
            self.ports = (*self.ports, "skip")
        self.counted, self.skip = counted, float(skip)
        self.method = method
        self.argmax = argmax
        self.cavity = cavity
        self.activation = activation
        self.scale, self.noise = scale, float(noise)
        self.constants = constants
        self.memory_limit = memory_limit
        self.mask = None if mask is None else np.asarray(mask, dtype=np.bool_)
        self._masks: dict[int, Array] = {}  # on the devices of the backends that have asked
        self._types: Sequence[VariableType] = ()

    def __repr__(self) -> str:
        return f"Perceptron({self.method!r}, cavity={self.cavity!r})"

    def arranged(self, ports: Sequence[Any]) -> Sequence[Any]:
        weights, inputs, output, *more = ports
        if not inputs.is_whole and occurs_twice(inputs):
            raise ValueError(f"an input occurs twice in a column of the view of {inputs.name!r}")
        columns = inputs.shape[1:]
        is_argmax = isinstance(output.type, Categorical)
        if len(columns) > 1 and (output.shape if is_argmax else output.shape[1:]) == columns:
            inputs, output = inputs.reshape(len(inputs), -1), output.reshape(*output.shape[: not is_argmax], -1)
            more = [
                port.reshape(*port.shape[: -len(columns)], -1) if port.shape[-len(columns) :] == columns else port
                for port in more
            ]
        return weights, inputs, output, *more

    def bind(self, types: Sequence[VariableType], shapes: Sequence[tuple[int, ...]]) -> None:
        self._types = tuple(types)
        weights, inputs, output = self._types[:3]
        if not _is_number(weights):
            raise TypeError(f"weights must be numbers: Spin, Levels or Gaussian, not {weights!r}")
        if not (_is_number(inputs) or isinstance(inputs, Data)):
            raise TypeError(f"input must be numbers: Spin, Levels, Gaussian or Data, not {inputs!r}")
        self._channel = channel_of(self.activation, self.scale, self.argmax, output)
        self._method = METHODS[self.method if self._channel.takes_cavities else "mf"](self.cavity, self.memory_limit)
        self._channel.check(output, shapes[0][0])
        not_spins = not isinstance(output, (Spin, Categorical)) or any(
            kind.squares_matter for kind in types[:2] if _is_number(kind)
        )
        if self._method.spins_alone and not_spins:
            raise ValueError(f"method {self.method!r} has true cavities only for spins, not for {types!r}; use 'bpi' or 'amp'")
        if self.counted:
            if not isinstance(types[3], Data) or shapes[3] != shapes[1][-1:]:
                raise ValueError(f"counts must be Data of shape {shapes[1][-1:]}, not {types[3]!r} of shape {shapes[3]}")
            if not self._method.takes_counts:
                raise ValueError("counts of patterns need method 'mf', 'amp' or 'bpi' with cavity 'first-order'")
        if self.skip and (not isinstance(types[-1], Spin) or shapes[-1] != shapes[2]):
            raise ValueError(f"skip must be Spin of the output's shape {shapes[2]}, not {types[-1]!r} of shape {shapes[-1]}")
        if self.skip and not self._method.takes_derivatives:
            raise ValueError("skip needs method 'mf', 'amp' or 'bpi' with cavity 'first-order'")
        if len(shapes[0]) != 2 or len(shapes[1]) != 2:
            raise ValueError(f"weights must be (K, N) and input (N, M), not {shapes[0]} and {shapes[1]}")
        neurons, size = shapes[0][0], shapes[0][1] - self.constants
        patterns = shapes[1][1]
        if self.mask is not None and self.mask.shape != shapes[0]:
            raise ValueError(f"mask has shape {self.mask.shape}; the weights have {shapes[0]}")
        if shapes[1][0] != size or shapes[2] != self._channel.output_shape(neurons, patterns):
            constants = f" with {self.constants} constants" if self.constants else ""
            outputs = str(self._channel.output_shape(neurons, "M")).replace("'", "")
            raise ValueError(
                f"weights {shapes[0]}{constants} need input ({size}, M) and output {outputs}, not {shapes[1]} and {shapes[2]}"
            )

    def update(
        self, ports: Sequence[Port], memory: dict[str, Any], asked: Sequence[int], backend: Backend
    ) -> list[Array | Quadratic]:
        moments = self._moments(ports, memory, backend)
        totals: dict[int, Array | Quadratic] = {}
        if 2 in asked:
            totals[2] = self._channel.message(moments.omega, moments.variance, ports[2], memory["kept"], backend)
        if set(asked) - {2}:
            fields, curvatures = self._backward(moments, ports, memory, asked, backend)
            for port, field in fields.items():
                if port in curvatures:
                    totals[port] = Quadratic(field, curvatures[port])
                else:
                    totals[port] = self._types[port].from_quadratic(field, None, backend)
        return [totals[port] for port in asked]

    def carried(self, observed: Sequence[bool]) -> Sequence[str] | None:
        second = any(kind.squares_matter for kind in self._types[:2])
        return self._method.carried if self._channel.can_be_recorded(observed[2], second) else None

    def log_partition(self, ports: Sequence[Port], memory: dict[str, Any], backend: Backend) -> Array:
        """
        Terms of the Bethe free energy between spins at a fixed point, to second order in the messages.

        With h the message on an edge, ``log 2 cosh(H - h) - log 2 cosh H = -m h + (1 - m^2) h^2 / 2``. Unobserved outputs
        receive their local sum itself. The sums must be those of cavities, as in ``amp`` and ``bp``. With ``bpi`` and ``mf``,
        each pattern receives its own message back, and the log-partition is too large.

        Raises
        ------
        NotImplementedError
            A port is neither spins nor data, the activation is real, or patterns are counted.
        """
        output = ports[2]
        if (
            self.counted
            or self.skip
            or self.activation != "sign"
            or not all(isinstance(kind, (Spin, Data)) for kind in self._types[:2])
        ):
            raise NotImplementedError(f"{self!r} has a Bethe free energy between spins alone")
        xp, moments = backend.xp, self._moments(ports, memory, backend)
        total = self._channel.log_partition(moments.omega, moments.variance, output, backend)
        asked = [port for port in (0, 1) if not ports[port].observed]
        if not asked:
            return total
        g, gamma = self._channel.derivatives(moments.omega, moments.variance, output, memory["kept"], False, backend)
        assert gamma is not None or not self._channel.takes_cavities
        gamma = gamma if self._method.shifts or not self._method.takes_derivatives else None
        if 0 in asked:
            squares = backend.matmul(g * g, moments.x_square.T)
            total = total - xp.sum(moments.m * evaluate([moments.to_weights(g, gamma, None, backend)], backend)[0])
            total = total + 0.5 * xp.sum(moments.weights_variance * squares)
        if 1 in asked:
            squares = moments.without_constants(backend.matmul((moments.m * moments.m).T, g * g))
            total = total - xp.sum(ports[1].mean * evaluate([moments.to_inputs(g, gamma, backend)], backend)[0])
            total = total + 0.5 * xp.sum(ports[1].variance * squares)
        return total

    def _backward(
        self, moments: Moments, ports: Sequence[Port], memory: dict[str, Any], asked: Sequence[int], backend: Backend
    ) -> tuple[dict[int, Array], dict[int, Array]]:
        """Fields, and curvatures where needed, for all ports that are asked for, except the output."""
        skips = self.skip and len(ports) - 1 in asked
        asked = [port for port in (0, 1) if port in asked]
        second = {port for port in asked if self._types[port].squares_matter}
        g, gamma = None, None
        if second or self._method.takes_derivatives:
            sums = moments.omega, moments.variance
            g, gamma = self._channel.derivatives(*sums, ports[2], memory["kept"], bool(second), backend)
        counts = ports[3].mean if self.counted else None
        back = Backward(moments, self._channel, ports, memory, asked, second, counts, g, gamma, backend)
        found = self._method.fields(back)
        curvatures: dict[int, Array] = {}
        if second:
            assert g is not None
            assert gamma is not None
            if 0 in second:
                curvatures[0] = moments.weights_curvature(g, gamma, counts, backend)
            if 1 in second:
                curvatures[1] = moments.inputs_curvature(g, gamma, backend)
        fields = {port: found[port] for port in asked}
        if skips and g is not None:
            shifted = gamma is not None and self._method.shifts
            through = g + self.skip * ports[-1].mean * gamma if shifted else g
            fields[len(ports) - 1] = self.skip * through
        return fields, curvatures

    def _moments(self, ports: Sequence[Port], memory: dict[str, Any], backend: Backend) -> Moments:
        """The moments, calculated once for each pair of versions of weights and inputs."""
        weights, inputs = ports[:2]
        key = (weights.version, inputs.version, ports[-1].version if self.skip else 0)
        if memory.get("key") != key:
            moments = Moments(
                weights,
                inputs,
                self._device_mask(backend),
                self.constants,
                not self._types[0].squares_matter,
                memory.get("reaction"),
                self.noise,
                backend,
            )
            moments.omega = self._method.omega(moments, ports, memory, backend)
            if self.skip:
                self._add_skipped(moments, ports[-1], backend)
            memory["moments"], memory["key"], memory["kept"] = moments, key, {}
        return memory["moments"]

    def _add_skipped(self, moments: Moments, skipped: Port, backend: Backend) -> None:
        """Add the units that skip the layer to the sums, without the layer's own messages of the previous sweep."""
        variance = skipped.variance
        moments.omega = moments.omega + self.skip * skipped.mean
        if variance is not None:
            moments.variance = moments.variance + self.skip * self.skip * variance
            if moments.reaction is not None:
                moments.omega = moments.omega - self.skip * self.skip * variance * moments.reaction.g

    def _device_mask(self, backend: Backend) -> Array | None:
        if self.mask is None:
            return None
        if id(backend) not in self._masks:
            self._masks[id(backend)] = backend.asarray(self.mask)
        return self._masks[id(backend)]


def occurs_twice(inputs: Any) -> bool:
    """Whether a view (N, ...) has the same variable twice in one column."""
    rows = inputs.index if inputs.rows is None or inputs.rows.size % len(inputs) else inputs.rows
    ordered = np.sort(rows.reshape(len(inputs), -1), axis=0)
    return bool(((ordered[1:] == ordered[:-1]) & (ordered[1:] >= 0)).any())


def _is_number(kind: VariableType) -> bool:
    return type(kind).from_quadratic is not VariableType.from_quadratic
