"""Exact answers by enumeration, and checks of anyone's own node types against them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import logsumexp

from factorgraph.backends import Backend, BackendUnavailableError, get_backend
from factorgraph.blocks import Factors, Variables
from factorgraph.factors import Factor
from factorgraph.factors.kernel import FactorKernel, to_device
from factorgraph.graph import FactorGraph
from factorgraph.semiring import MODES, Semiring
from factorgraph.variables import DiscreteType, VariableType

_MAX_STATES = 1 << 22


class Enumeration:
    """
    Exact answers for a small graph of discrete variables, by going through every joint state.

    Parameters
    ----------
    graph : FactorGraph
        Its prior and evidence count. At most 2^22 joint states.

    Attributes
    ----------
    log_partition, log_maximum : float
        Log of the sum, and of the largest, of the weights of all joint states.
    """

    def __init__(self, graph: FactorGraph) -> None:
        self._kinds: list[DiscreteType] = []
        for block in graph.variable_blocks.values():
            if not isinstance(block.type, DiscreteType):
                raise TypeError(f"variables {block.name!r} of type {block.type!r} cannot be enumerated")
            self._kinds += [block.type] * block.size
        sizes = [len(kind.states) for kind in self._kinds]
        number = int(np.prod(sizes, dtype=np.float64))
        if number > _MAX_STATES:
            raise ValueError(f"the graph has {number:.3g} joint states, more than {_MAX_STATES}")
        self._first = graph.first_nodes()
        self._digits = np.stack(np.unravel_index(np.arange(number), sizes)) if sizes else np.zeros((0, 1), dtype=np.int64)
        self.log_weights = self._weigh(graph, number)
        self.log_partition = float(logsumexp(self.log_weights))
        self.log_maximum = float(self.log_weights.max())

    def _weigh(self, graph: FactorGraph, number: int) -> np.ndarray:
        total = np.zeros(number)
        host = get_backend("numpy", "float64")
        for block in graph.variable_blocks.values():
            assert isinstance(block.type, DiscreteType)
            rows = self._digits[self._first[block.name] : self._first[block.name] + block.size]
            if block.prior is not None:
                weights = block.type.log_weights(np.moveaxis(block.prior, 0, -1), host)
                for variable, row in enumerate(rows):
                    total += weights[row, variable]
            if block.observed is not None and block.values is not None:
                for place in np.flatnonzero(block.observed):
                    total[rows[place] != block.type.position(block.values[place])] = -np.inf
        for factors in graph.factor_blocks.values():
            if factors.kernel is None:
                raise TypeError(f"factors {factors.name!r} are a block factor and cannot be enumerated")
            table = factors.kernel.enumerated()
            for factor in range(factors.count):
                total += table[..., min(factor, table.shape[-1] - 1)][tuple(self._digits[self._nodes(factors, factor)])]
        return total

    def _nodes(self, factors: Factors, factor: int) -> list[int]:
        return [
            int(v) + self._first[port.name] for port in factors.ports for v in port.index.reshape(factors.count, -1)[factor]
        ]

    def marginals(self, variables: Variables, mode: str = "sum") -> np.ndarray:
        """Probabilities ``(*shape, q)``; in mode "max" the max-marginals, scaled to add up to one."""
        nodes = (self._first[variables.name] + variables.index).reshape(-1)
        rows = [self._reduce([int(node)], mode) for node in nodes]
        return np.stack(rows).reshape(*variables.shape, -1)

    def factor_marginals(self, factors: Factors, mode: str = "sum") -> np.ndarray:
        """Joint probabilities ``(F, q_0, ..., q_k)``."""
        return np.stack([self._reduce(self._nodes(factors, f), mode) for f in range(factors.count)])

    def _reduce(self, nodes: list[int], mode: str) -> np.ndarray:
        sizes = [len(self._kinds[node].states) for node in nodes]
        cells = np.ravel_multi_index(tuple(self._digits[nodes]), sizes)
        result = np.zeros(int(np.prod(sizes)))
        weights = np.exp(self.log_weights - self.log_maximum)
        if mode == "max":
            np.maximum.at(result, cells, weights)
        else:
            np.add.at(result, cells, weights)
        return (result / result.sum()).reshape(sizes)

    def log_weight(self, states: dict[str, np.ndarray]) -> float:
        """Log-weight of one joint state, given as the values of each block."""
        digits = [
            kind_position
            for name, values in states.items()
            for kind_position in np.atleast_1d(self._kinds[self._first[name]].position(np.ravel(values)))
        ]
        sizes = [len(kind.states) for kind in self._kinds]
        return float(self.log_weights[np.ravel_multi_index(digits, sizes)]) if sizes else 0.0


def available_backends(dtype: str = "float64") -> list[Backend]:
    """The backends that can run here, one of each name."""
    found = []
    for name in ("numpy", "array-api-strict", "cupy"):
        try:
            found.append(get_backend(name, dtype))
        except BackendUnavailableError:
            continue
    return found


def check_factor(
    factor: Factor, *types: VariableType, widths: Sequence[int] | None = None, count: int = 3, random_state: int = 0
) -> None:
    """
    Compare a factor type with enumeration.

    Messages, log-partition and joint marginals are compared on random, extreme and zero-probability inputs, in sum and max
    mode, in float64 and float32, with and without a batch, on each backend there is.

    Parameters
    ----------
    factor : Factor
        With a ``log_potential`` or ``log_partition`` to enumerate; keep it small.
    *types : the variable type at each port
    widths : number of variables at each port, default 1 each; more at plural ports
    count : number of factors; must fit the factor's own arrays
    random_state : int

    Raises
    ------
    AssertionError
        Says in words which result is wrong, on what input, and what it should be.

    Examples
    --------
    >>> import factorgraph as fg
    >>> from factorgraph.testing import check_factor
    >>> check_factor(fg.Ising([0.3, -2.0, 1.0]), fg.Spin(), fg.Spin())
    """
    kernel = FactorKernel(factor, types, widths or [1] * len(types), count)
    table = kernel.enumerated()
    table = np.broadcast_to(table, (*table.shape[:-1], count))
    parameters = kernel.parameters()
    rng = np.random.default_rng(random_state)
    for dtype, mode, batch in itertools.product(("float64", "float32"), MODES, (None, 4)):
        for label, weights in _inputs(kernel, batch, rng):
            for backend in available_backends(dtype):
                case = _Case(kernel, table, parameters, weights, batch, Semiring(backend, mode), label)
                with np.errstate(all="ignore"):
                    case.check()


def _inputs(kernel: FactorKernel, batch: int | None, rng: np.random.Generator) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Incoming log-weights of each spread-out port, ``(q, F, *batch)``, largest 0."""
    shape = (kernel.count,) if batch is None else (kernel.count, batch)
    sizes = [len(kind.states) for kind in kernel.spread_types()]
    for label, scale in (("uniform", 0.0), ("random", 1.0), ("extreme", 40.0), ("zero-probability", 1.0)):
        weights = [scale * rng.normal(size=(size, *shape)) for size in sizes]
        if label == "zero-probability":
            for weight in weights:
                ruled_out = rng.random(weight.shape) < 0.4
                ruled_out[rng.integers(len(weight)), ...] = False
                weight[ruled_out] = -np.inf
        yield label, [weight - weight.max(axis=0) for weight in weights]


