"""Flooding: all messages at once."""

from __future__ import annotations

from dataclasses import dataclass

from factorgraph.graph import FactorGraph
from factorgraph.schedules.base import Plan, Schedule, Step


@dataclass(frozen=True)
class Flooding(Schedule):
    """
    Update all messages at once, from the beliefs of the previous iteration. There is one stage, with one step for each factor
    block.
    """

    def plan(self, graph: FactorGraph) -> Plan:
        steps = (Step(block.name, block.open_ports) for block in graph.factor_blocks.values())
        return Plan([tuple(steps)])
