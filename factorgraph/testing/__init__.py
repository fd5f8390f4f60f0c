"""Exact answers by enumeration, and checks of anyone's own node types."""

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
    Compare a factor type with enumeration, or where some of its variables are real with numerical integration.

    Messages, log-partition and joint marginals are compared on random, extreme and zero-probability (or certain) inputs, in
    sum and max mode, in float64 and float32, with and without a batch, on each backend there is. Of factors that match moments,
    and of those with vectors or with states beside real variables, what is compared is the log-partition, the messages to
    states, and the mean and covariance of each real variable's belief, in sum mode.

    Parameters
    ----------
    factor : Factor
        With a ``log_potential`` or ``log_partition`` to enumerate, or a ``log_potential`` to integrate over at most three
        numbers; keep it small, and smooth on the scale of its variables, which is about 1. Of a vector, ``log_potential`` is
        given an array with the components first.
    *types : the variable type at each port
    widths : number of variables at each port, default 1 each; more at plural ports
    count : number of factors; must fit the factor's own arrays
    random_state : int

    Raises
    ------
    AssertionError
        Says in words which result is wrong, on what input, and what it should be.

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
    Compare a variable type's methods with enumeration of its states, or for numbers and vectors with normal beliefs with the
    moments of the normal distribution, on each backend and in both precisions.

    Raises
    ------
    AssertionError
        Says in words which method is wrong and on what.

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
        raise TypeError(f"check_variable enumerates states; {kind!r} has none")
