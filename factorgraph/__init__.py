"""Belief propagation on any factor graph: describe a graph once, compile it with a schedule onto a backend, run it."""

import logging

from factorgraph.backends import Backend, BackendUnavailableError, backend_names, get_backend
from factorgraph.blocks import Factors, Variables
from factorgraph.factors import BlockFactor, Factor, Ising, Port, Potts, Table
from factorgraph.graph import FactorGraph
from factorgraph.inference import (
    ContradictionError,
    ConvergenceWarning,
    Damping,
    Inference,
    Result,
    State,
    run,
)
from factorgraph.schedules import Flooding, NotAForestError, Plan, Schedule, Step, Sweep, Tree
from factorgraph.semiring import Semiring
from factorgraph.variables import Categorical, Data, DiscreteType, Spin, VariableType

__version__ = "0.1.0"
__all__ = [
    "Backend",
    "BackendUnavailableError",
    "BlockFactor",
    "Categorical",
    "ContradictionError",
    "ConvergenceWarning",
    "Damping",
    "Data",
    "DiscreteType",
    "Factor",
    "FactorGraph",
    "Factors",
    "Flooding",
    "Inference",
    "Ising",
    "NotAForestError",
    "Plan",
    "Port",
    "Potts",
    "Result",
    "Schedule",
    "Semiring",
    "Spin",
    "State",
    "Step",
    "Sweep",
    "Table",
    "Tree",
    "VariableType",
    "Variables",
    "backend_names",
    "get_backend",
    "run",
]

logging.getLogger("factorgraph").addHandler(logging.NullHandler())
