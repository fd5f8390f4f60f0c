"""The algebra of `LinearGaussian` where variables are vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.backends.small_matrices import (
    Solution,
    apply,
    beside,
    dot,
    eliminate,
    from_diagonal,
    product,
    solve,
    symmetric,
    transposed,
)
from factorgraph.factors.base import Parameters, Rows
from factorgraph.factors.vector_arrays import NONE, Noise, covariance_of, matrix_of, number_of_rows, offset_of
from factorgraph.semiring import Semiring
from factorgraph.variables import Gaussian, VariableType
from factorgraph.variables.gaussian_vector import GaussianVector, check_covariance
from factorgraph.variables.vector_relations import VectorRelations

_MET = 1e-6  # how far an exact relation may be from what is observed


class VectorForm:
    """
    ``A_0 x_0 + ... + A_k x_k = b + noise`` with m rows. The noise has the covariance Q, which may be singular.

    With the natural parameters h, J of some of the variables and a multiplier l for each row, all answers come from the
    solution of a bordered system,

        | J   A^T |  | x |   | h |
        | A   -Q  |  | l | = | b |

    which has a solution even if J or Q is singular.

    Parameters
    ----------
    coefficients, noise_variance, offset : as users give them: see `LinearGaussian`
    types : of the variables at the ports
    count : number of factors

    Raises
    ------
    ValueError
        Shapes do not fit, or the noise has no covariance. The message names what is wrong.
    """

    def __init__(
        self,
        coefficients: Sequence[np.ndarray],
        noise_variance: np.ndarray,
        offset: np.ndarray,
        types: Sequence[VariableType],
        count: int,
    ) -> None:
        sizes = [math.prod(kind.value_shape) for kind in types]
        self.count = count
        self.rows = number_of_rows(coefficients, sizes)
        matrices = [
            matrix_of(a, self.rows, size, isinstance(kind, Gaussian), count, f"coefficient {port}")
            for port, (a, size, kind) in enumerate(zip(coefficients, sizes, types, strict=True))
        ]
        shape = np.broadcast_shapes(*(matrix.shape[:-2] for matrix in matrices))
        joined = np.concatenate([np.broadcast_to(a, (*shape, *a.shape[-2:])) for a in matrices], axis=-1)
        covariance = covariance_of(noise_variance, self.rows, count)
        problem = check_covariance(covariance, "noise_variance")
        if problem:
            raise ValueError(problem)
        self.arrays = {
            "coefficients": np.moveaxis(joined, 0, -1),
            "variance": np.moveaxis(covariance, 0, -1),
            "offset": np.moveaxis(offset_of(offset, self.rows, count), 0, -1),
        }
        if not all(np.isfinite(array).all() for array in self.arrays.values()):
            raise ValueError("coefficients, noise_variance and offset must be finite")
        if (np.abs(joined).max(axis=-1) == 0).any():
            raise ValueError("a row has only coefficients of 0")
        self.kinds = [kind if isinstance(kind, GaussianVector) else GaussianVector(1) for kind in types]
        self.scalar = [isinstance(kind, Gaussian) for kind in types]
        ends = np.cumsum([0, *sizes]).tolist()
        self.columns = [slice(start, stop) for start, stop in pairwise(ends)]
        self.noise = Noise(covariance)
        self.is_exact = self.noise.is_exact

    def key(self) -> Any:
        """What factors must share to run as one."""
        return self.rows, self.is_exact

    def parameters(self) -> dict[str, np.ndarray]:
        """Host arrays, the factors last: A (m, D), Q (m, m), b (m), an inverse of Q (m, m), the normalisation of the noise."""
        return {**self.arrays, "weight": self.noise.weight(), "normaliser": self.noise.normaliser()}

    def can_be_hard(self, parameters: Any) -> bool:
        """Whether a relation of one variable is exact."""
        return self.is_exact and len(self.kinds) == 1

    def passes_certainty(self, parameters: Any) -> bool:
        """Whether a relation is exact, in some direction."""
        return self.is_exact

    def linear(self, parameters: Mapping[str, np.ndarray]) -> Rows:
        """As `Factor.linear`."""
        noise = Noise(np.moveaxis(parameters["variance"], -1, 0))
        rows = np.moveaxis(noise.rows, 0, -1)
        offset = apply(rows, parameters["offset"])
        return Rows(product(rows, parameters["coefficients"]), offset, noise.variances.T, noise.log_scale)

    # What comes in and goes out, scalars as vectors of one.

    def _seen(self, port: int, params: Array, xp: Any) -> Array:
        return xp.reshape(params, (2, 1, *params.shape[1:])) if self.scalar[port] else params

    def _sent(self, port: int, message: Array, xp: Any) -> Array:
        return xp.reshape(message, (2, *message.shape[2:])) if self.scalar[port] else message

    def _system(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], backend: Backend
    ) -> tuple[Array, Array, Array]:
        """
        The bordered system of the variables at some ports: its matrix, its right-hand side ``(D + m, *items)``, and which of
        the variables' components are certain, ``(D, *items)``: their columns are empty, and b is less what they make.
        """
        xp = backend.xp
        items = np.broadcast_shapes(*(incoming[port].shape[1 if self.scalar[port] else 2 :] for port in ports or [0]))
        coefficients = parameters["coefficients"]
        offset = xp.broadcast_to(parameters["offset"], (self.rows, *items))
        noise = parameters["variance"]
        if ports:
            noise = xp.broadcast_to(noise, (self.rows, self.rows, *items))
        fields, blocks, across, certain = [], [], [], []
        for port in ports:
            a = coefficients[:, self.columns[port], ...]
            field, precision, known, value = self.kinds[port].free_part(self._seen(port, incoming[port], xp), backend)
            offset = offset - apply(a, value)
            across.append(a * (1.0 - known)[None, ...])
            fields.append(field)
            blocks.append(precision)
            certain.append(known)
        if not ports:
            nothing = offset[:0, ...]
            return -noise, offset, nothing
        upper = []
        for number, block in enumerate(blocks):
            row = [
                block if number == other else backend.zeros((block.shape[0], b.shape[0], *items))
                for other, b in enumerate(blocks)
            ]
            upper.append(xp.concat([*row, transposed(across[number], xp)], axis=1))
        lower = xp.concat([*across, -noise], axis=1)
        matrix = xp.concat([*upper, lower], axis=0)
        return matrix, xp.concat([*fields, offset], axis=0), xp.concat(certain, axis=0)

    def messages(
        self, incoming: Sequence[Array], parameters: Parameters, ports: Sequence[int], semiring: Semiring
    ) -> list[Array]:
        return [self._message(incoming, parameters, port, semiring.backend) for port in ports]

    def _message(self, incoming: Sequence[Array], parameters: Parameters, port: int, backend: Backend) -> Array:
        """What the other variables and the relation say: the system solved for each column of A, and for its right side."""
        xp = backend.xp
        others = [other for other in range(len(self.kinds)) if other != port]
        matrix, right, _ = self._system(incoming, parameters, others, backend)
        a = parameters["coefficients"][:, self.columns[port], ...]
        above, size = right.shape[0] - self.rows, a.shape[1]
        if others:
            a = xp.broadcast_to(a, (*a.shape[:2], *right.shape[1:]))
        sides = xp.concat([backend.zeros((above, *a.shape[1:])), a], axis=0)
        turned = transposed(a, xp)
        if not self.is_exact:
            values = solve(matrix, sides, xp)
            precision = -symmetric(product(turned, values[above:, ...]), xp)
            field = -apply(transposed(values, xp), right)
            precision = xp.broadcast_to(precision, (size, size, *field.shape[1:]))
            return self._sent(port, xp.concat([field[None, ...], precision], axis=0), xp)
        sides = beside(xp, sides, right[:, None, ...])
        solution = eliminate(matrix, sides, xp)
        values = solution.values
        precision = -symmetric(product(turned, values[above:, :size, ...]), xp)
        # Of a singular system that has solutions either side's may be taken; their mean is what the other way gives too.
        field = -0.5 * (apply(turned, values[above:, size, ...]) + apply(transposed(values[:, :size, ...], xp), right))
        message = xp.concat([field[None, ...], precision], axis=0)
        return self._sent(port, self._with_exact(message, solution, sides, port, backend), xp)

    def _with_exact(self, message: Array, solution: Solution, sides: Array, port: int, backend: Backend) -> Array:
        """
        The message, with what exact relations of certain variables fix: rows ``c x = r`` that are left of the system.

        Components of x that they fix are certain.

        Raises
        ------
        ValueError
            They fix something else of x, such as a sum of components, which natural parameters cannot say.
        """
        xp, size = backend.xp, self.kinds[port].dimension
        c, r = solution.left[:, :size, ...], solution.left[:, size, ...]
        # Components by their usual coefficients, so that units do not matter.
        usual = xp.max(xp.abs(solution.row_scale[:, None, ...] * sides[:, :size, ...]), axis=0)
        inverse = 1.0 / xp.where(usual > 0, usual, xp.ones_like(usual))
        c = c * inverse[None, ...]
        length = xp.max(xp.abs(c), axis=1)
        is_row = length > NONE
        safe = xp.where(is_row, length, xp.ones_like(length))
        c = xp.where(is_row[:, None, ...], c / safe[:, None, ...], xp.zeros_like(c))
        r = xp.where(is_row, r / safe, xp.zeros_like(r))
        across = transposed(c, xp)
        normal = product(across, c)
        reduced = eliminate(normal, xp.concat([normal, apply(across, r)[:, None, ...]], axis=1), xp).values
        rows = reduced[:, :size, ...]
        unit = from_diagonal(xp.ones_like(rows[0, ...]), xp)
        apart = xp.max(xp.abs(rows - unit), axis=1)
        some = xp.max(xp.abs(rows), axis=1) > 0.5
        certain = some & (apart <= 1e-8)
        count = xp.astype(certain, backend.dtype)
        value = xp.where(certain, reduced[:, size, ...] * inverse, xp.zeros_like(count))
        infinite = xp.concat([value[None, ...], from_diagonal(count, xp)], axis=0)
        if bool(backend.to_host(xp.any(some & ~certain))):
            raise ValueError(
                f"exact relations and evidence fix sums of the components at port {port}, but not the components, and no "
                "message can say this: use a prior with a small variance instead of evidence, add some noise, or use fg.exact"
            )
        return self.kinds[port].join(message, infinite[None, ...], backend)

    def relation(self, incoming: Sequence[Array], parameters: Parameters, ports: tuple[int, int], semiring: Semiring) -> Array:
        xp, backend = semiring.xp, semiring.backend
        kind = self.kinds[ports[0]]
        relations = VectorRelations(kind, backend)
        others = [port for port in range(len(self.kinds)) if port not in ports]
        a, b = (parameters["coefficients"][:, self.columns[port], ...] for port in ports)
        offset, noise = parameters["offset"], parameters["variance"]
        if others:
            matrix, right, _ = self._system(incoming, parameters, others, backend)
            above = right.shape[0] - self.rows
            # Covariance and mean of what the others make: from their own system, without the relation's rows.
            sides = xp.concat([transposed(matrix[above:, :above, ...], xp), right[:above, None, ...]], axis=1)
            made = eliminate(matrix[:above, :above, ...], sides, xp)
            made_values = xp.where(xp.all(made.found, axis=0), made.values, xp.full_like(made.values, xp.nan))
            offset = right[above:, ...] - apply(matrix[above:, :above, ...], made_values[:, self.rows, ...])
            noise = noise + product(matrix[above:, :above, ...], made_values[:, : self.rows, ...])
        nan = xp.full_like(b[0, 0, ...] + offset[0, ...] + noise[0, 0, ...], xp.nan)
        if self.rows != kind.dimension:
            return backend.zeros((*relations.shape, *nan.shape)) + nan
        whole = nan.shape
        sides = [-b, xp.broadcast_to(noise, (*noise.shape[:2], *whole)), offset[:, None, ...]]
        sides = [xp.broadcast_to(side, (*side.shape[:2], *whole)) for side in sides]
        solved = eliminate(a, xp.concat(sides, axis=1), xp)
        d = kind.dimension
        values = xp.where(xp.all(solved.found, axis=0), solved.values, nan)
        half = transposed(values[:, d : 2 * d, ...], xp)
        spread = eliminate(a, half, xp).values
        none = xp.zeros_like(values[:, :d, ...])
        return relations.joined(values[:, :d, ...], symmetric(spread, xp), none, values[:, 2 * d, ...], none[0, ...])

    def log_partition(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """Log of the integral (or maximum) over all variables; infinite where that is."""
        xp = semiring.xp
        matrix, right, certain = self._system(incoming, parameters, range(len(self.kinds)), semiring.backend)
        solution = eliminate(matrix, right[:, None, ...], xp)
        exponent = 0.5 * dot(right, solution.values[:, 0, ...])
        return exponent + self._volume(solution, certain, right, parameters, semiring)

    def _volume(self, solution: Solution, certain: Array, right: Array, parameters: Parameters, semiring: Semiring) -> Array:
        """All of the log-partition but the exponent; -inf where exact relations of certain variables do not hold."""
        xp, above = semiring.xp, right.shape[0] - self.rows
        size = xp.max(xp.abs(right[above:, ...]), axis=0)
        apart = xp.max(xp.abs(solution.left[:, 0, ...] / solution.row_scale), axis=0) > _MET * (1.0 + size)
        if semiring.mode == "max":
            found = parameters["normaliser"] + xp.zeros_like(size)
        else:
            dtype = semiring.backend.dtype
            free = xp.sum(1.0 - certain, axis=0) - xp.sum(xp.astype(solution.found[above:, ...], dtype), axis=0)
            found = 0.5 * (free * math.log(2.0 * math.pi) - solution.log_determinant)
        fixed = xp.all(solution.found[:above, ...], axis=0)
        found = xp.where(fixed, found, xp.full_like(found, xp.inf))
        return xp.where(fixed & apart, xp.full_like(found, -xp.inf), found)

    def centred_log_partition(
        self, incoming: Sequence[Array], values: Sequence[Array], parameters: Parameters, semiring: Semiring
    ) -> Array:
        xp, backend = semiring.xp, semiring.backend
        residual = (
            parameters["offset"] + xp.zeros_like(dot(values[0], values[0]) if not self.scalar[0] else values[0])[None, ...]
        )
        size = xp.abs(residual)
        for port, value in enumerate(values):
            x = value[None, ...] if self.scalar[port] else value
            term = apply(parameters["coefficients"][:, self.columns[port], ...], x)
            residual, size = residual - term, size + xp.abs(term)
        # What is left within rounding is none.
        rounding = 8.0 * float(xp.finfo(residual.dtype).eps) * size
        residual = xp.where(xp.abs(residual) <= rounding, xp.zeros_like(residual), residual)
        density = -0.5 * dot(residual, apply(parameters["weight"], residual))
        matrix, right, certain = self._system(incoming, parameters, range(len(self.kinds)), backend)
        above = right.shape[0] - self.rows
        right = xp.concat([xp.zeros_like(right[:above, ...]), residual], axis=0)
        solution = eliminate(matrix, right[:, None, ...], xp)
        return density + self._volume(solution, certain, right, parameters, semiring)

    def marginals(self, incoming: Sequence[Array], parameters: Parameters, semiring: Semiring) -> Array:
        """Joint mean (first row) and covariance of all components, ``(1 + D, D, F)``."""
        xp, backend = semiring.xp, semiring.backend
        ports = range(len(self.kinds))
        matrix, right, certain = self._system(incoming, parameters, ports, backend)
        above = right.shape[0] - self.rows
        unit = from_diagonal(1.0 - certain, xp)
        below = backend.zeros((self.rows, *unit.shape[1:]))
        sides = xp.concat([right[:, None, ...], xp.concat([unit, below], axis=0)], axis=1)
        solution = eliminate(matrix, sides, xp)
        known = [self.kinds[port].free_part(self._seen(port, incoming[port], xp), backend)[3] for port in ports]
        found = xp.where(
            xp.all(solution.found[:above, ...], axis=0), solution.values[:above, ...], xp.full_like(unit[0, 0, ...], xp.nan)
        )
        mean = found[:, 0, ...] + xp.concat(known, axis=0)
        return xp.concat([mean[None, ...], symmetric(found[:, 1:, ...], xp)], axis=0)

    def log_potential(self, *values: np.ndarray) -> np.ndarray:
        """Log-density at values ``(d, ..., F)`` of each variable, ``(...)`` of scalars."""
        columns = [value[None] if scalar else value for value, scalar in zip(values, self.scalar, strict=True)]
        shape = np.broadcast_shapes(*(column.shape[1:] for column in columns), (self.count,))

        def spread(array: np.ndarray) -> np.ndarray:
            return array.reshape(*array.shape[:-1], *(1,) * (len(shape) - 1), array.shape[-1])

        x = np.concatenate([np.broadcast_to(column, (len(column), *shape)) for column in columns])
        residual = spread(self.arrays["offset"]) - apply(spread(self.arrays["coefficients"]), x)
        weight = spread(self.noise.weight())
        kept = apply(spread(self.arrays["variance"]), apply(weight, residual))
        met = np.abs(residual - kept).max(axis=0) <= _MET * (1.0 + np.abs(residual).max(axis=0))
        density = -0.5 * dot(residual, apply(weight, residual)) + spread(self.noise.normaliser())
        return np.where(met, density, -np.inf)
