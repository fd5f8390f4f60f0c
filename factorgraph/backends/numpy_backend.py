"""NumPy as a backend: the reference form's operations again, in place and in chunks that fit the cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from factorgraph.backends.base import Array, Backend, Index, Operand
from factorgraph.backends.kernels.erfcx import ERFCX
from factorgraph.backends.log_convolution import BLOCK, log_convolve

_CHUNK_BYTES = 1 << 19  # half of a usual second-level cache: room for the chunk and its result
_FEW_NUMBERS = 1000  # of which one call of SciPy takes less time than many of NumPy
_ELEMENTWISE_BYTES = 1 << 19  # of each array of a long chain: fewer calls count for more than the cache


class NumpyBackend(Backend):
    """In-place ufuncs on the CPU."""

    name = "numpy"
    xp: Any = np

    def asarray(self, values: ArrayLike | Array, copy: bool = True) -> Array:
        return np.array(values, dtype=self.dtype, order="C", copy=copy or None)

    def index_array(self, indices: ArrayLike) -> Array:
        return np.ascontiguousarray(indices, dtype=np.intp)

    def mask_array(self, mask: np.ndarray) -> Array:
        return np.array(mask, dtype=np.bool_)

    def to_host(self, array: Array) -> np.ndarray:
        return np.array(array)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        return np.zeros(shape, dtype=self.dtype)

    def take(self, array: Array, index: Index, axis: int) -> Array:
        if isinstance(index, slice):
            return array[(slice(None),) * axis + (index,)]
        # mode="clip" spares the buffer of the default mode; indices were checked when the graph was compiled.
        return array.take(index, axis=axis, mode="clip")

    def sum_slots(self, array: Array, slots: Array, axis: int) -> Array:
        if 0 < slots.shape[0] <= 8:
            total = np.take(array, slots[0], axis=axis, mode="clip")
            for row in slots[1:]:
                total += np.take(array, row, axis=axis, mode="clip")
            return total
        return np.add.reduce(np.take(array, slots, axis=axis, mode="clip"), axis=axis)

    def gather_subtract(self, totals: Array, places: Index, messages: Array, edges: Index, axis: int) -> Array:
        if isinstance(places, slice):
            return self.take(totals, places, axis) - self.take(messages, edges, axis)
        cavities = self.take(totals, places, axis)
        cavities -= self.take(messages, edges, axis)
        return cavities

    def log_sum_exp(self, array: Array, axis: int) -> Array:
        largest = array.max(axis=axis, keepdims=True)
        if not np.isfinite(largest).all():
            largest[~np.isfinite(largest)] = 0.0
        shifted = array - largest
        np.exp(shifted, out=shifted)
        total = shifted.sum(axis=axis)
        np.log(total, out=total)
        total += largest.squeeze(axis)
        return total

    def log_convolve(self, left: Array, right: Array, start: int, stop: int, mode: str) -> Array:
        if mode == "max" or min(left.shape[0], right.shape[0]) < 2 * BLOCK:
            return super().log_convolve(left, right, start, stop, mode)
        return log_convolve(left, right, start, stop)

    def elementwise(self, function: Callable[..., tuple[Array, ...]], *arrays: Operand) -> tuple[Array, ...]:
        first = arrays[0]
        if first.nbytes <= _ELEMENTWISE_BYTES or not getattr(function, "in_pieces", True):
            return function(*arrays, self)
        full = [array for array in arrays if isinstance(array, np.ndarray)]
        if all(array.shape == first.shape and array.flags.c_contiguous for array in full):
            flat = [array.reshape(-1) if isinstance(array, np.ndarray) else array for array in arrays]
            return tuple(array.reshape(first.shape) for array in self._in_pieces(function, flat, (first.size,)))
        return self._in_pieces(function, arrays, np.broadcast_shapes(*(array.shape for array in full)))

    def _in_pieces(
        self, function: Callable[..., tuple[Array, ...]], arrays: Sequence[Operand], shape: tuple[int, ...]
    ) -> tuple[Array, ...]:
        """Apply an elementwise function to pieces along the first axis; ``shape`` is that of the results."""
        rows = max(1, _ELEMENTWISE_BYTES // (math.prod(shape[1:]) * arrays[0].itemsize))
        cut = [isinstance(array, np.ndarray) and array.ndim == len(shape) and len(array) == shape[0] for array in arrays]
        results: list[Array] = []
        new: list[tuple[int, Array]] = []  # those that the function did not write in place
        for start in range(0, shape[0], rows):
            part = slice(start, start + rows)
            pieces = [array[part] if is_cut else array for array, is_cut in zip(arrays, cut, strict=True)]
            values = function(*pieces, self)
            if not results:
                for place, value in enumerate(values):
                    written = next((array for array, piece in zip(arrays, pieces, strict=True) if piece is value), None)
                    results.append(np.empty(shape, dtype=value.dtype) if written is None else written)
                    new += [(place, results[-1])] if written is None else []
            for place, result in new:
                result[part] = values[place]
        return tuple(results)

    def apply(self, function: str, *operands: Operand, out: Array | None = None) -> Array:
        return getattr(np, function)(*operands, out=out)

    def relax(self, array: Array, index: Index, values: Array, step: float | Array, axis: int) -> Array:
        if not isinstance(index, slice):
            return super().relax(array, index, values, step, axis)
        old = array[(slice(None),) * axis + (index,)]
        change = np.subtract(values, old)
        if isinstance(step, float) and step == 1.0:
            old[...] = values
        else:
            old += step * change
        return change

    def largest_magnitude(self, array: Array, batched: bool = False) -> Array:
        if batched:
            return super().largest_magnitude(array, batched)
        if not array.size:
            return self.dtype(0.0)
        largest = max(array.max(), -array.min())
        return self.dtype(np.inf) if np.isnan(largest) else largest

    def largest(self, array: Array) -> float:
        return float(array.max())

    def at_least(self, array: Array, bound: float) -> np.ndarray:
        found = array >= bound
        return np.flatnonzero(found if found.ndim == 1 else found.any(axis=1))

    def add_at(self, array: Array, index: Array, values: Array, axis: int) -> None:
        if axis:
            array, values = np.moveaxis(array, axis, 0), np.moveaxis(values, axis, 0)
        np.add.at(array, index, values)

    def subtract_largest(self, array: Array) -> Array:
        largest = array.max(axis=0, keepdims=True)
        if not np.isfinite(largest).all():
            largest[~np.isfinite(largest)] = 0.0
        return array - largest

    def all_within(self, array: Array, limit: float) -> bool:
        return bool(max(array.max(), -array.min()) <= limit) if array.size else True

    def table_marginals(
        self,
        table: Array,
        weights: Sequence[Array],
        ports: Sequence[int],
        mode: str,
        potentials: Array | None = None,
        smallest: Array | None = None,
    ) -> list[Array]:
        if mode == "sum" and potentials is not None:
            return self._sum_of_products(table, potentials, smallest, weights, ports)
        return self._in_chunks(table, weights, ports, mode)

    def _sum_of_products(
        self, table: Array, potentials: Array, smallest: Array | None, weights: Sequence[Array], ports: Sequence[int]
    ) -> list[Array]:
        """
        The sums themselves, not their logarithms: one multiply-add per entry of the table.

        Where a sum is so small that terms may have been lost to underflow, the factor is done again by logarithms; unless
        all terms that are not zero are large enough, so that a sum of zero is one.
        """
        scaled = [self.subtract_largest(weight) for weight in weights]
        least = np.float64(np.finfo(self.dtype).tiny) / np.finfo(self.dtype).eps ** 1.5
        nothing_is_lost = smallest is not None and _smallest_term(smallest, scaled) > np.log(least)
        densities = [np.exp(weight, out=weight) for weight in scaled]
        found: dict[int, Array] = {}
        self._sum_halves(potentials, densities, list(range(len(weights))), set(ports), found)
        lost = np.zeros(weights[0].shape[1], dtype=np.bool_)
        for port in ports:
            if not nothing_is_lost and found[port].min() < least:
                lost |= (found[port] < least).reshape(len(found[port]), lost.size, -1).any(axis=(0, 2))
            np.log(found[port], out=found[port])
        if lost.any():
            places = np.flatnonzero(lost)
            arity = len(weights)
            part = table if table.shape[arity] == 1 else np.take(table, places, axis=arity)
            again = self._in_chunks(part, [weight[:, places] for weight in weights], ports, "sum")
            for port, values in zip(ports, again, strict=True):
                found[port][:, places] = values
        return [found[port] for port in ports]

    def _sum_halves(
        self, table: Array, densities: Sequence[Array], ports: list[int], asked: set[int], found: dict[int, Array]
    ) -> None:
        """`_reduce_halves` on the potentials themselves."""
        if len(ports) == 1:
            if ports[0] in asked:
                found[ports[0]] = np.array(np.broadcast_to(table, (table.shape[0], *densities[ports[0]].shape[1:])))
            return
        middle = len(ports) // 2
        for kept, removed in ((ports[:middle], ports[middle:]), (ports[middle:], ports[:middle])):
            if asked.isdisjoint(kept):
                continue
            joint = densities[removed[0]]
            for port in removed[1:]:
                joint = (joint[:, None] * densities[port]).reshape(-1, *joint.shape[1:])
            kept_states = [densities[port].shape[0] for port in kept]
            first = (len(joint), -1) if removed[0] == ports[0] else (-1, len(joint))
            matrix = table.reshape(*first, *table.shape[len(ports) :])
            rows = "rk" if removed[0] == ports[0] else "kr"
            smaller = self._contract(rows, matrix, joint)
            self._sum_halves(smaller.reshape(*kept_states, *smaller.shape[1:]), densities, kept, asked, found)

    def _contract(self, rows: str, matrix: Array, joint: Array) -> Array:
        """Sum over ``r``: ``matrix`` is ``(r, k, F or 1)`` or ``(k, r, F or 1)``, ``joint`` ``(r, F)``, both maybe batched."""
        if matrix.shape[2] == 1 and matrix.size == matrix.shape[0] * matrix.shape[1]:
            square = matrix.reshape(matrix.shape[:2])
            flat = joint.reshape(len(joint), -1)
            product = np.matmul(square.T if rows == "rk" else square, flat)
            return product.reshape(-1, *joint.shape[1:])
        if joint.ndim == 2:
            return np.einsum(f"{rows}f,rf->kf", matrix, joint)
        return np.einsum(f"{rows}fb,rfb->kfb", np.broadcast_to(matrix, (*matrix.shape[:3], joint.shape[2])), joint)

    def _in_chunks(self, table: Array, weights: Sequence[Array], ports: Sequence[int], mode: str) -> list[Array]:
        count = weights[0].shape[1]
        arity = len(weights)
        states = int(np.prod(table.shape[:arity])) * int(np.prod(weights[0].shape[2:]))
        chunk = max(64, _CHUNK_BYTES // (states * table.itemsize))
        if count <= chunk:
            return Backend.table_marginals(self, table, weights, ports, mode)
        results = [np.empty(weights[port].shape, dtype=self.dtype) for port in ports]
        shared = table.shape[arity] == 1
        for start in range(0, count, chunk):
            part = slice(start, start + chunk)
            piece = table if shared else table[(slice(None),) * arity + (part,)]
            found = Backend.table_marginals(self, piece, [w[:, part] for w in weights], ports, mode)
            for result, values in zip(results, found, strict=True):
                result[:, part] = values
        return results

    def erfcx(self, x: Array) -> Array:
        if x.size < _FEW_NUMBERS and self.dtype_name == "float64":
            return special.erfcx(x)
        centre, coefficients = ERFCX[self.dtype_name]
        inverse = x + centre
        np.divide(1.0, inverse, out=inverse)
        t = inverse * (-2.0 * centre)
        t += 1.0
        value = t * coefficients[-1]
        for coefficient in coefficients[-2:0:-1]:
            value += coefficient
            value *= t
        value += coefficients[0]
        value *= inverse
        return value

    def log_ndtr(self, x: Array) -> Array:
        return special.log_ndtr(x)

    def ndtr(self, x: Array) -> Array:
        return special.ndtr(x)

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        if self.products != "full":
            a, b = round_significand(a, self.products), round_significand(b, self.products)
        return np.matmul(a, b, out=out)

    def add_product(self, total: Array, factor: Array, other: Array) -> Array:
        product = np.multiply(factor, other, out=factor if factor.shape == other.shape else None)
        total += product
        return total


def _smallest_term(smallest: Array, scaled: Sequence[Array]) -> float:
    """Logarithm of the smallest product that is not zero."""
    total = float(smallest.min())
    for weight in scaled:
        total += float(np.min(weight, where=weight > -np.inf, initial=0.0))
    return total


def round_significand(array: np.ndarray, products: str) -> np.ndarray:
    """
    float32 numbers rounded as the matrix units of GPUs round them, ties to even: a model of their accuracy, not of their speed.

    Parameters
    ----------
    products : ``"tf32"`` keeps 10 bits of the significand, ``"bfloat16"`` keeps 7
    """
    dropped = {"tf32": 13, "bfloat16": 16}[products]
    bits = array.view(np.uint32)
    even = (bits >> np.uint32(dropped)) & np.uint32(1)
    rounded = (bits + even + np.uint32((1 << (dropped - 1)) - 1)) & np.uint32(0xFFFFFFFF - (1 << dropped) + 1)
    return np.where(np.isfinite(array), rounded.view(np.float32), array)
