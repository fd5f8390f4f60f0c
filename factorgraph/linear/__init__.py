"""Exact answers for graphs of normal variables, by sparse linear algebra."""

from factorgraph.linear.answers import LinearResult
from factorgraph.linear.system import ImproperModelError, LinearSystem

__all__ = ["ImproperModelError", "LinearResult", "LinearSystem"]
