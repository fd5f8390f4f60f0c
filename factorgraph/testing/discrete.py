"""Checks of discrete node types against enumeration of their states."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import logsumexp

from factorgraph.backends import HOST, Backend, BackendUnavailableError, KernelBackend, get_backend
from factorgraph.factors.bound import BoundFactor, to_device
from factorgraph.graph import FactorGraph
from factorgraph.inference import Inference
from factorgraph.schedules import Flooding
from factorgraph.semiring import MODES, Semiring
from factorgraph.variables import DiscreteType, VariableType


def available_backends(dtype: str = "float64") -> list[Backend]:
    """Return the backends that can run on this machine, one of each name."""
    found = []
    for name in ("numpy", "array-api-strict", "compiled", "cupy"):
        try:
            found.append(get_backend(name, dtype))
        except BackendUnavailableError:
            continue
    return found


def check_discrete_factor(bound: BoundFactor, random_state: int) -> None:
    """`check_factor` for variables with states."""
    table = bound.enumerated()
    table = np.broadcast_to(table, (*table.shape[:-1], bound.count))
    parameters = bound.parameters()
    rng = np.random.default_rng(random_state)
    for dtype, mode, batch in itertools.product(("float64", "float32"), MODES, (None, 4)):
        for label, weights in _inputs(bound, batch, rng):
            for backend in available_backends(dtype):
                case = _Case(bound, table, parameters, weights, batch, Semiring(backend, mode), label)
                with np.errstate(all="ignore"):
                    case.check()
            if label != "zero-probability":
                check_device_messages(bound, [np.moveaxis(w, 1, 0) for w in weights], dtype, mode, batch)


def check_device_messages(bound: BoundFactor, weights: list[np.ndarray], dtype: str, mode: str, batch: int | None) -> None:
    """
    One step on backends with kernels, where messages are those of `Factor.device_messages`, against the same on NumPy.

    Parameters
    ----------
    weights : one (F, q, *batch) array of incoming log-weights for each variable of a factor, finite
    """
    backends = [backend for backend in available_backends(dtype) if isinstance(backend, KernelBackend)]
    if not bound.device_messages(mode) or not backends:
        return
    graph, rest = FactorGraph(), iter(zip(bound.spread_types(), weights, strict=True))
    ports, priors = [], []
    for number, (kind, width) in enumerate(zip(bound.types, bound.widths, strict=True)):
        plural = number in bound.plural
        ports.append(graph.add_variables(f"port{number}", kind, (bound.count, width) if plural else bound.count))
        each = []
        for _ in range(width):
            spread, weight = next(rest)
            params = spread.from_log_weights(np.moveaxis(weight, 0, 1), HOST)  # (*param_shape, F, *batch)
            each.append(params if batch is None else np.moveaxis(params, -1, 0))
        lead = 0 if batch is None else 1
        stacked = np.stack(each, axis=-1) if plural else each[0]
        first = lead + len(kind.param_shape)
        for _ in kind.param_shape:  # users have the parameters last
            stacked = np.moveaxis(stacked, lead, -1)
            first -= 1
        priors.append(stacked)
    graph.add_factors("factor", bound.factor, *ports)
    beliefs = []
    for backend in (HOST, *backends):
        inference = Inference(graph, Flooding(), backend=backend, mode=mode, batch=batch)
        for port, prior in zip(ports, priors, strict=True):
            inference.set_prior(port, prior)
        inference.step()
        if backend is not HOST and not inference.state.fused:
            return  # a message may be infinite: it is left to array operations
        beliefs.append([inference.state.belief(port) for port in ports])
    with np.errstate(invalid="ignore"):
        for backend, found in zip(backends, beliefs[1:], strict=True):
            for number, (mine, theirs) in enumerate(zip(found, beliefs[0], strict=True)):
                _compare_beliefs(f"{bound.factor!r}, mode {mode!r}, {backend!r}", number, bound.types[number], mine, theirs)


def _compare_beliefs(case: str, port: int, kind: VariableType, mine: np.ndarray, theirs: np.ndarray) -> None:
    if kind.param_shape:  # known up to a constant
        mine, theirs = mine - mine.max(axis=-1, keepdims=True), theirs - theirs.max(axis=-1, keepdims=True)
    tolerance = (2e-5 if "float32" in case else 1e-10) * (1.0 + 4 * float(np.abs(theirs).max()))
    wrong = ~((mine == theirs) | (np.abs(mine - theirs) <= tolerance))
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{case}: with device_messages the belief at port {port}, {place} is {mine[place]:.9g}; "
            f"with messages it is {theirs[place]:.9g}"
        )


def _inputs(bound: BoundFactor, batch: int | None, rng: np.random.Generator) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Incoming log-weights of each spread-out port, ``(q, F, *batch)``, largest 0."""
    shape = (bound.count,) if batch is None else (bound.count, batch)
    sizes = [len(kind.states) for kind in bound.spread_types()]
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
        bound: BoundFactor,
        table: np.ndarray,
        parameters: dict[str, np.ndarray],
        weights: list[np.ndarray],
        batch: int | None,
        semiring: Semiring,
        label: str,
    ) -> None:
        self.bound, self.semiring, self.label = bound, semiring, label
        self.backend = semiring.backend
        self.kinds = bound.spread_types()
        tail = () if batch is None else (1,)
        self.parameters = to_device({k: v.reshape(*v.shape, *tail) for k, v in parameters.items()}, self.backend)
        natural = [kind.from_log_weights(weight, HOST) for kind, weight in zip(self.kinds, weights, strict=True)]
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
        for port, width in enumerate(self.bound.widths):
            each = [next(rest) for _ in range(width)]
            axis = len(self.bound.types[port].param_shape)
            gathered.append(self.backend.xp.stack(each, axis=axis) if port in self.bound.plural else each[0])
        return gathered

    def _describe(self, what: str) -> str:
        return (
            f"{self.bound.factor!r}, mode {self.semiring.mode!r}, {self.backend!r}, {self.label} input, "
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
        ports = tuple(range(len(self.bound.types)))
        outgoing = self.bound.messages(self.incoming, self.parameters, ports, self.semiring)
        if len(outgoing) != len(ports):
            raise AssertionError(self._describe(f"messages returned {len(outgoing)} arrays for {len(ports)} ports"))
        axis = 0
        for port, width in enumerate(self.bound.widths):
            for slot in range(width):
                self._check_message(port, slot, axis, outgoing[port])
                axis += 1
        states = tuple(range(len(self.kinds)))
        self._check_scale(states)
        if self.bound.factor.gives("log_potential") or self.bound.factor.gives("log_partition"):
            expected = np.exp(self.joint - logsumexp(self.joint, axis=states))
            found = self.backend.to_host(self.bound.marginals(self.incoming, self.parameters, self.semiring))
            possible = self.joint.max(axis=states) > -np.inf
            self._compare("joint marginals", np.where(possible, found, 0.0), np.where(possible, expected, 0.0))

    def _check_message(self, port: int, slot: int, axis: int, outgoing: Any) -> None:
        kind = self.kinds[axis]
        if port in self.bound.plural:
            outgoing = outgoing[(slice(None),) * len(kind.param_shape) + (slot, ...)]
        others = self._without(axis)
        expected = self._reduce(others, tuple(a for a in range(len(self.kinds)) if a != axis))
        found = self.backend.to_host(kind.log_weights(outgoing, self.backend)).astype(np.float64)
        if found.shape != expected.shape:
            raise AssertionError(self._describe(f"message to port {port} has {found.shape} log-weights, not {expected.shape}"))
        possible = expected.max(axis=0) > -np.inf
        shifted = [np.where(possible, w - np.where(possible, w.max(axis=0), 0.0), 0.0) for w in (found, expected)]
        # A spin far beyond certainty has no more digits than its field.
        self._compare(f"message to port {port}{f', slot {slot}' if self.bound.widths[port] > 1 else ''}", *shifted)

    def _without(self, axis: int) -> np.ndarray:
        joint = np.broadcast_to(self.table, (*self.table.shape[: len(self.kinds)], *self.weights[0].shape[1:]))
        for other, weight in enumerate(self.weights):
            if other != axis:
                shape = (1,) * other + (len(weight),) + (1,) * (len(self.weights) - other - 1) + weight.shape[1:]
                joint = joint + weight.reshape(shape)
        return joint

    def _check_scale(self, states: tuple[int, ...]) -> None:
        factor = self.bound.factor
        if not (factor.gives("log_potential") or factor.gives("log_partition")):
            return
        found = self.backend.to_host(self.bound.log_partition(self.incoming, self.parameters, self.semiring))
        self._compare("log_partition", found.astype(np.float64), self._reduce(self.joint, states))


def check_discrete_variable(kind: DiscreteType, random_state: int) -> None:
    """`check_variable` for types with states."""
    rng = np.random.default_rng(random_state)
    for dtype in ("float64", "float32"):
        for backend in available_backends(dtype):
            for label, scale in (("random", 1.0), ("extreme", 40.0), ("zero-probability", 1.0)):
                with np.errstate(all="ignore"):
                    _check_variable(kind, backend, label, scale, rng)


def _check_variable(kind: DiscreteType, backend: Backend, label: str, scale: float, rng: np.random.Generator) -> None:
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

    first, second = (backend.asarray(kind.from_log_weights(w, HOST)) for w in weights)
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