class _Case:
    """One input on one backend: what the factor gives against what enumeration gives."""

    def __init__(
        self,
        kernel: FactorKernel,
        table: np.ndarray,
        parameters: dict[str, np.ndarray],
        weights: list[np.ndarray],
        batch: int | None,
        semiring: Semiring,
        label: str,
    ) -> None:
        self.kernel, self.semiring, self.label = kernel, semiring, label
        self.backend = semiring.backend
        self.kinds = kernel.spread_types()
        host = get_backend("numpy", "float64")
        tail = () if batch is None else (1,)
        self.parameters = to_device({k: v.reshape(*v.shape, *tail) for k, v in parameters.items()}, self.backend)
        natural = [kind.from_log_weights(weight, host) for kind, weight in zip(self.kinds, weights, strict=True)]
        self.incoming = self._gather([self.backend.asarray(params) for params in natural])
        # What the types themselves make of the natural parameters, in the backend's precision.
        weights = [
            self.backend.to_host(kind.log_weights(self.backend.asarray(params), self.backend)).astype(np.float64)
            for kind, params in zip(self.kinds, natural, strict=True)
        ]
        self.joint = np.broadcast_to(table.reshape(*table.shape, *tail), (*table.shape[:-1], *weights[0].shape[1:]))
        for axis, weight in enumerate(weights):
            shape = (1,) * axis + (len(weight),) + (1,) * (len(weights) - axis - 1) + weight.shape[1:]
            self.joint = self.joint + weight.reshape(shape)
        self.weights = weights
        self.table = table.reshape(*table.shape, *tail)
        finite = [np.abs(w[np.isfinite(w)]).max(initial=0.0) for w in [*weights, table]]
        precision = 1e-10 if self.backend.dtype_name == "float64" else 2e-5
        self.tolerance = precision * (1.0 + sum(finite))

    def _gather(self, arrays: list[Any]) -> list[Any]:
        gathered, rest = [], iter(arrays)
        for port, width in enumerate(self.kernel.widths):
            each = [next(rest) for _ in range(width)]
            axis = len(self.kernel.types[port].param_shape)
            gathered.append(self.backend.xp.stack(each, axis=axis) if port in self.kernel.factor.plural else each[0])
        return gathered

    def _describe(self, what: str) -> str:
        return (
            f"{self.kernel.factor!r}, mode {self.semiring.mode!r}, {self.backend!r}, {self.label} input, "
            f"{'batch' if self.joint.ndim > len(self.kinds) + 1 else 'no batch'}: {what}"
        )

    def _compare(self, what: str, found: np.ndarray, expected: np.ndarray) -> None:
        if found.shape != expected.shape:
            raise AssertionError(self._describe(f"{what} has shape {found.shape}, not {expected.shape}"))
        same = (found == expected) | (np.abs(found - expected) <= self.tolerance)
        if not same.all():
            place = tuple(int(i) for i in np.argwhere(~same)[0])
            raise AssertionError(
                self._describe(f"{what} at {place} is {found[place]:.9g}; enumeration gives {expected[place]:.9g}")
            )

    def _reduce(self, joint: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
        return np.asarray(joint.max(axis=axes) if self.semiring.mode == "max" else logsumexp(joint, axis=axes))

    def check(self) -> None:
        ports = tuple(range(len(self.kernel.types)))
        outgoing = self.kernel.messages(self.incoming, self.parameters, ports, self.semiring)
        if len(outgoing) != len(ports):
            raise AssertionError(self._describe(f"messages returned {len(outgoing)} arrays for {len(ports)} ports"))
        axis = 0
        for port, width in enumerate(self.kernel.widths):
            for slot in range(width):
                self._check_message(port, slot, axis, outgoing[port])
                axis += 1
        states = tuple(range(len(self.kinds)))
        self._check_scale(states)
        if self.kernel.factor.gives("log_potential") or self.kernel.factor.gives("log_partition"):
            expected = np.exp(self.joint - logsumexp(self.joint, axis=states))
            found = self.backend.to_host(self.kernel.marginals(self.incoming, self.parameters, self.semiring))
            possible = self.joint.max(axis=states) > -np.inf
            self._compare("joint marginals", np.where(possible, found, 0.0), np.where(possible, expected, 0.0))

    def _check_message(self, port: int, slot: int, axis: int, outgoing: Any) -> None:
        kind = self.kinds[axis]
        if port in self.kernel.factor.plural:
            outgoing = outgoing[(slice(None),) * len(kind.param_shape) + (slot, ...)]
        others = self._without(axis)
        expected = self._reduce(others, tuple(a for a in range(len(self.kinds)) if a != axis))
        found = self.backend.to_host(kind.log_weights(outgoing, self.backend)).astype(np.float64)
        if found.shape != expected.shape:
            raise AssertionError(self._describe(f"message to port {port} has {found.shape} log-weights, not {expected.shape}"))
        possible = expected.max(axis=0) > -np.inf
        shifted = [np.where(possible, w - np.where(possible, w.max(axis=0), 0.0), 0.0) for w in (found, expected)]
        # A spin far beyond certainty has no more digits than its field.
        self._compare(f"message to port {port}{f', slot {slot}' if self.kernel.widths[port] > 1 else ''}", *shifted)

    def _without(self, axis: int) -> np.ndarray:
        joint = np.broadcast_to(self.table, (*self.table.shape[: len(self.kinds)], *self.weights[0].shape[1:]))
        for other, weight in enumerate(self.weights):
            if other != axis:
                shape = (1,) * other + (len(weight),) + (1,) * (len(self.weights) - other - 1) + weight.shape[1:]
                joint = joint + weight.reshape(shape)
        return joint

    def _check_scale(self, states: tuple[int, ...]) -> None:
        factor = self.kernel.factor
        if not (factor.gives("log_potential") or factor.gives("log_partition")):
            return
        found = self.backend.to_host(self.kernel.log_partition(self.incoming, self.parameters, self.semiring))
        self._compare("log_partition", found.astype(np.float64), self._reduce(self.joint, states))


def check_variable(kind: VariableType, random_state: int = 0) -> None:
    """
    Compare a discrete variable type's methods with enumeration of its states, on each backend and in both precisions.

    Raises
    ------
    AssertionError
        Says in words which method is wrong and on what.

    Examples
    --------
    >>> import factorgraph as fg
    >>> from factorgraph.testing import check_variable
    >>> check_variable(fg.Categorical(4))
    """
    if not isinstance(kind, DiscreteType):
        raise TypeError(f"check_variable enumerates states; {kind!r} has none")
    rng = np.random.default_rng(random_state)
    for dtype in ("float64", "float32"):
        for backend in available_backends(dtype):
            for label, scale in (("random", 1.0), ("extreme", 40.0), ("zero-probability", 1.0)):
                with np.errstate(all="ignore"):
                    _check_variable(kind, backend, label, scale, rng)


def _check_variable(kind: DiscreteType, backend: Backend, label: str, scale: float, rng: np.random.Generator) -> None:
    host = get_backend("numpy", "float64")
    number = 50
    states = len(kind.states)
    weights = scale * rng.normal(size=(2, states, number))
    if label == "zero-probability":
        possible = rng.integers(states, size=number)
        out = rng.random(weights.shape) < 0.4
        out[:, possible, np.arange(number)] = False
        weights[out] = -np.inf
    precision = (1e-10 if backend.dtype_name == "float64" else 2e-5) * (1.0 + 10 * scale)

    def compare(what: str, found: Any, expected: np.ndarray, tolerance: float = precision) -> None:
        values = np.asarray(found, dtype=np.float64)
        if values.shape != expected.shape:
            raise AssertionError(f"{kind!r}, {backend!r}, {label} input: {what} has shape {values.shape}, not {expected.shape}")
        same = (values == expected) | (np.abs(values - expected) <= tolerance)
        if not same.all():
            place = tuple(int(i) for i in np.argwhere(~same)[0])
            raise AssertionError(
                f"{kind!r}, {backend!r}, {label} input: {what} at {place} is {values[place]:.9g}, not {expected[place]:.9g}"
            )

    def shifted(log_weights: np.ndarray) -> np.ndarray:
        return np.asarray(log_weights - log_weights.max(axis=0))

    first, second = (backend.asarray(kind.from_log_weights(w, host)) for w in weights)
    if tuple(first.shape) != (*kind.param_shape, number):
        raise AssertionError(f"{kind!r}: from_log_weights gives shape {first.shape}, not {(*kind.param_shape, number)}")
    back = backend.to_host(kind.log_weights(first, backend))
    compare("log_weights of from_log_weights", shifted(back), shifted(weights[0]))
    product = shifted(weights[0] + weights[1])
    total = [a + b for a, b in zip(kind.split(first, backend), kind.split(second, backend), strict=True)]
    belief = kind.join(total[0], total[1], backend)
    compare("log_weights of a sum of two messages", shifted(backend.to_host(kind.log_weights(belief, backend))), product)
    probabilities = np.exp(product - logsumexp(product, axis=0))
    compare("marginals", backend.to_host(kind.marginals(belief, backend)), probabilities)
    finite, infinite = kind.split(second, backend)
    cavity = kind.join(total[0] - finite, total[1] - infinite, backend)
    compare(
        "cavity after taking a message out",
        shifted(backend.to_host(kind.log_weights(cavity, backend))),
        shifted(weights[0]),
    )
    for mode in MODES:
        semiring = Semiring(backend, mode)
        natural = backend.to_host(kind.log_weights(belief, backend)).astype(np.float64)
        expected = natural.max(axis=0) if mode == "max" else logsumexp(natural, axis=0)
        compare(f"log_partition in mode {mode!r}", backend.to_host(kind.log_partition(belief, semiring)), expected)
    modes = backend.to_host(kind.mode(belief, backend))
    best = np.take_along_axis(product, kind.position(modes)[None], axis=0)[0]
    compare("weight of the mode", best, np.zeros(number))
    values = kind.states[rng.integers(states, size=number)]
    certain = backend.asarray(kind.observe(values))
    compare("marginals of observe", backend.to_host(kind.marginals(certain, backend)), (kind.states[:, None] == values) * 1.0)
