"""Exact answers for discrete graphs of small treewidth, by a junction tree."""

from factorgraph.junction.answers import ExactResult, ExactSize, exact, exact_size
from factorgraph.junction.tables import TooLargeError

__all__ = ["ExactResult", "ExactSize", "TooLargeError", "exact", "exact_size"]
