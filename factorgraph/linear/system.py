"""
A graph of normal variables and linear relations as one sparse linear system.

With J and h the priors' natural parameters, and the relations ``A x = b + noise`` of variances V, the most probable x and one
multiplier for each relation solve

    | J   A^T |  | x |   | h |
    | A   -V  |  | l | = | b |

whatever V is, 0 included. The upper left block of the inverse is the covariance of x, and the determinant is that of V times
that of the joint precision. Relations with noise are summed out beforehand: they add ``A^T V^-1 A`` to J. What is left is the
system of the variables and of the relations that have none, or next to none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, onenormest, splu

from factorgraph.blocks import Factors, Variables
from factorgraph.graph import FactorGraph
from factorgraph.variables import is_normal

_COLUMNS = 256  # of the inverse that are worked out at once
_REFINEMENTS = 2
_PASSES = 6  # of bringing rows and columns to like size
_CONDITION = 1e14  # beyond which nothing fixes some variable
_ALMOST_EXACT = 1e-9  # noise that stands for none where signs alone matter
_SHARP = 1e-8  # noise that small beside the usual counts with the relations that have none
_MET = 1e-6  # how far an exact relation may be from what is observed


class ImproperModelError(ValueError):
    """Some variables are not determined by anything, or relations without noise repeat or exclude each other."""


class LinearSystem:
    """
    The system of a graph, factorised.

    Parameters
    ----------
    graph : FactorGraph
        Of normal variables, and factors that are linear relations of them: see `Factor.linear`. Its prior and evidence count.

    Attributes
    ----------
    first, widths : of each block of variables its first number, and how many numbers a variable has
    free : (N,) place among the unknowns of each number in the order of the graph's blocks, -1 where it is observed
    values : (N,) observed values
    number, relations : of the unknown numbers, and of the relations without noise that touch some
    density : log-densities of what is observed alone
    noisy : log-normalisation of the noise of all relations that have some
    scale : of those among them that were summed out

    Raises
    ------
    TypeError
        A variable is not normal, or a factor is no linear relation.
    ImproperModelError
        The system has no one solution; the message names a variable.
    """

    def __init__(self, graph: FactorGraph) -> None:
        self._graph = graph
        self.widths = {name: math.prod(block.type.value_shape) for name, block in graph.variable_blocks.items()}
        sizes = [block.size * self.widths[name] for name, block in graph.variable_blocks.items()]
        self.first = dict(zip(graph.variable_blocks, np.cumsum([0, *sizes]).tolist(), strict=False))
        h, precision, observed, self.values = self._priors()
        self.free = np.where(observed, -1, np.cumsum(~observed) - 1)
        self.number = int((~observed).sum())
        rows, columns, coefficients, offset, variance, scale = self._relations()
        fixed = observed[columns]
        offset = offset - np.bincount(rows[fixed], (coefficients * self.values[columns])[fixed], minlength=offset.size)
        touched = np.bincount(rows[~fixed], minlength=offset.size) > 0
        seen = self.values[observed]
        said = precision[observed] @ self.values
        self.density = (
            scale + float(np.sum((h[observed] - 0.5 * said) * seen)) + _of_known(offset[~touched], variance[~touched])
        )
        self.noisy = -0.5 * float(np.sum(np.log(2.0 * math.pi * variance[touched & (variance > 0)])))
        self.relations = int(touched.sum())
        place = np.cumsum(touched) - 1
        a = sparse.csr_array(
            (coefficients[~fixed], (place[rows[~fixed]], self.free[columns[~fixed]])), shape=(int(touched.sum()), self.number)
        )
        self._prior, self._a = precision[~observed][:, ~observed], a
        self._h = h[~observed] - precision[~observed] @ self.values
        self._offset, self._variance = offset[touched], variance[touched]
        noise = self._variance[self._variance > 0]
        self._sharp = self._variance <= _SHARP * (np.median(noise) if noise.size else 0.0)
        self.relations = int(self._sharp.sum())
        self._assemble()
        self._factorise()

    def _assemble(self) -> None:
        """The matrix and the right-hand side, relations with noise summed out."""
        soft, sharp = self._a[~self._sharp], self._a[self._sharp]
        weights = 1.0 / self._variance[~self._sharp]
        joint = self._prior + soft.T @ (sparse.diags_array(weights) @ soft)
        blocks = [[joint, sharp.T], [sharp, sparse.diags_array(-self._variance[self._sharp])]]
        self._matrix = sparse.csc_array(sparse.block_array(blocks)) if self.number else sparse.csc_array((0, 0))
        offset = self._offset[~self._sharp]
        self._right = np.concatenate([self._h + soft.T @ (weights * offset), self._offset[self._sharp]])
        # What of the normalisation of noise is no part of the determinant.
        self.scale = -0.5 * float(np.sum(np.log(2.0 * math.pi / weights)))

    def _priors(self) -> tuple[np.ndarray, sparse.csr_array, np.ndarray, np.ndarray]:
        """Of all numbers h, the precision matrix, whether they are observed, and at which values, 0 where they are not."""
        fields, blocks, seen = [np.zeros(0)], [], [np.zeros(0)]
        for block in self._graph.variable_blocks.values():
            if not is_normal(block.type):
                raise TypeError(f"exact answers by linear algebra need normal variables, but {block.name!r} are {block.type!r}")
            width = self.widths[block.name]
            prior = (
                np.zeros((block.size, 1 + width, width)) if block.prior is None else block.prior.reshape(-1, 1 + width, width)
            )
            fields.append(prior[:, 0].reshape(-1))
            blocks.append(sparse.bsr_array((prior[:, 1:], np.arange(block.size), np.arange(block.size + 1))))
            values = np.full((block.size, width), np.nan)
            if block.observed is not None and block.values is not None:
                values[block.observed] = block.values.reshape(-1, width)[block.observed]
            seen.append(values.reshape(-1))
        values, number = np.concatenate(seen), sum(map(len, seen))
        observed = ~np.isnan(values)
        precision = sparse.csr_array(sparse.block_diag(blocks)) if blocks else sparse.csr_array((number, number))
        return np.concatenate(fields), precision, observed, np.where(observed, values, 0.0)

    def _relations(self) -> tuple[Any, ...]:
        """
        All rows of all factors.

        Number of the row and of the column of each coefficient, the coefficients; of each row offset and variance; the
        logarithm of what the densities are multiplied by besides.
        """
        rows, columns, entries = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
        offsets, variances, start, scale = [np.zeros(0)], [np.zeros(0)], 0, 0.0
        for block in self._graph.factor_blocks.values():
            if block.is_block or not block.bound.factor.gives("linear"):
                raise TypeError(
                    f"exact answers of real variables need linear relations; factors {block.name!r} are {block.factor!r}. "
                    "fg.run(graph) approximates the answers"
                )
            found = block.bound.factor.linear(block.bound.own_parameters())
            numbers = self.numbers_at(block)
            for of_row, offset, variance in zip(found.coefficients, found.offsets, found.variances, strict=True):
                for column, coefficients in zip(numbers.T, of_row, strict=True):
                    each = np.broadcast_to(coefficients, (block.count,))
                    there = each != 0
                    rows.append(start + np.flatnonzero(there))
                    columns.append(column[there])
                    entries.append(each[there])
                offsets.append(np.broadcast_to(offset, (block.count,)))
                variances.append(np.broadcast_to(variance, (block.count,)))
                start += block.count
            scale += float(np.broadcast_to(found.log_scale, (block.count,)).sum())
        return *(np.concatenate(parts) for parts in (rows, columns, entries, offsets, variances)), scale

    def numbers_of(self, variables: Variables) -> np.ndarray:
        """The numbers that variables consist of, ``(n, width)``."""
        width = self.widths[variables.name]
        return self.first[variables.name] + variables.index.reshape(-1, 1) * width + np.arange(width)

    def numbers_at(self, factors: Factors) -> np.ndarray:
        """The numbers at all ports of factors, ``(F, D)``."""
        return np.concatenate([self.numbers_of(port) for port in factors.ports], axis=1)

    def _factorise(self) -> None:
        if not self.number:
            self._lu: Any = None
            return
        # Rows and columns of like size, so that the condition is that of the model and not of its units.
        self._scale, scaled = np.ones(self._matrix.shape[0]), self._matrix
        for _ in range(_PASSES):
            size = abs(scaled).max(axis=1).toarray().ravel()
            more = 1.0 / np.sqrt(np.where(size > 0, size, 1.0))
            self._scale = self._scale * more
            scaled = sparse.csc_array(sparse.diags_array(more) @ scaled @ sparse.diags_array(more))
        try:
            self._lu = splu(scaled)
        except RuntimeError as error:
            raise ImproperModelError(self._why(None)) from error
        inverse: Any = LinearOperator(scaled.shape, matvec=self._lu.solve, rmatvec=lambda x: self._lu.solve(x, "T"))
        if not np.isfinite(found := onenormest(inverse)) or found * float(abs(scaled).sum(axis=0).max()) > _CONDITION:
            raise ImproperModelError(self._why(self._lu))
        if self._prior.data.size and self._smallest_of_prior() < 0:
            self._check_positive()

    def _why(self, lu: Any) -> str:
        """Which variable is not fixed, as far as that can be seen."""
        named, untouched = "", np.flatnonzero(abs(self._matrix).max(axis=1).toarray().ravel()[: self.number] == 0)
        if untouched.size:
            named = f"; look at {self._name(int(untouched[0]))}"
        if lu is not None:
            loose = (
                np.abs(lu.solve(np.random.default_rng(0).normal(size=lu.shape[0])))[: self.number] * self._scale[: self.number]
            )
            if np.isfinite(loose).all():
                named = f"; look at {self._name(int(np.argmax(loose)))}"
        return (
            "the model is improper: nothing fixes some variables (give them a prior, or observe some), or exact relations "
            f"repeat or exclude each other{named}"
        )

    def _name(self, unknown: int) -> str:
        number = int(np.flatnonzero(self.free == unknown)[0])
        name = max((name for name, first in self.first.items() if first <= number), key=self.first.__getitem__)
        block = self._graph.variable_blocks[name]
        index = np.unravel_index(number - self.first[name], (*block.shape, *block.type.value_shape))
        return f"{name!r}{[int(i) for i in index]}"

    def _smallest_of_prior(self) -> float:
        """The smallest eigenvalue of a prior's precision, 0 within rounding."""
        return min((float(sizes.min()) for _, sizes, _ in self._prior_directions()), default=0.0)

    def _prior_directions(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of each block of variables the unknowns ``(n, width)``, -1 for none; eigenvalues and vectors of the precisions."""
        for name, block in self._graph.variable_blocks.items():
            if block.prior is None or not block.size:
                continue
            width = self.widths[name]
            unknowns = self.free[self.first[name] + np.arange(block.size * width)].reshape(-1, width)
            free = unknowns >= 0
            precision = block.prior.reshape(-1, 1 + width, width)[:, 1:] * free[:, :, None] * free[:, None, :]
            sizes, vectors = np.linalg.eigh(precision)
            rounding = 1e-12 * np.abs(sizes).max(axis=1, keepdims=True)
            yield unknowns, np.where(np.abs(sizes) <= rounding, 0.0, sizes), vectors

    def _check_positive(self) -> None:
        """Refuse a joint precision with negative directions, which priors of negative precision may leave."""
        weights = sparse.diags_array(1.0 / np.maximum(self._variance, _ALMOST_EXACT))
        joint = sparse.csc_array(self._prior + self._a.T @ (weights @ self._a))
        # Eliminated in an order that is the same for rows and columns, the pivots of a positive matrix are positive.
        options = {"SymmetricMode": True}
        pivots = splu(joint, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options).U.diagonal()
        if pivots.min() <= 0:
            raise ImproperModelError(self._why(None))

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_lu": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._factorise()

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Solutions for right-hand sides ``(unknowns + relations, k)``, refined once."""
        if self._lu is None:
            return right
        scale = self._scale.reshape(-1, *(1,) * (right.ndim - 1))
        found = scale * self._lu.solve(scale * right)
        return found + scale * self._lu.solve(scale * (right - self._matrix @ found))

    def most_probable(self) -> tuple[np.ndarray, float]:
        """Values of the unknown variables, and the exponent there."""
        found = self.solve(self._right)
        soft, sharp = self._a[~self._sharp], self._a[self._sharp]
        weights, variances = 1.0 / self._variance[~self._sharp], self._variance[self._sharp]
        # Forming the matrix has lost the digits by which the sharpest relations outweigh the others; residuals have them.
        for number in range(_REFINEMENTS + 1):
            x, multipliers = found[: self.number], found[self.number :]
            rest = self._offset[~self._sharp] - soft @ x
            if number == _REFINEMENTS:
                break
            slope = self._h - self._prior @ x + soft.T @ (weights * rest) - sharp.T @ multipliers
            broken = self._offset[self._sharp] - sharp @ x + variances * multipliers
            found = found + self.solve(np.concatenate([slope, broken]))
        exponent = self._h @ x - 0.5 * (x @ (self._prior @ x) + weights @ rest**2 + variances @ multipliers**2)
        return x, float(exponent)

    def log_determinant(self) -> float:
        """Of the absolute value."""
        if self._lu is None:
            return 0.0
        return float(np.sum(np.log(np.abs(self._lu.U.diagonal()))) - 2.0 * np.sum(np.log(self._scale)))

    def columns(self, unknowns: np.ndarray) -> np.ndarray:
        """Columns of the covariance, ``(number, k)``."""
        right = np.zeros((self.number + self.relations, unknowns.size))
        right[unknowns, np.arange(unknowns.size)] = 1.0
        return self.solve(right)[: self.number]

    def variances(self, unknowns: np.ndarray) -> np.ndarray:
        """Of some unknown variables, some columns at a time."""
        found = np.empty(unknowns.size)
        for start in range(0, unknowns.size, _COLUMNS):
            part = unknowns[start : start + _COLUMNS]
            found[start : start + _COLUMNS] = self.columns(part)[part, np.arange(part.size)]
        return found

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """
        Draws from the joint density, ``(number, n)``: solutions for priors and offsets that are moved by noise of their own.

        Raises
        ------
        ValueError
            A prior has a negative precision.
        """
        if self._prior.data.size and self._smallest_of_prior() < 0:
            raise ValueError("joint states can only be drawn if no prior has a negative precision")
        soft, weights = self._a[~self._sharp], 1.0 / self._variance[~self._sharp]
        moved = np.repeat(self._right[:, None], n, axis=1)
        for unknowns, sizes, vectors in self._prior_directions():
            noise = vectors @ (np.sqrt(sizes)[:, :, None] * rng.normal(size=(*sizes.shape, n)))
            moved[unknowns[unknowns >= 0]] += noise[unknowns >= 0]
        moved[: self.number] += soft.T @ (np.sqrt(weights)[:, None] * rng.normal(size=(weights.size, n)))
        moved[self.number :] += np.sqrt(self._variance[self._sharp])[:, None] * rng.normal(size=(self.relations, n))
        return self.solve(moved)[: self.number]


def _of_known(offset: np.ndarray, variance: np.ndarray) -> float:
    """Log-densities of relations whose variables are all observed."""
    exact = variance == 0
    safe = np.where(exact, 1.0, variance)
    met = np.abs(offset) <= _MET
    terms = np.where(exact, np.where(met, 0.0, -np.inf), -0.5 * (offset * offset / safe + np.log(2.0 * math.pi * safe)))
    return float(terms.sum())
