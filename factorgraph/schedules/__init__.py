"""Schedules: the order in which messages are updated. A schedule compiles a graph to a Plan of batched steps."""

from factorgraph.schedules.base import Plan, Schedule, Step
from factorgraph.schedules.flooding import Flooding
from factorgraph.schedules.random_order import RandomOrder
from factorgraph.schedules.residual import Residual
from factorgraph.schedules.sweep import Sweep, UnscheduledWarning
from factorgraph.schedules.tree import NotAForestError, Tree

__all__ = [
    "Flooding",
    "NotAForestError",
    "Plan",
    "RandomOrder",
    "Residual",
    "Schedule",
    "Step",
    "Sweep",
    "Tree",
    "UnscheduledWarning",
]
