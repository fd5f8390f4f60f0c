"""The problems that `engine.py` runs with the engine and with its peers, as plain arrays: no library of graphs is needed."""

from __future__ import annotations

import numpy as np

DAMPING = 0.5


def grid_pairs(side: int) -> np.ndarray:
    """Both ends of all pairs of neighbours on a square grid, ``(F, 2)``: first down, then across."""
    number = np.arange(side * side).reshape(side, side)
    down = np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1)
    across = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1)
    return np.concatenate([down, across])


def ising(side: int, batch: int = 0) -> dict[str, np.ndarray]:
    """Weak random couplings, for which flooding converges, so that marginals compare; fields, or as many as a batch has."""
    rng = np.random.default_rng(side)
    pairs = grid_pairs(side)
    shape = (batch, side * side) if batch else (side * side,)
    return {"scopes": pairs, "couplings": 0.5 * rng.normal(size=len(pairs)), "fields": 0.3 * rng.normal(size=shape)}


def restricted_boltzmann_machine(visible: int, hidden: int, batch: int) -> dict[str, np.ndarray]:
    """All pairs between two groups of spins, with fields for each set of a batch."""
    rng = np.random.default_rng(1)
    pairs = np.stack(np.meshgrid(np.arange(visible), visible + np.arange(hidden), indexing="ij"), axis=-1).reshape(-1, 2)
    couplings = rng.normal(size=len(pairs)) / np.sqrt(visible + hidden)
    return {"scopes": pairs, "couplings": couplings, "fields": 0.3 * rng.normal(size=(batch, visible + hidden))}


def tables_on_a_grid(side: int, states: int) -> dict[str, np.ndarray]:
    """A random table on each pair."""
    rng = np.random.default_rng(0)
    pairs = grid_pairs(side)
    tables = 0.5 * rng.normal(size=(len(pairs), states, states))
    return {"scopes": pairs, "tables": tables, "weights": 0.3 * rng.normal(size=(side * side, states))}


def random_tables(variables: int, factors: int, arity: int, states: int) -> dict[str, np.ndarray]:
    """Tables on random scopes."""
    rng = np.random.default_rng(0)
    scopes = np.stack([rng.choice(variables, size=arity, replace=False) for _ in range(factors)])
    tables = 0.3 * rng.normal(size=(factors, *[states] * arity))
    return {"scopes": scopes, "tables": tables, "weights": 0.3 * rng.normal(size=(variables, states))}


def parity_checks(bits: int, flip: float) -> dict[str, np.ndarray]:
    """A random (3,6)-regular code, and a word received with more flips than can be decoded, so that no decoder stops early."""
    rng = np.random.default_rng(0)
    sockets = rng.permutation(np.repeat(np.arange(bits), 3))
    while True:
        checks = np.sort(sockets.reshape(-1, 6), axis=1)
        twice = np.flatnonzero((checks[:, 1:] == checks[:, :-1]).any(axis=1))
        if not twice.size:
            break
        for check in twice:
            here, there = check * 6 + rng.integers(6), rng.integers(sockets.size)
            sockets[[here, there]] = sockets[[there, here]]
    return {"scopes": checks, "flip": np.array(flip), "received": rng.random(bits) < flip}


def hard_grid(side: int, normal: bool) -> dict[str, np.ndarray]:
    """Random couplings and fields for which flooding does not converge: uniform within 1.2 and 1, or normal of scale 1."""
    rng = np.random.default_rng(0)
    pairs = grid_pairs(side)
    if normal:
        return {"scopes": pairs, "couplings": rng.normal(size=len(pairs)), "fields": rng.normal(size=side * side)}
    couplings = 1.2 * rng.uniform(-1, 1, size=len(pairs))
    return {"scopes": pairs, "couplings": couplings, "fields": rng.uniform(-1, 1, size=side * side)}


# name: (arrays, mode, iterations to time, what the peer is)
PROBLEMS = {
    "Ising 100x100": (lambda: ising(100), "sum", 200),
    "Ising 400x400": (lambda: ising(400), "sum", 50),
    "Ising 100x100, 64 sets": (lambda: ising(100, 64), "sum", 20),
    "16-state tables 100x100, sum": (lambda: tables_on_a_grid(100, 16), "sum", 20),
    "16-state tables 100x100, max": (lambda: tables_on_a_grid(100, 16), "max", 20),
    "20,000 tables of arity 4": (lambda: random_tables(10_000, 20_000, 4, 3), "sum", 20),
    "parity checks, 10,000 bits": (lambda: parity_checks(10_000, 0.12), "sum", 100),
}
