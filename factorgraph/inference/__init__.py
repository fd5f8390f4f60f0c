"""Running a plan: states, controls, results."""

from factorgraph.inference.controls import Damping
from factorgraph.inference.inference import Inference
from factorgraph.inference.observations import Observations, Rows
from factorgraph.inference.result import ContradictionError, ConvergenceWarning, ImproperWarning, Result
from factorgraph.inference.run import run
from factorgraph.inference.state import State

__all__ = [
    "ContradictionError",
    "ConvergenceWarning",
    "Damping",
    "ImproperWarning",
    "Inference",
    "Observations",
    "Result",
    "Rows",
    "State",
    "run",
]
