"""Integrals of a function times a normal density, for many factors at once, wherever their mass is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_POINTS = 161  # of a grid
_REACH = 12.0  # standard deviations of the normal density to each side, at first
_NEGLIGIBLE = 40.0  # below the largest log-weight
_STEPS = 24  # of narrowing, each to a quarter at most
_BISECTIONS = 45
_NARROW_ENOUGH = 0.35  # share of the grid that the mass may leave unused


def moments_of(
    normal: np.ndarray, log_weights: Callable[[np.ndarray], np.ndarray], joint: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Mass, mean and variance of ``exp(h x - J x^2 / 2)`` times weights that depend on x.

    The integral uses trapezoids on a grid. For each factor, the grid is narrowed to where the mass is. For smooth functions,
    the error falls faster than any power of the step.

    Parameters
    ----------
    normal : (2, F) natural parameters h, J of proper densities. If x is certain, J is infinite, and h is the value.
    log_weights : function from values (points, F) to log-weights (S, points, F) of S joint states of other variables
    joint : (S, F) log-weights that do not depend on x

    Returns
    -------
    mass : (S, F) logs of the integrals, including ``joint``
    mean, variance : (F,) of x, over all states

    Raises
    ------
    ValueError
        Weights are NaN or +inf, or all are zero.
    """
    h, precision = normal
    certain = np.isinf(precision)
    safe = np.where(certain, 1.0, precision)
    centre, deviation = np.where(certain, h, h / safe), np.where(certain, 1.0, safe**-0.5)
    low, high = centre - _REACH * deviation, centre + _REACH * deviation
    steps = np.linspace(0.0, 1.0, _POINTS)[:, None]
    for number in range(_STEPS):
        x = np.where(certain, h, low + (high - low) * steps)
        bare = _checked(log_weights(x), x) - 0.5 * np.where(certain, 0.0, ((x - centre) / deviation) ** 2)
        highest = bare.max(axis=1)
        if np.isneginf(highest).all(axis=0).any():
            where = int(np.argmax(np.isneginf(highest).all(axis=0)))
            raise ValueError(f"the likelihood of factor {where} is zero for all possible values of x")
        # Where any state has its mass, however unlikely the state is: messages to it are of that.
        there = (bare > highest[:, None] - _NEGLIGIBLE).any(axis=0)
        first, last = np.argmax(there, axis=0), _POINTS - 1 - np.argmax(there[::-1], axis=0)
        width = (last - first) / (_POINTS - 1)
        done = (
            certain | (width >= _NARROW_ENOUGH) | ((number > 0) & (high - low <= 1e-12 * np.maximum(np.abs(low), np.abs(high))))
        )
        if done.all():
            break
        step = (high - low) / (_POINTS - 1)
        new_low, new_high = low + np.maximum(first - 1.5, 0.0) * step, low + np.minimum(last + 1.5, _POINTS - 1.0) * step
        low, high = np.where(done, low, new_low), np.where(done, high, new_high)
    x, bare = _cut_at_edges(x, bare, first, last, centre, deviation, certain, log_weights)
    highest = bare.max(axis=1)
    step = np.where(certain, 1.0, (x[-1] - x[0]) / (_POINTS - 1))
    total = bare + joint[:, None]
    top = total.max(axis=(0, 1))
    share = np.where(certain, steps == 0.0, np.where((steps == 0.0) | (steps == 1.0), 0.5, 1.0))  # of a step at each point
    weights = np.exp(total - top) * share
    whole = weights.sum(axis=(0, 1))
    mean = (weights.sum(axis=0) * x).sum(axis=0) / whole
    variance = (weights.sum(axis=0) * (x - mean) ** 2).sum(axis=0) / whole
    # The normal density at its centre: exp(h^2 / (2 J)).
    scale = np.where(certain, 0.0, 0.5 * h * centre)
    # Of each state by itself, so that none is too small for a number.
    alone = np.exp(bare - np.where(np.isneginf(highest), 0.0, highest)[:, None]) * share
    with np.errstate(divide="ignore"):
        mass = np.log(alone.sum(axis=1)) + highest + joint + np.log(step) + scale
    return mass, np.where(certain, h, mean), np.where(certain, 0.0, variance)


def _cut_at_edges(
    x: np.ndarray,
    bare: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    centre: np.ndarray,
    deviation: np.ndarray,
    certain: np.ndarray,
    log_weights: Callable[[np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """The grid, and the log-weights there, where the density jumps to zero from its edges on: found by bisection."""
    finite = np.isfinite(bare).any(axis=0)
    factors = np.arange(x.shape[1])
    ends, jumps = [x[0], x[-1]], False
    for side, inside in ((0, first), (1, last)):
        outside = np.clip(inside + (-1, 1)[side], 0, _POINTS - 1)
        jump = ~certain & ~finite[outside, factors]
        if not jump.any():
            continue
        jumps = True
        out, within = x[outside, factors], x[inside, factors]
        for _ in range(_BISECTIONS):
            middle = 0.5 * (out + within)
            there = np.isfinite(log_weights(middle[None])).any(axis=0)[0]
            out, within = np.where(there, out, middle), np.where(there, middle, within)
        ends[side] = np.where(jump, within, ends[side])
    if not jumps:
        return x, bare
    x = ends[0] + (ends[1] - ends[0]) * np.linspace(0.0, 1.0, _POINTS)[:, None]
    x[0], x[-1] = ends
    return x, _checked(log_weights(x), x) - 0.5 * np.where(certain, 0.0, ((x - centre) / deviation) ** 2)


def _checked(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Refuse what is no log of a likelihood."""
    if not (wrong := np.isnan(weights) | np.isposinf(weights)).any():
        return weights
    _, point, factor = np.argwhere(wrong)[0]
    kind = "NaN" if np.isnan(weights[wrong][0]) else "+inf"
    raise ValueError(f"the log-likelihood of factor {factor} is {kind} at x = {x[point, factor]:.6g}")
