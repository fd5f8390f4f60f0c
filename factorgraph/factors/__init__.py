"""Factor node types: how a factor turns incoming messages into outgoing ones."""

from factorgraph.factors.base import Factor
from factorgraph.factors.block import BlockFactor, Port, Quadratic
from factorgraph.factors.counting import And, AtMost, Cardinality, ExactlyOne, Or
from factorgraph.factors.equality import Equality
from factorgraph.factors.ising import Ising
from factorgraph.factors.likelihood import Likelihood
from factorgraph.factors.linear_gaussian import LinearGaussian
from factorgraph.factors.maximum import Max
from factorgraph.factors.noisy import NoisyMax, NoisyOr
from factorgraph.factors.nonlinear import Nonlinear
from factorgraph.factors.parity import Parity
from factorgraph.factors.potts import Potts
from factorgraph.factors.sparse_table import SparseTable
from factorgraph.factors.switch import Switch
from factorgraph.factors.table import Table

__all__ = [
    "And",
    "AtMost",
    "BlockFactor",
    "Cardinality",
    "Equality",
    "ExactlyOne",
    "Factor",
    "Ising",
    "Likelihood",
    "LinearGaussian",
    "Max",
    "NoisyMax",
    "NoisyOr",
    "Nonlinear",
    "Or",
    "Parity",
    "Port",
    "Potts",
    "Quadratic",
    "SparseTable",
    "Switch",
    "Table",
]
