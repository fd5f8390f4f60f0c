"""Running a plan: states, controls, results."""

from factorgraph.inference.answers.result import ContradictionError, ConvergenceWarning, ImproperWarning, Result
from factorgraph.inference.inference import Inference
from factorgraph.inference.layout.controls import Damping
from factorgraph.inference.run import run
from factorgraph.inference.state.observations import Observations, Rows
from factorgraph.inference.state.state import State

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
