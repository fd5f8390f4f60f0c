"""Factor node types: how a factor turns incoming messages into outgoing ones."""

from factorgraph.factors.base import Factor
from factorgraph.factors.block import BlockFactor, Port
from factorgraph.factors.ising import Ising
from factorgraph.factors.potts import Potts
from factorgraph.factors.table import Table

__all__ = ["BlockFactor", "Factor", "Ising", "Port", "Potts", "Table"]
