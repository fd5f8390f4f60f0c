"""Running a plan: states, controls, results."""

from factorgraph.inference.controls import Damping
from factorgraph.inference.inference import Inference, run
from factorgraph.inference.result import ContradictionError, ConvergenceWarning, Result
from factorgraph.inference.state import State

__all__ = ["ContradictionError", "ConvergenceWarning", "Damping", "Inference", "Result", "State", "run"]
