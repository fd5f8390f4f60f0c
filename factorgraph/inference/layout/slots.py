"""Slots: the edges of many variables as few arrays ``(D, n)``, variables of near degrees together."""

from __future__ import annotations

import numpy as np


def degree_groups(degrees: np.ndarray) -> list[np.ndarray]:
    """
    Split variables so that padding each group to its largest degree wastes at most about a quarter.

    The groups are few whatever the degrees are, since their largest degrees fall geometrically; small ones are not split.
    """
    largest = int(degrees.max(initial=0))
    if largest * degrees.size <= 1.25 * degrees.sum() + 64:
        return [np.arange(degrees.size)]
    counts = np.bincount(degrees)
    bounds, top, number, edges = [], largest, 0, 0
    for degree in range(largest, -1, -1):
        if not counts[degree]:
            continue
        number, edges = number + int(counts[degree]), edges + degree * int(counts[degree])
        if top * number > 1.25 * edges + 64:
            bounds.append(degree + 1)
            top, number, edges = degree, int(counts[degree]), degree * int(counts[degree])
    limits = [*bounds, 0]
    uppers = [largest + 1, *bounds]
    return [np.flatnonzero((degrees >= low) & (degrees < high)) for low, high in zip(limits, uppers, strict=True)]


def slots_of(positions: np.ndarray, starts: np.ndarray, edge_order: np.ndarray) -> np.ndarray:
    """The edges ``edge_order[starts[i]:starts[i + 1]]`` of each position i, ``(D, n)``; the number of edges stands for none."""
    begin, degrees = starts[positions], starts[positions + 1] - starts[positions]
    rank = np.arange(int(degrees.max(initial=0)))[:, None]
    real = rank < degrees
    slots = np.full(real.shape, edge_order.size)
    slots[real] = edge_order[(begin + rank)[real]]
    return slots
