"""The variables that are most certain."""

from __future__ import annotations

import numpy as np

from factorgraph.blocks import Variables
from factorgraph.inference.state.state import State


def most_certain(state: State, candidates: list[Variables], share: float) -> list[tuple[Variables, np.ndarray]]:
    """The most certain share (at least one) of the variables that are free, by block, with their most probable values."""
    rows, modes = [], []
    if not candidates:
        return []
    for number, block in enumerate(candidates):
        pool = state.pool(block)
        kind, positions = pool.pool.type, pool.pool.positions(block)
        certainty = pool.backend.to_host(kind.certainty(pool.belief, pool.backend))[positions]
        modes.append(pool.backend.to_host(kind.mode(pool.belief, pool.backend))[positions])
        free = np.flatnonzero(~pool.evidence.observed[positions])
        rows.append((certainty[free], np.full(free.size, number), free))
    certainty, owner, place = (np.concatenate(column) for column in zip(*rows, strict=True))
    count = min(certainty.size, max(1, round(share * certainty.size)))
    chosen = np.argsort(-certainty, kind="stable")[:count]
    found = []
    for number, block in enumerate(candidates):
        index = np.unique(place[chosen][owner[chosen] == number])
        if index.size:
            found.append((block.ravel()[index], modes[number][index]))
    return found
