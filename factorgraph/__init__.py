"""Belief propagation on any factor graph: describe a graph once, compile it with a schedule onto a backend, run it."""

import logging

from factorgraph.backends import Backend, BackendUnavailableError, backend_names, get_backend
from factorgraph.blocks import Factors, Variables
from factorgraph.factors import (
    And,
    AtMost,
    BlockFactor,
    Cardinality,
    Equality,
    ExactlyOne,
    Factor,
    Ising,
    LinearGaussian,
    Max,
    Or,
    Parity,
    Port,
    Potts,
    SparseTable,
    Table,
)
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
from factorgraph.junction import ExactResult, ExactSize, TooLargeError, exact, exact_size
from factorgraph.schedules import Flooding, NotAForestError, Plan, Schedule, Step, Sweep, Tree
from factorgraph.semiring import Semiring
from factorgraph.variables import Categorical, Data, DiscreteType, Gaussian, Spin, VariableType

__version__ = "0.1.0"
__all__ = [
    "And",
    "AtMost",
    "Backend",
    "BackendUnavailableError",
    "BlockFactor",
    "Cardinality",
    "Categorical",
    "ContradictionError",
    "ConvergenceWarning",
    "Damping",
    "Data",
    "DiscreteType",
    "Equality",
    "ExactResult",
    "ExactSize",
    "ExactlyOne",
    "Factor",
    "FactorGraph",
    "Factors",
    "Flooding",
    "Gaussian",
    "Inference",
    "Ising",
    "LinearGaussian",
    "Max",
    "NotAForestError",
    "Or",
    "Parity",
    "Plan",
    "Port",
    "Potts",
    "Result",
    "Schedule",
    "Semiring",
    "SparseTable",
    "Spin",
    "State",
    "Step",
    "Sweep",
    "Table",
    "TooLargeError",
    "Tree",
    "VariableType",
    "Variables",
    "backend_names",
    "exact",
    "exact_size",
    "get_backend",
    "run",
]

logging.getLogger("factorgraph").addHandler(logging.NullHandler())
