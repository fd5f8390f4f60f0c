"""Largest change first."""

from __future__ import annotations

from dataclasses import dataclass

from factorgraph.graph import FactorGraph
from factorgraph.schedules.base import Plan, Schedule, Step


@dataclass(frozen=True)
class Residual(Schedule):
    """
    Update the messages that would change most, again and again.

    This converges on many graphs where flooding oscillates, and needs fewer updates. One iteration is as many updates as the
    graph has messages (Elidan, McGraw, Koller 2006; here, all messages near the largest residual are updated at once).

    Parameters
    ----------
    share : float in (0, 1], default 0.6
        Messages whose residual is at least this fraction of the largest one are updated together. A value near 1 is more
        stable, and slower for each update. If the largest residual does not fall, the fraction rises automatically.
    """

    share: float = 0.6

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"share must be above 0 and at most 1, not {self.share!r}")

    def plan(self, graph: FactorGraph) -> Plan:
        for block in graph.factor_blocks.values():
            if block.is_block:
                raise ValueError(f"Residual cannot schedule the block factor {block.name!r}; use Sweep")
        steps = (Step(block.name, tuple(range(len(block.ports)))) for block in graph.factor_blocks.values())
        return Plan([tuple(steps)], share=self.share)
