"""Linear relations of real variables with normal noise."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from factorgraph.backends import Array
from factorgraph.factors.base import Factor, Parameters, Rows
from factorgraph.factors.linear_numbers import NumberForm
from factorgraph.factors.linear_vectors import VectorForm
from factorgraph.semiring import Semiring
from factorgraph.variables import VariableType, is_normal
from factorgraph.variables.gaussian_vector import GaussianVector


class LinearGaussian(Factor):
    """
    A linear relation of normal variables: ``a_0 x_0 + a_1 x_1 = b + noise``, and so on for more variables.

    The noise is normal with mean 0. The potential is the noise's density, including its normalisation.

    A transition ``y = a x + noise`` has the coefficients ``[1, -a]`` at the ports ``y, x``. A measurement has one port. The
    variables are numbers, ``Gaussian()``, or vectors, ``Gaussian(d)``. Matrices of m rows relate vectors.

    Parameters
    ----------
    coefficients : sequence with one entry for each port
        For a number, the entry is a float or (F,) array. For a vector, it is a matrix (m, d), or (F, m, d) with one for each
        factor. A float a stands for a times the unit matrix, and (d,) for a matrix of one row.
    noise_variance : float or (F,) array; for vectors a float, a covariance (m, m), or (F, m, m)
        0 makes the relation exact, and a singular covariance makes it exact in some directions. A message can say that
        components of a vector are certain, but not that a sum of them is certain. If exact relations would need this, the run
        is refused; `exact` can answer.
    offset : float or (F,) array; for vectors also (m,) or (F, m); default 0
        The number or vector b.

    Examples
    --------
    >>> import factorgraph as fg
    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Gaussian(), shape=(2,))
    >>> _ = graph.add_factors("measured", fg.LinearGaussian([1.0], 0.5, offset=[1.0, 2.0]), x)
    >>> total = graph.add_variables("total", fg.Gaussian())
    >>> _ = graph.add_factors("sum", fg.LinearGaussian([1, 1, -1], 0.0), x[0], x[1], total)
    >>> fg.run(graph).marginals(total).tolist()
    [3.0, 1.0]

    Vectors of two numbers, of which the first is measured, and the second is the first's change in a step:

    >>> graph = fg.FactorGraph()
    >>> x = graph.add_variables("x", fg.Gaussian(2), shape=3)
    >>> _ = graph.add_factors("step", fg.LinearGaussian([1, [[-1, -1], [0, -1]]], 0.01), x[1:], x[:-1])
    >>> _ = graph.add_factors("measured", fg.LinearGaussian([[1, 0]], 0.1, offset=[0.0, 1.0, 2.0]), x)
    >>> fg.run(graph).mean(x[2]).round(6).tolist()
    [2.0, 1.0]
    """

    def __init__(self, coefficients: Sequence[Any], noise_variance: Any, offset: Any = 0.0) -> None:
        self.coefficients = [np.array(a, dtype=np.float64) for a in coefficients]
        self.noise_variance = np.array(noise_variance, dtype=np.float64)
        self.offset = np.array(offset, dtype=np.float64)
        self.form: NumberForm | VectorForm = NumberForm(self.coefficients, self.noise_variance, self.offset)

    def __repr__(self) -> str:
        return f"LinearGaussian({len(self.coefficients)} coefficients)"

    def bind(self, types: Sequence[VariableType], widths: Sequence[int], count: int) -> None:
        for port, kind in enumerate(types):
            if not is_normal(kind):
                raise TypeError(f"LinearGaussian takes real variables, but port {port} has {kind!r}")
        if len(self.coefficients) != len(types):
            raise ValueError(f"there are {len(self.coefficients)} coefficients for {len(types)} ports; give one for each port")
        if any(isinstance(kind, GaussianVector) for kind in types) or any(a.ndim > 1 for a in self.coefficients):
            self.form = VectorForm(self.coefficients, self.noise_variance, self.offset, types, count)
        else:
            self.form = NumberForm(self.coefficients, self.noise_variance, self.offset)
            self.form.check(count)

    def merge_key(self) -> Hashable:
        return type(self.form), self.form.key()

    def parameters(self, types: Sequence[VariableType], count: int) -> dict[str, np.ndarray]:
        return self.form.parameters()

    def can_be_hard(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return self.form.can_be_hard(parameters)

    def passes_certainty(self, parameters: Mapping[str, np.ndarray]) -> bool:
        return self.form.passes_certainty(parameters)

    def log_potential(self, *values: np.ndarray) -> np.ndarray:
        """Log-density of the noise that the values imply."""
        return self.form.log_potential(*values)

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        return self.form.messages(incoming, parameters, ports, semiring)

    def relation(self, incoming: Sequence[Array], parameters: Parameters, ports: tuple[int, int], semiring: Semiring) -> Array:
        return self.form.relation(incoming, parameters, ports, semiring)

    def linear(self, parameters: Mapping[str, np.ndarray]) -> Rows:
        return self.form.linear(parameters)

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        return self.form.log_partition(incoming, parameters, semiring)

    def centred_log_partition(
        self, incoming: Sequence[Array], values: Sequence[Array], parameters: Parameters, semiring: Semiring
    ) -> Array:
        return self.form.centred_log_partition(incoming, values, parameters, semiring)

    def marginals(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """Joint mean (first row) and covariance of all numbers, ``(1 + D, D, F)``."""
        return self.form.marginals(incoming, parameters, semiring)
