"""Relations of real variables, where a discrete variable selects the relation."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors.base import Factor, Parameters
from factorgraph.factors.linear_gaussian import LinearGaussian
from factorgraph.semiring import Semiring
from factorgraph.variables import DiscreteType, VariableType


class Switch(Factor):
    """
    Several linear relations of normal variables, of which the state of a discrete variable selects one.

    The first port takes the discrete variable, and the others take the normal variables. The message to the discrete variable
    is exact: the likelihood of the incoming messages under each relation. A belief about a normal variable is a mixture with
    one part for each relation. The message to it is the normal density with which the belief keeps the mean and variance of
    this mixture (expectation propagation). It may have a negative precision if the relations disagree. So a graph with such
    factors needs iterations even if it is a forest.

    Parameters
    ----------
    relations : sequence of LinearGaussian
        One for each state, each with as many coefficients as there are normal variables.

    Examples
    --------
    A sensor that fails now and then, and then shows anything:

    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> level = graph.add_variables("level", fg.Gaussian(), 1)
    >>> works = graph.add_variables("works", fg.Categorical(["no", "yes"]), 3)
    >>> graph.set_prior(level, fg.Gaussian.from_moments(0.0, 4.0))
    >>> graph.set_prior(works, [-3.0, 0.0])
    >>> shown = [1.0, 1.2, 9.0]
    >>> sensor = fg.Switch([fg.LinearGaussian([1.0], 100.0, shown), fg.LinearGaussian([1.0], 0.1, shown)])
    >>> _ = graph.add_factors("sensor", sensor, works, level[[0, 0, 0]])
    >>> result = fg.run(graph)
    >>> result.mode(works).tolist()
    ['yes', 'yes', 'no']
    >>> result.mean(level).round(2).tolist()
    [1.09]
    """

    approximates = True

    def __init__(self, relations: Sequence[LinearGaussian]) -> None:
        self.relations = list(relations)
        if not self.relations or not all(isinstance(relation, LinearGaussian) for relation in self.relations):
            raise TypeError(f"relations must be LinearGaussian, one for each state, not {relations!r}")

    def __repr__(self) -> str:
        return f"Switch({len(self.relations)} relations)"

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        if len(types) < 2 or not isinstance(types[0], DiscreteType):
            raise TypeError(f"Switch takes a discrete variable and then normal ones, not {list(types)}")
        self._kind = types[0]
        if len(self._kind.states) != len(self.relations):
            raise ValueError(
                f"there are {len(self.relations)} relations for {len(self._kind.states)} states; give one for each state"
            )
        self._numbers = types[1:]
        self.relations = [copy.copy(relation) for relation in self.relations]
        for state, relation in enumerate(self.relations):
            try:
                relation.bind(types[1:], widths[1:], count)
            except (ValueError, TypeError) as error:
                raise type(error)(f"relation {state}: {error}") from error

    def merge_key(self) -> Hashable:
        return tuple(relation.merge_key() for relation in self.relations)

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        return {
            f"{name}_{state}": array
            for state, relation in enumerate(self.relations)
            for name, array in relation.parameters(types[1:], count).items()
        }

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return any(
            relation.can_be_hard(_of_state(parameters, state)) or relation.passes_certainty(_of_state(parameters, state))
            for state, relation in enumerate(self.relations)
        )

    def given(self, state: int) -> Factor:
        return self.relations[state]

    def log_potential(self, *values: np.ndarray) -> np.ndarray:
        """Log-density of the noise of the selected relation."""
        places = self._kind.position(values[0])
        each = [relation.log_potential(*values[1:]) for relation in self.relations]
        return np.asarray(np.select([places == state for state in range(len(each))], each))

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        if semiring.mode == "max":
            raise ValueError("Switch has messages only in sum mode")
        xp, backend = semiring.xp, semiring.backend
        numbers = incoming[1:]
        masses = xp.stack(self._masses(numbers, parameters, semiring))
        # Where too little is known of the normal variables to tell the relations apart, none is said to be likelier.
        unknown = xp.any((masses != masses) | (masses == xp.inf), axis=0)
        masses = xp.where(unknown, xp.zeros_like(masses), masses)
        given = masses + self._kind.log_weights(incoming[0], backend)
        shares = xp.exp(given - backend.log_sum_exp(given, axis=0))
        asked = [port - 1 for port in ports if port]
        each = [
            relation.messages(numbers, _of_state(parameters, state), asked, semiring)
            for state, relation in enumerate(self.relations)
        ]
        outgoing: list[Array] = []
        for port in ports:
            if not port:
                outgoing.append(self._kind.from_log_weights(masses, backend))
                continue
            of_port = [found[asked.index(port - 1)] for found in each]
            outgoing.append(_collapsed(self._numbers[port - 1], numbers[port - 1], of_port, shares, semiring))
        return outgoing

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        masses = semiring.xp.stack(self._masses(incoming[1:], parameters, semiring))
        return semiring.sum(masses + self._kind.log_weights(incoming[0], semiring.backend), axis=0)

    def _masses(self, numbers: Sequence[Array], parameters: Parameters, semiring: Semiring) -> list[Array]:
        """Log-partition with each relation."""
        return [
            relation.log_partition(numbers, _of_state(parameters, state), semiring)
            for state, relation in enumerate(self.relations)
        ]


def _of_state(parameters: Mapping[str, Any], state: int) -> dict[str, Any]:
    """Parameters of one relation."""
    end = f"_{state}"
    return {name.removesuffix(end): array for name, array in parameters.items() if name.endswith(end)}


def _collapsed(kind: VariableType, cavity: Array, messages: Sequence[Array], shares: Array, semiring: Semiring) -> Array:
    """What is to be sent, so that the belief has the first and second moments of the mixture."""
    xp, backend = semiring.xp, semiring.backend
    finite, infinite = kind.split(cavity, backend)
    mixed = whole = None
    for state, message in enumerate(messages):
        share = shares[state, ...]
        more, also = kind.split(message, backend)
        moments = kind.mean(kind.join(finite + more, infinite + also, backend), backend)
        moments = xp.where(share > 0, moments, xp.zeros_like(moments))  # of what is ruled out
        if mixed is None or whole is None:
            mixed, whole = moments, share
            continue
        whole = whole + share
        mixed = kind.mix_means(mixed, moments, share / xp.where(whole > 0, whole, xp.ones_like(whole)))
    assert mixed is not None
    belief, certain = kind.split(kind.from_mean(mixed, backend), backend)
    message = kind.join(belief - finite, certain - infinite, backend)
    silent = message != message
    for _ in kind.param_shape:
        silent = xp.any(silent, axis=0)
    return xp.where(silent, xp.zeros_like(message), message)
