"""What a schedule compiles to, and its contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from factorgraph.graph import FactorGraph


@dataclass(frozen=True, eq=False)
class Step:
    """
    One batched update: messages of some factors of one block, to some of their ports.

    Attributes
    ----------
    factors : str
        Name of the factor block.
    ports : tuple of int
        Positions of the ports whose messages are updated.
    index : (k,) integer array or None
        Which factors of the block; None for all.
    """

    factors: str
    ports: tuple[int, ...]
    index: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """
    One iteration of a schedule.

    Attributes
    ----------
    stages : list of tuples of Step
        Stages follow one another. The steps of a stage all read the beliefs from before it, so they can go at once.
    exact : bool
        Whether one iteration from fresh messages gives the fixed point.
    share : float or None
        Where given, the one stage is not run as a whole: again and again those of its messages that would change by at
        least this share of the largest change.
    """

    stages: list[tuple[Step, ...]]
    exact: bool = False
    share: float | None = None

    @property
    def num_stages(self) -> int:
        """Number of stages."""
        return len(self.stages)


class Schedule(ABC):
    """A rule for the order of updates. Instances hold settings only."""

    @abstractmethod
    def plan(self, graph: FactorGraph) -> Plan:
        """
        Compile the rule for a graph.

        Raises
        ------
        ValueError
            The rule does not fit the graph; the message says where.
        """
