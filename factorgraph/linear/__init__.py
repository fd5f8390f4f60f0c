"""Exact answers for graphs of normal variables, by sparse linear algebra."""

from factorgraph.linear.answers import LinearResult
from factorgraph.linear.system import ImproperModelError, LinearSystem, is_normal

__all__ = ["ImproperModelError", "LinearResult", "LinearSystem", "is_normal"]
