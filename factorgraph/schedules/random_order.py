"""Factors in a random order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from factorgraph.graph import FactorGraph
from factorgraph.schedules.base import Plan, Schedule, Step


@dataclass(frozen=True)
class RandomOrder(Schedule):
    """
    Update the factors in a random order, a batch at a time, each batch from the newest beliefs.

    The order is drawn once and is the same in each iteration.

    Parameters
    ----------
    batches : int, default 8
        How many batches the factors are dealt into; as many as there are factors updates one by one.
    seed : int, default 0
        Makes the order reproducible.
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
