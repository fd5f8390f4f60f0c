"""Exact answers: for discrete graphs of small treewidth by a junction tree, for normal ones by `factorgraph.linear`."""

from factorgraph.junction.answers import ExactResult
from factorgraph.junction.batch import ExactBatch
from factorgraph.junction.exact import SeparateResult, exact
from factorgraph.junction.junction_tree import ExactSize, JunctionTree, exact_size
from factorgraph.junction.mixture import MixtureResult
from factorgraph.junction.tables import TooLargeError

__all__ = [
    "ExactBatch",
    "ExactResult",
    "ExactSize",
    "JunctionTree",
    "MixtureResult",
    "SeparateResult",
    "TooLargeError",
    "exact",
    "exact_size",
]
