"""Messages of products of spins: what pair couplings and parity checks are made of."""

from __future__ import annotations

from pathlib import Path

from factorgraph.backends import Array, Backend, device_function

WEAK_COUPLING = 10.0
"""Largest |coupling| for which `spin_products` may be given the couplings' odds."""

_FIELD_LIMIT = {"float32": 30.0, "float64": 250.0}  # far enough above `WEAK_COUPLING` to be exact, below overflow

DEVICE_SOURCE = "#define FIELD_LIMIT (sizeof(T) == 4 ? {float32!r} : {float64!r})\n".format(**_FIELD_LIMIT) + Path(
    __file__
).with_suffix(".cu").read_text(encoding="utf-8")
"""The same functions in C++, which bodies of `Factor.device_messages` may call."""


@device_function(DEVICE_SOURCE, in_pieces=False)
def spin_products(fields: Array, coupling: Array, coupling_odds: Array | None, backend: Backend) -> tuple[Array]:
    """
    ``atanh(tanh(coupling) tanh(fields))``, the message through a pair coupling.

    With A = exp(-2 coupling) and B = exp(-2 field) it is ``log((1 + A B) / (A + B)) / 2``, exact to rounding also
    where both hyperbolic tangents round to 1. ``coupling_odds`` is A where all couplings are within
    `WEAK_COUPLING`, so that nothing overflows once the fields are clipped; else None, and the same is computed
    from absolute values.
    """
    xp = backend.xp
    if coupling_odds is not None:
        limit = _FIELD_LIMIT[backend.dtype_name]
        odds = xp.clip(fields, -limit, limit)
        odds *= -2.0
        odds = backend.apply("exp", odds, out=odds)
        denominator = odds + coupling_odds
        odds *= coupling_odds
        odds += 1.0
        odds /= denominator
        odds = backend.apply("log", odds, out=odds)
        odds *= 0.5
        return (odds,)
    small = xp.minimum(xp.abs(fields), xp.abs(coupling))
    large = xp.maximum(xp.abs(fields), xp.abs(coupling))
    # Infinite against infinite has a correction of log(2)/2 beside an infinite message.
    gap = xp.where(small == large, xp.zeros_like(large), large - small)
    correction = 0.5 * (xp.log1p(xp.exp(-2.0 * (small + large))) - xp.log1p(xp.exp(-2.0 * gap)))
    return (xp.sign(fields) * xp.sign(coupling) * xp.where(small == 0, small, small + correction),)


@device_function(DEVICE_SOURCE, in_pieces=False)
def spin_maxima(fields: Array, coupling: Array, backend: Backend) -> tuple[Array]:
    """``sign(coupling fields) min(|coupling|, |fields|)``: the max-product form of `spin_products`."""
    xp = backend.xp
    return (xp.sign(fields) * xp.sign(coupling) * xp.minimum(xp.abs(fields), xp.abs(coupling)),)
