"""Factors in a random order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from factorgraph.graph import FactorGraph
from factorgraph.schedules.base import Plan, Schedule, Step


@dataclass(frozen=True)
class RandomOrder(Schedule):
    """
    Update the factors in a random order, one group of factors at a time. Each group reads the newest beliefs.

    The order is drawn once, and is the same in each iteration.

    Parameters
    ----------
    batches : int, default 8
        Number of groups. With as many groups as factors, factors are updated one by one.
    seed : int, default 0
        Seed of the random order. The same seed gives the same order.
    """

    batches: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batches < 1:
            raise ValueError(f"batches must be at least 1, not {self.batches!r}")

    def plan(self, graph: FactorGraph) -> Plan:
        rng = np.random.default_rng(self.seed)
        number = min(self.batches, max(graph.num_factors, 1))
        deal = rng.permutation(np.arange(graph.num_factors) % number)
        stages: list[list[Step]] = [[] for _ in range(number)]
        start = 0
        for block in graph.factor_blocks.values():
            own = deal[start : start + block.count]
            start += block.count
            for batch in np.unique(own).tolist():
                index = np.flatnonzero(own == batch)
                stages[batch].append(Step(block.name, block.open_ports, None if block.is_block else index))
        return Plan([tuple(stage) for stage in stages if stage])
