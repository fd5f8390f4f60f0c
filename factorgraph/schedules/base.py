"""What a schedule compiles to, and the contract of schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from factorgraph.graph import FactorGraph


@dataclass(frozen=True, eq=False)
class Step:
    """
    One batched update: messages from some factors of one block to some of their ports.

    Attributes
    ----------
    factors : str
        Name of the factor block.
    ports : tuple of int
        Positions of the ports whose messages are updated.
    index : (k,) integer array or None
        Numbers of the factors in the block; None for all.
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
        Stages follow one another. All steps of a stage read the beliefs from before the stage, so that they can run together.
    exact : bool
        Whether one iteration from fresh messages gives the fixed point.
    share : float or None
        If it is given, there is one stage, which is not run as a whole. Instead, messages are updated again and again if they
        would change by at least this fraction of the largest change.
    forest : bool
        Whether the graph is a forest whose messages all follow from those of its leaves, so that they may be found in any way.
    """

    stages: list[tuple[Step, ...]]
    exact: bool = False
    share: float | None = None
    forest: bool = False

    @property
    def num_stages(self) -> int:
        """Number of stages."""
        return len(self.stages)


class Schedule(ABC):
    """A rule for the order of updates. An instance holds only settings."""

    @abstractmethod
    def plan(self, graph: FactorGraph) -> Plan:
        """
        Compile the rule for a graph.

        Raises
        ------
        ValueError
            The rule does not fit the graph. The message says where.
        """
