"""Effects of several causes, each of which may fail to act: noisy-or and noisy-max."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors.base import Factor, Parameters
from factorgraph.factors.maximum import Largest
from factorgraph.semiring import Semiring
from factorgraph.variables import Categorical, VariableType

_MOST_ENTRIES = 1 << 16  # joint states of a factor in max mode


class NoisyMax(Factor):
    """
    A categorical effect with several causes. Each cause acts independently and at random, and the effect is the gravest result.

    ``P(effect | causes)`` is the distribution of the largest of ``a_0, a_1, ..., a_d``. The number a_i is drawn with the
    probabilities that link i has for the state of cause i. The number a_0 is drawn with the probabilities of the leak, which
    stands for all causes that are not in the model (Diez 1993). State 0 means "no effect", and later states are graver.

    The ports are the causes (plural, all with the same number of states) and the effect. In sum mode, a message costs O(d),
    because the a_i are summed out one by one. In max mode this is not possible, and the table of all causes is used, with at
    most 65,536 joint states.

    Parameters
    ----------
    links : array
        ``(d, q_cause, q_effect)`` or ``(F, d, q_cause, q_effect)``: probabilities of what each cause does, for each of its
        states.
    leak : array, optional
        ``(q_effect,)`` or ``(F, q_effect)`` probabilities. Default: nothing happens without a cause.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> causes = graph.add_variables("causes", fg.Categorical(2), 2)
    >>> effect = graph.add_variables("effect", fg.Categorical(["none", "mild", "severe"]))
    >>> links = [[[1, 0, 0], [0.5, 0.3, 0.2]], [[1, 0, 0], [0.2, 0.8, 0.0]]]
    >>> _ = graph.add_factors("illness", fg.NoisyMax(links), causes, effect)
    >>> graph.observe(causes, 1)
    >>> fg.run(graph).marginals(effect).round(3).tolist()             # severe by the first alone; none if both fail
    [0.1, 0.7, 0.2]
    """

    plural: ClassVar[tuple[int, ...]] = (0,)
    arity: ClassVar[int | None] = 2

    def __init__(self, links: Any, leak: Any = None) -> None:
        self._links = np.array(links, dtype=np.float64)
        self._leak = None if leak is None else np.array(leak, dtype=np.float64)

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        name = type(self).__name__
        for port, kind in enumerate(types):
            if not isinstance(kind, Categorical):
                raise TypeError(f"{name} takes categorical variables, but port {port} has {kind!r}")
        causes, effect = (kind.num_states for kind in types if isinstance(kind, Categorical))
        shape = (widths[0], causes, effect)
        if self._links.shape not in (shape, (count, *shape)):
            raise ValueError(
                f"links have shape {self._links.shape}; expected {shape}, or {(count, *shape)}, one for each factor"
            )
        if self._leak is not None and self._leak.shape not in ((effect,), (count, effect)):
            raise ValueError(f"leak has shape {self._leak.shape}; expected {(effect,)} or {(count, effect)}")
        for label, rows in (("links", self._links), ("leak", self._leak)):
            if rows is not None and not ((rows >= 0).all() and np.allclose(rows.sum(axis=-1), 1.0, atol=1e-6)):
                raise ValueError(f"{label} must be probabilities, which are at least 0 and add up to 1 along the last axis")

    def merge_key(self) -> Hashable:
        return ()

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        links, leak = self._arrays()
        with np.errstate(divide="ignore"):
            return {"links": np.log(links), "leak": np.log(leak)}

    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities with the factors last: ``(q_cause, q_effect, d, F)`` and ``(q_effect, 1, F)``."""
        links = self._links[None] if self._links.ndim == 3 else self._links
        leak = np.eye(links.shape[-1])[:1] if self._leak is None else np.atleast_2d(self._leak)
        return np.transpose(links, (2, 3, 1, 0)), leak.T[:, None]

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return not all(np.isfinite(array).all() for array in parameters.values())

    def passes_certainty(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return True

    def log_potential(self, *states: np.ndarray) -> np.ndarray:
        links, leak = self._arrays()
        *causes, effect = states
        law = [leak[state, 0] for state in range(len(leak))]
        for number, cause in enumerate(causes):
            law = _larger(law, [links[cause[..., 0], state, number] for state in range(len(leak))])
        found: Any = 0.0
        for state, probability in enumerate(law):
            found = np.where(effect == state, probability, found)
        with np.errstate(divide="ignore"):
            return np.log(found)

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        if semiring.mode == "max":
            return self._messages_by_table(incoming, parameters, ports, semiring)
        largest = Largest(semiring)
        levels = largest.up(self._acts(incoming[0], parameters, semiring))
        found = {}
        if 1 in ports:
            found[1] = levels[-1][:, 0, ...]
        if 0 in ports:
            heard = largest.down(levels, semiring.xp.expand_dims(incoming[1], axis=1))[:, 1:, ...]  # but for the leak
            found[0] = semiring.sum(parameters["links"] + semiring.xp.expand_dims(heard, axis=0), axis=1)
        return [found[port] for port in ports]

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        if semiring.mode == "max":
            return semiring.sum(self._messages_by_table(incoming, parameters, [1], semiring)[0] + incoming[1], axis=0)
        levels = Largest(semiring).up(self._acts(incoming[0], parameters, semiring))
        return semiring.sum(levels[-1][:, 0, ...] + incoming[1], axis=0)

    def _acts(self, causes: Array, parameters: Parameters, semiring: Semiring) -> Array:
        """Log-weights of what the leak and each cause do, ``(q_effect, 1 + d, F)``."""
        xp = semiring.xp
        acts = semiring.sum(parameters["links"] + xp.expand_dims(causes, axis=1), axis=0)
        return xp.concat([parameters["leak"] + xp.zeros_like(acts[:, :1, ...]), acts], axis=1)

    def _messages_by_table(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        """Messages from the table of all joint states."""
        xp, number = semiring.xp, incoming[0].shape[1]
        table = self._table(number, parameters, semiring)
        sent = [incoming[0][:, place, ...] for place in range(number)] + [incoming[1]]
        along = [
            xp.reshape(one, (*(1,) * axis, one.shape[0], *(1,) * (number - axis), *one.shape[1:]))
            for axis, one in enumerate(sent)
        ]

        def to(target: int) -> Array:
            total = table
            for axis, one in enumerate(along):
                total = total if axis == target else total + one
            for axis in reversed(range(number + 1)):
                total = total if axis == target else semiring.sum(total, axis=axis)
            return total

        found = {0: lambda: xp.stack([to(place) for place in range(number)], axis=1), 1: lambda: to(number)}
        return [found[port]() for port in ports]

    def _table(self, number: int, parameters: Parameters, semiring: Semiring) -> Array:
        """Log-probabilities of the effect given all causes, ``(q_cause, ..., q_cause, q_effect, F)``."""
        xp = semiring.xp
        links, leak = xp.exp(parameters["links"]), xp.exp(parameters["leak"])
        entries = links.shape[0] ** number * links.shape[1]
        if entries > _MOST_ENTRIES:
            raise ValueError(
                f"{type(self).__name__} of {number} causes has {entries:,} joint states; in max mode, when it is a table, it "
                f"may have at most {_MOST_ENTRIES:,}"
            )
        law = [leak[state, 0, ...] for state in range(leak.shape[0])]
        for place in range(number):
            acts = [links[:, state, place, ...] for state in range(leak.shape[0])]
            law = [xp.expand_dims(one, axis=place) for one in law]
            law = _larger(law, [xp.reshape(one, (*(1,) * place, *one.shape)) for one in acts])
        return xp.log(xp.stack(law, axis=number))


class NoisyOr(NoisyMax):
    """
    A binary effect of binary causes. Each cause produces the effect with a probability of its own.

    ``P(no effect | causes) = (1 - leak) prod_i (1 - strength_i)``, where the product runs over the causes in state 1 (Pearl
    1988). Ports and costs are those of `NoisyMax`. All variables are ``Categorical(2)``.

    Parameters
    ----------
    strengths : array
        ``(d,)`` or ``(F, d)``: probability that the cause alone produces the effect.
    leak : float or (F,) array, default 0
        Probability of the effect without any of the causes.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> diseases = graph.add_variables("diseases", fg.Categorical(2), 2)
    >>> fever = graph.add_variables("fever", fg.Categorical(2))
    >>> _ = graph.add_factors("symptom", fg.NoisyOr([0.9, 0.5], leak=0.01), diseases, fever)
    >>> graph.set_prior(diseases, [[0.0, -3.0], [0.0, -2.0]])         # log-odds of -3 and -2
    >>> graph.observe(fever, 1)
    >>> fg.run(graph).marginals(diseases)[:, 1].round(2).tolist()
    [0.4, 0.58]
    """

    def __init__(self, strengths: Any, leak: Any = 0.0) -> None:
        strong, leaks = np.array(strengths, dtype=np.float64), np.array(leak, dtype=np.float64)
        if strong.ndim not in (1, 2) or leaks.ndim > 1:
            raise ValueError(
                f"strengths must be (d,) or (F, d) and leak a number or (F,), not of shapes {strong.shape} and {leaks.shape}"
            )
        for label, values in (("strengths", strong), ("leak", leaks)):
            if not ((values >= 0) & (values <= 1)).all():
                raise ValueError(f"{label} must be probabilities, from 0 to 1, not {np.asarray(values).tolist()}")
        nothing = np.broadcast_to([1.0, 0.0], (*strong.shape, 2))
        self._strengths = strong
        super().__init__(
            np.stack([nothing, np.stack([1.0 - strong, strong], axis=-1)], axis=-2), np.stack([1.0 - leaks, leaks], axis=-1)
        )

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        if self._strengths.shape not in ((widths[0],), (count, widths[0])):
            expected = f"{(widths[0],)}, or {(count, widths[0])}, one for each cause"
            raise ValueError(f"strengths have shape {self._strengths.shape}; expected {expected}")
        super().bind(types, widths, count)


def _larger(left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    """Law of the larger of two, state by state, from their laws: nothing is subtracted, so that what cannot be is 0."""
    found = []
    up_to_left: Any = 0.0
    up_to_right: Any = 0.0
    for one, other in zip(left, right, strict=True):
        up_to_right = up_to_right + other
        found.append(one * up_to_right + up_to_left * other)
        up_to_left = up_to_left + one
    return found
