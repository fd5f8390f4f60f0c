"""Draws from beliefs, and the part of a label's entropy that more data would remove."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import entr

from factorgraph import DiscreteType, VariableType
from factorgraph.backends import HOST
from nets.encoding import Inputs, dense_parts
from nets.prediction import Predictor

_ROWS = 2048  # whose hidden units are drawn at a time


def draw(kind: VariableType, belief: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Values ``(n, K, N)`` of variables with mean parameters ``(*param_shape, K, N)``. Each variable is drawn independently."""
    if not isinstance(kind, DiscreteType):
        mean, variance = belief
        return np.asarray(mean + np.sqrt(variance) * rng.normal(size=(n, *mean.shape)))
    with np.errstate(divide="ignore"):
        shares = np.asarray(kind.marginals(kind.from_mean(belief, HOST), HOST))
    bounds = np.cumsum(shares, axis=0)[:-1, None]
    return np.asarray(kind.states, dtype=np.float64)[(rng.random((n, *shares.shape[1:])) > bounds).sum(axis=0)]


def label_entropy(marginals: np.ndarray) -> np.ndarray:
    """Entropy in nats of each row's label, ``(n,)``, from ``(n, classes)`` probabilities that need not add up to 1."""
    return np.asarray(entr(marginals / marginals.sum(axis=1, keepdims=True)).sum(axis=1))


def entropies(model: Any, inputs: Inputs, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Entropy of each row's label, and its mean when the last hidden units are known; ``(n,)`` each, in nats.

    Hidden units are drawn from their marginals, in the same way at every call. The output's weights are marginalised.

    Parameters
    ----------
    model : BPClassifier
    inputs : (n, N) encoded rows
    draws : int
        How often hidden units are drawn.
    """
    whole, beliefs, hidden_layers = model._make_predictor(), model.weight_beliefs_, len(model.weight_beliefs_) - 1
    last = {**model._network_settings(), "activation": "sign", "masks": model.masks_[-1:]}
    output = Predictor(model._architecture.last(), model.backend, **last)
    rng = np.random.default_rng(0)
    totals, given = [], []
    for part in dense_parts(inputs, _ROWS):
        rows = whole.rows(part)
        totals.append(label_entropy(whole.marginals(beliefs, rows, bayesian=True)))
        if not hidden_layers:
            given.append(totals[-1])
            continue
        kind, hidden = whole.last_hidden(beliefs, rows)
        hidden = hidden.reshape(*kind.param_shape, -1, len(rows))
        sums = np.zeros(len(rows))
        for _ in range(draws):
            units = output.rows(draw(kind, hidden, 1, rng)[0].T)
            sums += label_entropy(output.marginals(beliefs[-1:], units, bayesian=True))
        given.append(sums / draws)
    return np.concatenate(totals), np.concatenate(given)
