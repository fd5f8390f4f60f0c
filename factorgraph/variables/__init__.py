"""Variable types: how messages to one variable multiply, and what a belief means."""

from factorgraph.variables.base import DiscreteType, VariableType
from factorgraph.variables.categorical import Categorical, Levels
from factorgraph.variables.data import Data
from factorgraph.variables.gaussian import Gaussian, is_normal
from factorgraph.variables.spin import Spin

__all__ = ["Categorical", "Data", "DiscreteType", "Gaussian", "Levels", "Spin", "VariableType", "is_normal"]
