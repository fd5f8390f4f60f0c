"""The backend contract, and its reference form in plain Array API.

`Backend` holds every operation that array libraries do differently, each written once with nothing but the Python
Array API standard. A tuned backend overrides an operation with one of the same name, signature and result.

Arrays count their axes from the front: parameter axes first, then the long axis of factors, edges or variables,
then (where several sets of evidence are run together) a batch axis. Arithmetic written for ``(F,)`` so serves all.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.backends.log_convolution import convolve_by_terms

Array: TypeAlias = Any
Index: TypeAlias = "slice | Array"
Operand: TypeAlias = Any  # an array, a number for all entries, or None
Reduce: TypeAlias = "Callable[[Array, int], Array]"  # over an axis

PRODUCTS = ("full", "tf32", "bfloat16")

_OPERATORS: dict[str, Callable[..., Array]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
}

LARGEST_PARAMETER = 1e12
"""Where `Backend.hold` holds finite natural parameters: far beyond any probability, far below overflow."""


class BackendUnavailableError(RuntimeError):
    """The array library asked for cannot run here; the message says why and what to do."""


class Backend:
    """
    An array library, a device and a floating-point type.

    Parameters
    ----------
    dtype : {"float64", "float32"}
    products : {"full", "tf32", "bfloat16"}
        What matrix products round their float32 inputs to; sums are in float32.

    Attributes
    ----------
    xp : the array namespace
    dtype : the namespace's floating-point type
    device : where new arrays are made; None is the library's default
    chunk : patterns that are best worked through at once, where there are many
    serves_threads : whether several threads may use it at the same time
    """

    name: str
    xp: Any
    device: Any = None
    chunk = 512
    serves_threads = True

    def __init__(self, dtype: str = "float64", products: str = "full") -> None:
        if products not in PRODUCTS:
            raise ValueError(f"products must be one of {PRODUCTS}, not {products!r}")
        if products != "full" and dtype != "float32":
            raise ValueError(f"products={products!r} rounds float32 numbers; it cannot be had with dtype={dtype!r}")
        self.dtype_name = dtype
        self.dtype: Any = getattr(self.xp, dtype)
        self.products = products

    def __repr__(self) -> str:
        rounded = "" if self.products == "full" else f", products in {self.products}"
        return f"<{self.name} backend, {self.dtype_name}{rounded}>"

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (self.dtype_name, self.products)

    # Between host and device: only at the edges of a run, never inside one.

    def asarray(self, values: ArrayLike | Array, copy: bool = True) -> Array:
        """Array of the host or device to the device, as the backend's type; without ``copy`` memory may be shared."""
        if isinstance(values, type(self.xp.zeros((0,), device=self.device))):
            return self.xp.astype(values, self.dtype)
        return self.xp.asarray(np.asarray(values, dtype=self.dtype_name), device=self.device, copy=True)

    def index_array(self, indices: ArrayLike) -> Array:
        """Host integers to device, in the integer type that the library gathers by fastest."""
        return self.xp.asarray(np.asarray(indices, dtype=np.int64), device=self.device)

    def mask_array(self, mask: np.ndarray) -> Array:
        """Host booleans to device."""
        return self.xp.asarray(np.asarray(mask, dtype=np.bool_), device=self.device)

    def to_host(self, array: Array) -> np.ndarray:
        """Device array to a new host array."""
        return np.array(array)

    def zeros(self, shape: tuple[int, ...]) -> Array:
        """An array of zeros."""
        return self.xp.zeros(shape, dtype=self.dtype, device=self.device)

    def settle(self, old: Array | None, new: Array) -> Array:
        """``new``, in the memory of ``old`` where kernels may be bound to that."""
        return new

    # Gathering and writing by index along one axis.

    def take(self, array: Array, index: Index, axis: int) -> Array:
        """Entries of an axis: a view for a slice, a gather for an index array."""
        if isinstance(index, slice):
            return array[(slice(None),) * axis + (index, ...)]
        return self.xp.take(array, index, axis=axis)

    def put(self, array: Array, index: Index, values: Array, axis: int) -> None:
        """Write entries of an axis in place."""
        array[(slice(None),) * axis + (index, ...)] = values

    def gather_slots(self, array: Array, slots: Array, axis: int) -> Array:
        """Replace an axis of ``array`` by the two of ``slots`` ``(D, n)``, gathering the entries that they name."""
        degree, count = slots.shape
        gathered = self.take(array, self.xp.reshape(slots, (degree * count,)), axis)
        return self.xp.reshape(gathered, (*array.shape[:axis], degree, count, *array.shape[axis + 1 :]))

    def sum_slots(self, array: Array, slots: Array, axis: int) -> Array:
        """
        Sum over each variable's edges: gather ``slots`` ``(D, n)`` along an axis of ``array`` and add over D.

        Slots that stand for no edge point at an entry of ``array`` that is zero. The order of addition is fixed, so
        two runs give the same bits.
        """
        return self.xp.sum(self.gather_slots(array, slots, axis), axis=axis)

    def gather_subtract(self, totals: Array, places: Index, messages: Array, edges: Index, axis: int) -> Array:
        """Cavities: each edge's variable's total less the edge's own message, as a new array."""
        return self.take(totals, places, axis) - self.take(messages, edges, axis)

    # Reductions over states.

    def log_sum_exp(self, array: Array, axis: int) -> Array:
        """``log(sum(exp(array)))`` over an axis; -inf where all entries are."""
        xp = self.xp
        largest = xp.max(array, axis=axis, keepdims=True)
        largest = xp.where(xp.isfinite(largest), largest, xp.zeros_like(largest))
        return xp.log(xp.sum(xp.exp(array - largest), axis=axis)) + xp.squeeze(largest, axis=axis)

    def log_add_exp(self, a: Array, b: Array) -> Array:
        """``log(exp(a) + exp(b))``."""
        xp = self.xp
        larger, smaller = xp.maximum(a, b), xp.minimum(a, b)
        gap = xp.where(smaller == larger, xp.zeros_like(larger), smaller - larger)
        return larger + xp.log1p(xp.exp(gap))

    def log_convolve(self, left: Array, right: Array, start: int, stop: int, mode: str) -> Array:
        """Reduce ``left[i] + right[k - i]`` over i for k from ``start`` to ``stop``, with full relative accuracy of each k."""
        return convolve_by_terms(self, left, right, start, stop, mode)

    def elementwise(self, function: Callable[..., tuple[Array, ...]], *arrays: Operand) -> tuple[Array, ...]:
        """
        Apply ``function(*arrays, backend)``, which returns a tuple of arrays of one shape, that to which ``arrays`` broadcast.

        In pieces that fit the cache, or in one kernel where the function has one: see `device_function`. So each entry of a
        result may depend on the same entry of each array only, or with a kernel by columns on the same column. After the
        first array there may be numbers, or None for one that is not given, which are the same for all entries. A function may
        overwrite arrays and return them.
        """
        return function(*arrays, self)

    def apply(self, function: str, *operands: Operand, out: Array | None = None) -> Array:
        """The namespace's function of a name, ``"tanh"``; ``out``, where given, may be overwritten with the result."""
        # Operators take numbers in all versions of the standard.
        return _OPERATORS.get(function, getattr(self.xp, function))(*operands)

    # Elementwise chains of the hot path. `out` and inputs named so may be overwritten.

    def relax(self, array: Array, index: Index, values: Array, step: float | Array, axis: int) -> Array:
        """Move entries of an axis a share ``step`` of the way to ``values``, in place; return ``values - old``."""
        old = self.take(array, index, axis)
        change = values - old
        whole = isinstance(step, float) and step == 1.0
        self.put(array, index, values if whole else old + step * change, axis)
        return change

    def relax_infinite(self, array: Array, index: Index, values: Array, step: float | Array, axis: int) -> Array:
        """As `relax` where entries may be infinite: those are replaced, not averaged."""
        xp = self.xp
        old = self.take(array, index, axis)
        change = self.difference(values, old)
        finite = xp.isfinite(old) & xp.isfinite(values)
        self.put(array, index, xp.where(finite, old + step * change, values), axis)
        return change

    def difference(self, new: Array, old: Array) -> Array:
        """``new - old`` where entries may be infinite: equal ones (NaN too) do not differ, all others infinitely."""
        xp = self.xp
        zero = xp.zeros_like(new)
        equal = (new == old) | (xp.isnan(new) & xp.isnan(old))
        finite = xp.isfinite(old) & xp.isfinite(new)
        return xp.where(finite, new - old, xp.where(equal, zero, zero + xp.inf))

    def hold(self, array: Array) -> Array:
        """
        Finite entries held within `LARGEST_PARAMETER`; infinite ones as they are.

        On loops of hard factors messages may grow without end; they are held where they still add up.
        """
        held = self.xp.clip(array, -LARGEST_PARAMETER, LARGEST_PARAMETER)
        return self.xp.where(self.xp.isfinite(array), held, array)

    def largest_magnitude(self, array: Array, batched: bool = False) -> Array:
        """Largest absolute value, as a 0-d device array, or ``(B,)``, one for each set; a NaN counts as infinite."""
        xp = self.xp
        magnitude = xp.abs(array)
        axes = tuple(range(array.ndim - 1)) if batched else None
        return xp.max(xp.where(xp.isnan(magnitude), xp.full_like(magnitude, xp.inf), magnitude), axis=axes)

    def largest(self, array: Array) -> float:
        """Largest entry, on the host."""
        return float(self.xp.max(array))

    def at_least(self, array: Array, bound: float) -> np.ndarray:
        """Positions along the first axis where an entry is at least ``bound``, on the host."""
        found = self.to_host(array) >= bound
        return np.flatnonzero(found if found.ndim == 1 else found.any(axis=1))

    def add_at(self, array: Array, index: Array, values: Array, axis: int) -> None:
        """Add to entries of an axis in place; an index may come several times."""
        host = self.to_host(array)
        np.add.at(np.moveaxis(host, axis, 0), self.to_host(index), np.moveaxis(self.to_host(values), axis, 0))
        array[...] = self.xp.asarray(host, device=self.device)

    def subtract_largest(self, array: Array) -> Array:
        """Shift the states (axis 0) so that the largest is 0; where all are -inf they stay so. May overwrite."""
        xp = self.xp
        largest = xp.max(array, axis=0, keepdims=True)
        return array - xp.where(xp.isfinite(largest), largest, xp.zeros_like(largest))

    def all_within(self, array: Array, limit: float) -> bool:
        """Whether all entries are known to be at most ``limit`` in size; False where finding out would wait for the device."""
        return False

    def table_marginals(
        self,
        table: Array,
        weights: Sequence[Array],
        ports: Sequence[int],
        mode: str,
        potentials: Array | None = None,
        smallest: Array | None = None,
    ) -> list[Array]:
        """
        Messages of a tabulated factor.

        Parameters
        ----------
        table : (q_0, ..., q_k, F or 1, *batch) log-potentials
        weights : one (q_p, F, *batch) array of incoming log-weights for each port
        ports : the ports asked for
        mode : {"sum", "max"}
        potentials : ``exp(table)``, scaled so that each factor's largest is 1: lets a backend sum products instead of
            exponentials
        smallest : where the table has zeros, the logarithm of the smallest of the other ``potentials``, one number

        Returns
        -------
        list of (q_p, F, *batch), one for each asked port: the table times all other ports' weights, reduced over their
        states. Known up to a constant of each factor.
        """
        reduce = self.log_sum_exp if mode == "sum" else self.maximum
        found: dict[int, Array] = {}
        self._reduce_halves(table, weights, list(range(len(weights))), set(ports), reduce, found)
        return [found[port] for port in ports]

    def maximum(self, array: Array, axis: int) -> Array:
        """Largest entry over an axis."""
        return self.xp.max(array, axis=axis)

    def _reduce_halves(
        self,
        table: Array,
        weights: Sequence[Array],
        ports: list[int],
        asked: set[int],
        reduce: Reduce,
        found: dict[int, Array],
    ) -> None:
        """Split the table's ports in halves, take each half out in one pass, and go on with what is left."""
        if len(ports) == 1:
            if ports[0] in asked:
                shape = (table.shape[0], *weights[ports[0]].shape[1:])
                found[ports[0]] = table if table.shape == shape else self.xp.broadcast_to(table, shape)
            return
        middle = len(ports) // 2
        for kept, removed in ((ports[:middle], ports[middle:]), (ports[middle:], ports[:middle])):
            if not asked.isdisjoint(kept):
                smaller = self._reduce_out(table, weights, ports, removed, reduce)
                self._reduce_halves(smaller, weights, kept, asked, reduce, found)

    def _reduce_out(
        self, table: Array, weights: Sequence[Array], ports: list[int], removed: list[int], reduce: Reduce
    ) -> Array:
        for port in removed:
            axis = ports.index(port)
            incoming = weights[port]
            shape = (1,) * axis + (incoming.shape[0],) + (1,) * (len(ports) - axis - 1) + incoming.shape[1:]
            table = table + self.xp.reshape(incoming, shape)
        first, last = ports.index(removed[0]), ports.index(removed[-1])
        states = 1
        for size in table.shape[first : last + 1]:
            states *= size
        merged = self.xp.reshape(table, (*table.shape[:first], states, *table.shape[last + 1 :]))
        return reduce(merged, first)

    # Special functions that the Array API lacks.

    def erfcx(self, x: Array) -> Array:
        """``exp(x^2) erfc(x)`` for x >= 0."""
        raise NotImplementedError

    def log_ndtr(self, x: Array) -> Array:
        """Logarithm of the normal distribution function."""
        raise NotImplementedError

    def ndtr(self, x: Array) -> Array:
        """Normal distribution function."""
        raise NotImplementedError

    # Dense layers.

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """Matrix product; ``out`` is used where the library can."""
        return self.xp.matmul(a, b)

    def matmul_all(self, pairs: Sequence[tuple[Array, Array]]) -> list[Array]:
        """Matrix products that do not depend on each other, which a device may work out side by side."""
        return [self.matmul(a, b) for a, b in pairs]

    def add_product(self, total: Array, factor: Array, other: Array) -> Array:
        """``total + factor * other``; ``total`` and ``factor`` may be overwritten."""
        return total + factor * other
