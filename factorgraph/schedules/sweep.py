"""Sweeps: factor blocks one after another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from factorgraph.blocks import Factors
from factorgraph.graph import FactorGraph
from factorgraph.schedules.base import Plan, Schedule, Step


class UnscheduledWarning(UserWarning):
    """An order of updates never updates some messages."""


@dataclass(frozen=True)
class Sweep(Schedule):
    """
    Update factor blocks one after another. Each block reads the newest beliefs.

    Parameters
    ----------
    order : sequence, optional
        The blocks in turn, by name or handle. A pair ``(block, ports)`` updates only those ports, which are given by position
        or, for block factors, by name. A block may occur several times. Default: all blocks in the order in which they were
        added, and then back.

    partial : bool, default False
        Whether it is intended that some messages are never updated. If False, an `UnscheduledWarning` names such messages.

    Examples
    --------
    A network's forward and backward pass over two layers::

        Sweep([("layer1", "output"), ("layer2", "output"),
               ("layer2", ("input", "weights")), ("layer1", "weights")])
    """

    order: Sequence[Any] | None = None
    partial: bool = False

    def plan(self, graph: FactorGraph) -> Plan:
        order = self.order
        if order is None:
            names = list(graph.factor_blocks)
            order = names + names[-2::-1]
        plan = Plan([(_step(graph, entry),) for entry in order])
        if not self.partial:
            _tell_what_is_missing(graph, plan)
        return plan


def _tell_what_is_missing(graph: FactorGraph, plan: Plan) -> None:
    """Warn of ports that no step updates, except those of data."""
    updated = {(step.factors, port) for stage in plan.stages for step in stage for port in step.ports}
    missing = [
        f"{block.name!r} to {port.name!r} (port {number})"
        for block in graph.factor_blocks.values()
        for number, port in enumerate(block.ports)
        if port.type.can_be_random and (block.name, number) not in updated
    ]
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        warnings.warn(
            f"this order never updates the messages from {shown}; if this is intended, write Sweep(..., partial=True)",
            UnscheduledWarning,
            stacklevel=4,
        )


def _step(graph: FactorGraph, entry: Any) -> Step:
    whole = isinstance(entry, (str, Factors))
    block = graph.factors(entry if whole else entry[0])
    if whole:
        return Step(block.name, tuple(range(len(block.ports))))
    asked = (entry[1],) if isinstance(entry[1], (str, int)) else tuple(entry[1])
    labels = getattr(block.factor, "ports", ())
    ports = tuple(labels.index(port) if port in labels else port for port in asked)
    for port in ports:
        if not isinstance(port, int) or not 0 <= port < len(block.ports):
            raise ValueError(f"sweep: factors {block.name!r} have no port {port!r}; they have {labels or len(block.ports)}")
    return Step(block.name, ports)
