"""Exact answers for discrete graphs of small treewidth, by a junction tree."""

from factorgraph.junction.answers import ExactResult
from factorgraph.junction.batch import ExactBatch
from factorgraph.junction.junction_tree import ExactSize, JunctionTree, exact, exact_size
from factorgraph.junction.tables import TooLargeError

__all__ = ["ExactBatch", "ExactResult", "ExactSize", "JunctionTree", "TooLargeError", "exact", "exact_size"]
