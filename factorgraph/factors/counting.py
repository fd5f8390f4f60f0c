"""Factors that depend only on how many of their spins are +1: cardinalities and logical factors."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors.base import DeviceMessages, Factor, Parameters
from factorgraph.factors.bound import check_log_potentials, check_spins
from factorgraph.factors.combining import Combination
from factorgraph.factors.counting_source import counting_source
from factorgraph.semiring import Semiring
from factorgraph.variables import Spin, VariableType

_SPIN = Spin()


class Counting(Factor):
    """
    Base class of factors whose potential is a function of the number of true literals among d spins.

    A literal is a spin, which is true if it is +1, or its negation. If the potential is the same from some count on, these
    counts are one state. With S states in total, a message costs O(S): constant for `Or`, `And` and `ExactlyOne`, linear in k
    for `AtMost`, and linear in d for a general `Cardinality`. Every message has full relative accuracy for all inputs (of the
    order of the rounding error of the type times the largest log-weight): nothing is subtracted, and where plain numbers would
    underflow, logarithms are summed.

    Parameters
    ----------
    literals : array of +1 and -1 that broadcasts to (F, d), default 1
        -1 negates a spin in a factor.
    """

    plural: ClassVar[tuple[int, ...]] = (0,)
    pointwise: ClassVar[bool] = True
    takes_output: ClassVar[bool] = False

    def __init__(self, literals: Any = 1) -> None:
        self.literals = np.array(literals)

    def count_potentials(self, width: int) -> np.ndarray:
        """Log-potentials of the counts 0 to d: ``(d + 1, F or 1)``. With an output port, ``(2, d + 1, F or 1)``."""
        raise NotImplementedError

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        name = type(self).__name__
        if len(types) != 1 and not (self.takes_output and len(types) == 2):
            takes = "the spins, and after them one output spin if wanted" if self.takes_output else "one port of several spins"
            raise ValueError(f"{name} takes {takes}, not {len(types)} ports")
        check_spins(self, types)
        if not np.isin(self.literals, (1, -1)).all():
            raise ValueError(f"literals of {name} must be +1 or -1")
        try:
            np.broadcast_to(self.literals, (count, widths[0]))
        except ValueError:
            shape = self.literals.shape
            raise ValueError(f"literals has shape {shape}; expected one that broadcasts to {(count, widths[0])}") from None
        self._width, self._has_output, self._count = widths[0], len(types) == 2, count

    def merge_key(self) -> Hashable:
        return ()

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        counts = self.count_potentials(self._width)
        check_log_potentials(np.moveaxis(counts, -2, 0))
        states = self._width + 1
        while states > 2 and (counts[..., states - 1, :] == counts[..., states - 2, :]).all():
            states -= 1
        literals = np.broadcast_to(self.literals, (1 if self.literals.ndim < 2 else count, self._width)).T
        return {"counts": counts[..., :states, :], "literals": literals.astype(np.float64)}

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        # A spin meets any count of the others: from these on if it is false, from one more if it is true.
        counts = parameters["counts"]
        outputs = counts if counts.ndim == 2 else counts.max(axis=0)
        false, true = outputs[: self._width], outputs[1:]
        impossible = [np.isneginf(part.max(axis=0)).any() for part in (false, true) if len(part)]
        return any(impossible) or bool(counts.ndim == 3 and np.isneginf(counts.max(axis=1)).any())

    def passes_certainty(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return bool(np.isneginf(parameters["counts"]).any())

    def log_potential(self, *spins: np.ndarray) -> np.ndarray:
        counts = self.count_potentials(self._width)
        literals = np.broadcast_to(self.literals, (*self.literals.shape[:-1], self._width))
        number: Any = 0
        for slot in range(self._width):
            number = number + (spins[slot] * literals[..., slot] > 0)
        table = counts if counts.ndim == 2 else np.moveaxis(counts, 0, 1)
        factor = np.arange(table.shape[-1])
        if not self._has_output:
            return table[number, factor]
        return table[number, (spins[-1] > 0) * 1, factor]

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        counting, levels, potentials = self._levels(incoming, parameters, semiring)
        outgoing = []
        for port in ports:
            if port == 0:
                root = self._with_output(incoming, potentials, semiring)
                heard = counting.down(levels, semiring.xp.expand_dims(root, axis=1))
                outgoing.append(_SPIN.from_log_weights(heard, semiring.backend) * parameters["literals"])
            else:
                sums = [semiring.sum(levels[-1][:, 0, ...] + potential, axis=0) for potential in potentials]
                outgoing.append(_SPIN.from_log_weights(semiring.xp.stack(sums), semiring.backend))
        return outgoing

    def device_messages(self, types: Sequence[VariableType], widths: Sequence[int], mode: str) -> DeviceMessages:
        states = self.parameters(types, self._count)["counts"].shape[-2]
        return counting_source(self._width, states, self._has_output, mode)

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        _, levels, potentials = self._levels(incoming, parameters, semiring)
        return semiring.sum(levels[-1][:, 0, ...] + self._with_output(incoming, potentials, semiring), axis=0)

    def _levels(
        self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring
    ) -> tuple[_Count, list[Array], list[Array]]:
        """The combination, what the inputs say level by level, and the potential of each count for each output."""
        counts = parameters["counts"]
        potentials = [counts[0, ...], counts[1, ...]] if self._has_output else [counts]
        counting = _Count(semiring, potentials[0].shape[0])
        return counting, counting.up(_SPIN.log_weights(incoming[0] * parameters["literals"], semiring.backend)), potentials

    def _with_output(self, incoming: Sequence[Array], potentials: list[Array], semiring: Semiring) -> Array:
        """Potential of each count, summed over the output where there is one, ``(S, F)``."""
        if not self._has_output:
            shape = (potentials[0].shape[0], *incoming[0].shape[1:])
            return semiring.xp.broadcast_to(potentials[0], shape)
        weights = _SPIN.log_weights(incoming[1], semiring.backend)
        return semiring.add(potentials[0] + weights[0, ...], potentials[1] + weights[1, ...])


class Cardinality(Counting):
    """
    Any function of the number of true literals among d spins.

    A literal is a spin, which is true if it is +1, or its negation.

    Parameters
    ----------
    log_potentials : array or callable
        ``(d + 1,)`` log-potentials of the counts 0 to d, or ``(F, d + 1)`` with one row for each factor. -inf rules a count
        out. A callable is a vectorised function of the count.
    literals : array of +1 and -1 that broadcasts to (F, d), default 1
        -1 negates a spin in a factor.

    Examples
    --------
    >>> import numpy as np, factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Spin(), shape=(20,))
    >>> _ = graph.add_factors("half", fg.Cardinality(lambda count: -((count - 10.0) ** 2)), x[None])
    >>> abs(fg.run(graph).mean(x)).max() < 1e-12
    np.True_
    """

    def __init__(self, log_potentials: Any, literals: Any = 1) -> None:
        super().__init__(literals)
        self._function: Callable[[np.ndarray], Any] | None = log_potentials if callable(log_potentials) else None
        self._array = None if self._function else np.array(log_potentials, dtype=np.float64)

    def __repr__(self) -> str:
        if self._array is None:
            return f"Cardinality({getattr(self._function, '__name__', 'a function')})"
        return f"Cardinality(array of shape {self._array.shape})"

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        super().bind(types, widths, count)
        states = widths[0] + 1
        if self._array is not None and self._array.shape not in ((states,), (count, states)):
            raise ValueError(
                f"log_potentials has shape {self._array.shape}; expected ({states},), one for each count of {widths[0]} spins, "
                f"or {(count, states)}"
            )

    def count_potentials(self, width: int) -> np.ndarray:
        if self._array is None:
            assert self._function is not None
            values = np.broadcast_to(np.asarray(self._function(np.arange(width + 1)), dtype=np.float64), (width + 1,))
            return values[:, None]
        return self._array[:, None] if self._array.ndim == 1 else self._array.T


class Or(Counting):
    """
    At least one literal is true: a clause. If there is a second port, its spin is an output that says whether one is true.

    A literal is a spin, which is true if it is +1, or its negation.

    Parameters
    ----------
    literals : array of +1 and -1 that broadcasts to (F, d), default 1
        -1 negates a spin in a factor.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Spin(), shape=(3,))
    >>> _ = graph.add_factors("clauses", fg.Or([[1, -1], [1, 1]]), x[[[0, 1], [1, 2]]])   # (x0 or not x1), (x1 or x2)
    >>> round(fg.run(graph).log_partition, 4)                                            # 4 of 8 states
    1.3863
    """

    takes_output: ClassVar[bool] = True

    def count_potentials(self, width: int) -> np.ndarray:
        satisfied = _log(np.arange(width + 1) >= 1)[:, None]
        return np.stack([_log(~np.isfinite(satisfied)), satisfied]) if self._has_output else satisfied


class And(Counting):
    """
    All literals are true. If there is a second port, its spin is an output that says whether all are true.

    A literal is a spin, which is true if it is +1, or its negation.

    Parameters
    ----------
    literals : array of +1 and -1 that broadcasts to (F, d), default 1
        -1 negates a spin in a factor.
    """

    takes_output: ClassVar[bool] = True

    # All are true where none of the negations is: counted so, two states are enough.

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        parameters = super().parameters(types, count)
        negated = _log(np.arange(min(self._width, 1) + 1) == 0)[:, None]
        parameters["counts"] = np.stack([_log(~np.isfinite(negated)), negated]) if self._has_output else negated
        parameters["literals"] = -parameters["literals"]
        return parameters

    def count_potentials(self, width: int) -> np.ndarray:
        satisfied = _log(np.arange(width + 1) == width)[:, None]
        return np.stack([_log(~np.isfinite(satisfied)), satisfied]) if self._has_output else satisfied


class ExactlyOne(Counting):
    """
    Exactly one literal is true. A literal is a spin, which is true if it is +1, or its negation.

    Parameters
    ----------
    literals : array of +1 and -1 that broadcasts to (F, d), default 1
        -1 negates a spin in a factor.
    """

    def count_potentials(self, width: int) -> np.ndarray:
        return _log(np.arange(width + 1) == 1)[:, None]


class AtMost(Counting):
    """
    At most k literals are true. A literal is a spin, which is true if it is +1, or its negation.

    Parameters
    ----------
    k : int, at least 0
    literals : array of +1 and -1 that broadcasts to (F, d), default 1
        -1 negates a spin in a factor.
    """

    def __init__(self, k: int, literals: Any = 1) -> None:
        super().__init__(literals)
        if not isinstance(k, (int, np.integer)) or k < 0:
            raise ValueError(f"AtMost needs a whole number of at least 0, not {k!r}")
        self.k = int(k)

    def __repr__(self) -> str:
        return f"AtMost({self.k})"

    def count_potentials(self, width: int) -> np.ndarray:
        return _log(np.arange(width + 1) <= self.k)[:, None]


def _log(allowed: np.ndarray) -> np.ndarray:
    return np.where(allowed, 0.0, -np.inf)


class _Count(Combination):
    """Log-weights of each count, ``(S, n, F)``; the last of ``limit`` states stands for that many or more."""

    axis = 1

    def __init__(self, semiring: Semiring, limit: int) -> None:
        super().__init__(semiring)
        self.limit = limit

    def combine(self, left: Array, right: Array) -> Array:
        semiring, full = self.semiring, left.shape[0] + right.shape[0] - 1
        total = semiring.backend.log_convolve(left, right, 0, full, semiring.mode)
        if full <= self.limit:
            return total
        last = semiring.sum(total[self.limit - 1 :, ...], axis=0)
        return semiring.xp.concat([total[: self.limit - 1, ...], semiring.xp.expand_dims(last, axis=0)], axis=0)

    def outside(self, parent: Array, sibling: Array, like: Array) -> Array:
        xp, states = self.semiring.xp, like.shape[0]
        missing = states + sibling.shape[0] - 1 - parent.shape[0]
        if missing > 0:
            last = xp.broadcast_to(parent[-1:, ...], (missing, *parent.shape[1:]))
            parent = xp.concat([parent, last], axis=0)
        # What the parent hears of k + j, for each count j of the sibling: a convolution with the sibling turned round.
        turned, first = xp.flip(sibling, axis=0), sibling.shape[0] - 1
        parent = parent[: states + first, ...]
        return self.semiring.backend.log_convolve(parent, turned, first, first + states, self.semiring.mode)

    def pad(self, element: Array, like: Array) -> Array:
        missing = like.shape[0] - element.shape[0]
        if missing == 0:
            return element
        xp = self.semiring.xp
        nothing = xp.full_like(xp.broadcast_to(element[:1, ...], (missing, *element.shape[1:])), -xp.inf)
        return xp.concat([element, nothing], axis=0)

    def crop(self, element: Array, like: Array) -> Array:
        return element[: like.shape[0], ...]
