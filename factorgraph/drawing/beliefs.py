"""What a result believes of each variable, in words and as bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from factorgraph.drawing.colours import SERIES

if TYPE_CHECKING:
    from factorgraph.blocks import VariableBlock, Variables
    from factorgraph.graph import FactorGraph
    from factorgraph.io import Model

_MOST_BARS = 24


@dataclass
class Belief:
    """
    A belief about one variable.

    Attributes
    ----------
    text, short : str
        In words, and in fewer; empty where nothing is known.
    bars : (q,) array or None
        Probabilities of the states.
    """

    text: str = ""
    short: str = ""
    bars: np.ndarray | None = None


def beliefs_of(
    graph: FactorGraph, model: Model | None, names: dict[tuple[str, int], int], result: Any
) -> dict[str, list[Belief]]:
    """
    Beliefs of all variables.

    Parameters
    ----------
    graph : FactorGraph
    model : Model or None
        Its names of states are told.
    names : dict
        Number of each variable in the model, by its block and position.
    result : Result, ExactResult or None
        Without one only what is observed is told.

    Returns
    -------
    dict of a list of beliefs for each block

    Raises
    ------
    ValueError
        The result is of several sets of evidence.
    """
    check_single(result)
    found = {}
    for block in graph.variable_blocks.values():
        states = [states_of(block, model, names.get((block.name, i))) for i in range(block.size)]
        found[block.name] = _observed(block, states)
        if result is not None and block.type.can_be_random:
            for seen, belief in zip(found[block.name], believed(graph.variables(block.name), states, result), strict=True):
                seen.bars = belief.bars
                if not seen.text:
                    seen.text, seen.short = belief.text, belief.short
    return found


def is_max(result: Any) -> bool:
    """Whether a result is of mode "max", so that its marginals are no probabilities."""
    return getattr(result, "run_mode", "sum") == "max"


def check_single(result: Any) -> None:
    """Refuse the result of a batch."""
    if result is not None and not isinstance(result.status, str):
        raise ValueError("a picture shows one set of evidence, but the result is of a batch: run that set by itself")


def mean_bars(variables: Variables, result: Any) -> np.ndarray | None:
    """Probabilities of the states, mean over variables of one type; None where these have no states, or too many."""
    states = getattr(variables.type, "states", ())
    if not 0 < len(states) <= _MOST_BARS:
        return None
    return np.asarray(result.marginals(variables)).reshape(-1, len(states)).mean(axis=0)


def called(states: Iterable[list[str]]) -> list[str]:
    """What the colours of states are called in a legend, from the names that they have for each variable."""
    named = {tuple(names) for names in states if names}
    most = max((len(names) for names in named), default=0)
    if not 0 < most <= len(SERIES):
        return []
    return list(next(iter(named))) if len(named) == 1 else [_ordinal(number) for number in range(most)]


def _ordinal(number: int) -> str:
    return ("the first state", "the second", "the third", "the fourth", "the fifth", "the sixth", "the seventh")[number]


def states_of(block: VariableBlock, model: Model | None = None, number: int | None = None) -> list[str]:
    """Names of a variable's states; none where it has no states."""
    if not hasattr(block.type, "states"):
        return []
    if model is not None and model.states is not None and number is not None:
        return [str(state) for state in model.states[number]]
    states = block.type.marginal_names()
    if states == [-1, 1]:
        return ["-1", "+1"]
    return [_word(state) for state in states]


def _word(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, (float, np.floating)) else str(value)


def _percent(probability: float) -> str:
    return "> 99 %" if 0.995 <= probability < 1.0 else f"{100 * probability:.0f} %"


def _observed(block: VariableBlock, states: list[list[str]]) -> list[Belief]:
    """Evidence in words."""
    beliefs = [Belief() for _ in range(block.size)]
    if block.observed is None or block.values is None:
        return beliefs
    for position in np.flatnonzero(block.observed):
        value, kind = block.values[position], block.type
        if states[position]:
            words = states[position][int(kind.position(value))]  # type: ignore[attr-defined]
        else:
            words = _numbers(np.atleast_1d(value))
        beliefs[position] = Belief(f"= {words}", f"= {words}") if len(words) <= 40 else Belief("observed", "observed")
    return beliefs


def believed(variables: Variables, states: Sequence[list[str]], result: Any) -> list[Belief]:
    """
    What a result says of each of some variables.

    Parameters
    ----------
    variables : Variables of any shape
    states : for each of them the names of its states; empty lists where there are none
    result : Result or ExactResult
    """
    marginals = np.asarray(result.marginals(variables))
    marginals = marginals.reshape(variables.size, *marginals.shape[variables.ndim :])
    if not states[0]:
        return [_moments(moments) for moments in marginals]
    modes = np.asarray(result.mode(variables)).reshape(-1)
    best = variables.type.position(variables.type.from_labels(modes))  # type: ignore[attr-defined]
    beliefs = []
    for probabilities, state, names_of in zip(marginals, best.reshape(-1), states, strict=True):
        bars = probabilities if len(probabilities) <= _MOST_BARS else None
        name = names_of[state]
        beliefs.append(Belief(name if is_max(result) else f"{name}: {_percent(probabilities[state])}", name, bars))
    return beliefs


def _clean(value: float) -> float:
    """Without the sign of a zero, and without what rounding left of one."""
    return 0.0 if abs(value) < 1e-12 else value


def _moments(moments: np.ndarray) -> Belief:
    """Mean and deviation, from (2,) numbers or the (1 + d, d) mean and covariance of a vector."""
    if moments.shape == (2,):
        mean, deviation = moments[:1], np.sqrt(np.maximum(moments[1:], 0.0))
    elif moments.ndim == 2 and moments.shape[0] == moments.shape[1] + 1:
        mean, deviation = moments[0], np.sqrt(np.maximum(np.diagonal(moments[1:]), 0.0))
    else:
        return Belief()
    if len(mean) > 3:
        return Belief()
    text = "\n".join(f"{_clean(m):.3g} ± {s:.2g}" for m, s in zip(mean, deviation, strict=True))
    return Belief(text, _numbers(mean))


def _numbers(values: np.ndarray) -> str:
    return ", ".join("?" if np.isnan(value) else f"{value + 0.0:.3g}" for value in values.ravel())
