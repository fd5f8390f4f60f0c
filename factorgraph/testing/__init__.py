"""Exact answers by enumeration, and checks of your own variable and factor types."""

from __future__ import annotations

from collections.abc import Sequence

from factorgraph.factors import Factor
from factorgraph.factors.bound import BoundFactor
from factorgraph.testing.block import check_block_factor
from factorgraph.testing.discrete import available_backends, check_discrete_factor, check_discrete_variable
from factorgraph.testing.enumeration import Enumeration
from factorgraph.testing.real import check_real_factor, check_real_variable
from factorgraph.testing.tilted import check_tilted_factor
from factorgraph.variables import DiscreteType, Gaussian, VariableType
from factorgraph.variables.gaussian_vector import GaussianVector

__all__ = ["Enumeration", "available_backends", "check_block_factor", "check_factor", "check_variable"]


def check_factor(
    factor: Factor, *types: VariableType, widths: Sequence[int] | None = None, count: int = 3, random_state: int = 0
) -> None:
    """
    Compare a factor type with enumeration, or with numerical integration if some of its variables are real.

    Messages, log-partition and joint marginals are compared on random, extreme and zero-probability (or certain) inputs: in sum
    and max mode, in float64 and float32, with and without a batch, and on each available backend. Three kinds of factors are
    compared in sum mode only: those that match moments, those with vectors, and those with states beside real variables. For
    these, the check compares the log-partition, the messages to states, and the mean and covariance of the belief about each
    real variable.

    Parameters
    ----------
    factor : Factor
        A factor with a ``log_potential`` or ``log_partition`` to enumerate, or with a ``log_potential`` to integrate over at
        most three numbers. It should be small, and smooth on the scale of its variables, which is about 1. For a vector,
        ``log_potential`` receives an array with the components first.
    *types : the variable type at each port
    widths : number of variables at each port, default 1 each; more at plural ports
    count : number of factors; it must fit the factor's own arrays
    random_state : int

    Raises
    ------
    AssertionError
        The message says in words which result is wrong, on what input, and what it should be.

    Examples
    --------
    >>> import factorgraph as fg
    >>> from factorgraph.testing import check_factor
    >>> check_factor(fg.Ising([0.3, -2.0, 1.0]), fg.Spin(), fg.Spin())
    """
    bound = BoundFactor(factor, types, widths or [1] * len(types), count)
    if all(isinstance(kind, DiscreteType) for kind in types):
        check_discrete_factor(bound, random_state)
    elif all(isinstance(kind, Gaussian) for kind in types) and not factor.approximates:
        check_real_factor(bound, random_state)
    else:
        check_tilted_factor(bound, random_state)


def check_variable(kind: VariableType, random_state: int = 0) -> None:
    """
    Compare the methods of a variable type with enumeration of its states.

    Numbers and vectors with normal beliefs are compared with the moments of the normal distribution. The check runs on each
    backend and in both precisions.

    Raises
    ------
    AssertionError
        The message says in words which method is wrong, and on what input.

    Examples
    --------
    >>> import factorgraph as fg
    >>> from factorgraph.testing import check_variable
    >>> check_variable(fg.Categorical(4))
    """
    if isinstance(kind, DiscreteType):
        check_discrete_variable(kind, random_state)
    elif isinstance(kind, (Gaussian, GaussianVector)):
        check_real_variable(kind, random_state)
    else:
        raise TypeError(f"check_variable enumerates states, but {kind!r} has none")
