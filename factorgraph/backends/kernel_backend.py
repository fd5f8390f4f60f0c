"""What backends with compiled kernels have in common: each elementwise chain, sum or gather is one launch.

The kernels' texts are the same for all of them (`factorgraph.backends.kernels`); a backend says how a text is compiled and
launched. Node types bring texts of their own: a function for `Backend.elementwise` by `device_function`, a factor type by
`Factor.device_messages`.
"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

from factorgraph.backends.base import Array, Backend, Index, Operand
from factorgraph.backends.kernels import prelude, text
from factorgraph.backends.kernels.sequence import Kernel, packed, sequence_source

T = TypeVar("T")

COPIES = 16  # that are one launch
_SMALL = 1024  # threads of a launch that may be one of a sequence
_MANY_LAUNCHES, _MANY_KERNELS = 8, 12  # of a sequence: fewer launches are not worth a kernel, more kernels not its length


@dataclass(frozen=True)
class Launch:
    """A kernel with its arguments, the number of threads first; call it to launch it."""

    source: str
    name: str
    arguments: tuple[Any, ...]
    run: Callable[[], object]

    def __call__(self) -> object:
        return self.run()


def device_function(source: str, in_pieces: bool = True) -> Callable[[Callable], Callable]:
    """
    Give an elementwise function its twin in C++, which backends with kernels run instead of it, in one launch.

    Parameters
    ----------
    source : text with ``DEVICE void NAME(...)``, NAME being the function's own. Parameters are those of the function, less its
        last (the backend): ``T x`` is one number of an array, or a number for all entries, NaN for None; ``T &x`` is a
        number of an array that is overwritten, and a result; after them the other results in order, ``T &y``. A function of
        columns begins with ``int row, int length``: ``Entries x`` are all numbers of a column, along the first axis, and its
        results are those of one row.
    in_pieces : whether the function is a long chain, which the CPU had better work out piece by piece
    """

    def mark(function: Callable) -> Callable:
        function.device_source = source  # type: ignore[attr-defined]
        by_columns = parameters_of(source, function.__name__)[0][0] == "int"
        function.in_pieces = in_pieces and not by_columns  # type: ignore[attr-defined]
        return function

    return mark


@cache
def parameters_of(source: str, name: str) -> list[tuple[str, str]]:
    """Types and names of a device function's parameters."""
    found = re.search(rf"DEVICE void {name}\(([^)]*)\)", source)
    if found is None:
        raise ValueError(f"the source has no 'DEVICE void {name}(...)'")
    parts = (re.fullmatch(r"(T|int|Entries)\s+(&?)(\w+)", part.strip()) for part in found[1].split(","))
    return [(part[1] + part[2], part[3]) for part in parts if part]


class KernelBackend(Backend):
    """Operations by compiled kernels. Index arrays are 32 bits wide."""

    specialises_from = 1 << 14
    """Threads of a launch, from which its kernel is compiled anew for which arrays it has and for its flags."""

    specialises_up_to = 16
    """Numbers of a factor, up to which that is so: with more, a thread of a GPU has no registers left for what it knows."""

    def __init__(self, dtype: str = "float64", products: str = "full") -> None:
        super().__init__(dtype, products)
        self._integers: dict[tuple[int, ...], Array] = {}

    @abstractmethod
    def launcher(self, source: str, name: str, count: int, arguments: Sequence[Any]) -> Launch:
        """
        Compile a kernel, if that is not done yet, and bind its arguments.

        Parameters
        ----------
        source : text that follows the prelude
        name : of the ``KERNEL`` in it
        count : number of threads, its first argument
        arguments : the others: contiguous arrays, None for a null pointer, int (32 bits), float (the backend's type)

        Returns
        -------
        a callable that launches it
        """

    @property
    def can_record(self) -> bool:
        """Whether `capture` can be called now."""
        return False

    def capture(self, procedure: Callable[[], T]) -> tuple[Callable[[], object], T]:
        """
        Keep what a procedure launches, without running it.

        Parameters
        ----------
        procedure : launches on arrays that stay where they are; it allocates what it likes, sends nothing to the device and
            reads nothing back

        Returns
        -------
        a callable that runs all launches again, and what the procedure returned
        """
        raise NotImplementedError

    def address(self, array: Array) -> int:
        """Where an array begins in memory."""
        return int(array.ctypes.data)

    def copy_all(self, pairs: Sequence[tuple[Array, Array]]) -> None:
        """Copy arrays, each target's source given second, in one launch where they are contiguous."""
        plain = [all(a.dtype == self.dtype and a.flags.c_contiguous for a in pair) for pair in pairs]
        joined = [pair for pair, is_plain in zip(pairs, plain, strict=True) if is_plain]
        for start in range(0, len(joined), COPIES):
            given: list[Any] = [(target.size, target, source) for target, source in joined[start : start + COPIES]]
            given += [(0, None, None)] * (COPIES - len(given))
            arguments = [part for triple in given for part in triple]
            self.launch(copying_kernel(), "copy_all", max(arguments[::3]), *arguments)
        for (target, source), is_plain in zip(pairs, plain, strict=True):
            if not is_plain:
                target[...] = source

    def record(self, launches: Sequence[Callable[[], object]]) -> Callable[[], object]:
        """One callable that runs launches in order, again and again, on the same arrays."""
        runs, replay = 0, None
        launches = self._with_sequences(launches)

        def run() -> None:
            nonlocal runs, replay
            if replay is None and runs and self.can_record:  # the first time kernels are loaded
                replay, _ = self.capture(in_order)
            runs += 1
            (in_order if replay is None or not self.can_record else replay)()

        def in_order() -> None:  # keeps the launches' arrays alive, for a replay too
            for launch in launches:
                launch()

        return run

    def _with_sequences(self, launches: Sequence[Callable[[], object]]) -> list[Callable[[], object]]:
        """Launches in which many small ones after each other are one."""
        found: list[Callable[[], object]] = []
        for small, group in groupby(launches, lambda launch: isinstance(launch, Launch) and launch.arguments[0] <= _SMALL):
            run = list(group)
            kernels = tuple(dict.fromkeys((launch.source, launch.name) for launch in run if isinstance(launch, Launch)))
            if small and len(run) >= _MANY_LAUNCHES and len(kernels) <= _MANY_KERNELS:
                found += [self._sequence(kernels, [launch for launch in run if isinstance(launch, Launch)])]
            else:
                found += run
        return found

    def _sequence(self, kernels: tuple[Kernel, ...], launches: Sequence[Launch]) -> Launch:
        steps = [(kernels.index((launch.source, launch.name)), launch.arguments) for launch in launches]
        table, arguments = (self.index_array(words) for words in packed(kernels, steps, self.address, self.dtype_name))
        joined = self.launcher(sequence_source(kernels), "sequence", 1, (len(steps), table, arguments))
        return replace(joined, run=partial(_run_keeping, joined.run, launches))

    def launch(self, source: str, name: str, count: int, *arguments: Any) -> None:
        """Run a kernel once."""
        if count:
            self.launcher(source, name, count, arguments)()

    @property
    def prelude(self) -> str:
        """What comes before every kernel's text."""
        return prelude(self.dtype_name)

    def _on_device(self, numbers: tuple[int, ...]) -> Array:
        """A few integers on the device, brought there once."""
        if numbers not in self._integers:
            self._integers[numbers] = self.index_array(np.array(numbers))
        return self._integers[numbers]

    def settle(self, old: Array | None, new: Array) -> Array:
        if old is None or old.shape != new.shape:
            return new
        old[...] = new
        return old

    # Elementwise functions.

    def elementwise(self, function: Callable[..., tuple[Array, ...]], *arrays: Operand) -> tuple[Array, ...]:
        source = getattr(function, "device_source", None)
        return function(*arrays, self) if source is None else self.map(source, function.__name__, *arrays)

    def map(self, source: str, name: str, *arrays: Operand) -> tuple[Array, ...]:
        """Run a device function on arrays, numbers among them, and return its results."""
        parameters = parameters_of(source, name)
        if parameters[0][0] == "int":
            return self._map_columns(source, name, arrays)
        numbers = tuple(array is None or isinstance(array, (int, float)) for array in arrays)
        shapes = {array.shape for array, is_number in zip(arrays, numbers, strict=True) if not is_number}
        shape = shapes.pop() if len(shapes) == 1 else self.xp.broadcast_shapes(*shapes)
        given = [
            (math.nan if array is None else float(array)) if is_number else self._contiguous(self._spread(array, shape))
            for array, is_number in zip(arrays, numbers, strict=True)
        ]
        overwritten = [array for array, (kind, _) in zip(given, parameters, strict=False) if kind == "T&"]
        new = [self.xp.empty(shape, dtype=self.dtype) for _ in parameters[len(given) :]]
        missing = tuple(array is None for array in arrays)
        self.launch(elementwise_kernel(source, name, numbers, missing), f"{name}_map", math.prod(shape), *given, *new)
        return *overwritten, *new

    def _map_columns(self, source: str, name: str, arrays: Sequence[Array]) -> tuple[Array, ...]:
        shape = arrays[0].shape
        given = [self._contiguous(array) for array in arrays]
        number = len(parameters_of(source, name)) - 2 - len(given)
        results = [self.xp.empty(shape, dtype=self.dtype) for _ in range(number)]
        sizes = (shape[0], math.prod(shape[1:]))
        self.launch(columnwise_kernel(source, name), f"{name}_map", math.prod(shape), *sizes, *given, *results)
        return tuple(results)

    def _contiguous(self, array: Array) -> Array:
        return self.xp.ascontiguousarray(array) if array.ndim else self.xp.reshape(array, (1,))

    def _spread(self, array: Array, shape: tuple[int, ...]) -> Array:
        return array if array.shape == shape else self.xp.broadcast_to(array, shape)

    # The operations of `Backend` that have a kernel of their name.

    def _one(self, name: str, *arrays: Operand) -> Array:
        return self.map(text("elementwise.cu"), name, *arrays)[0]

    def log_add_exp(self, a: Array, b: Array) -> Array:
        return self._one("log_add_exp", a, b)

    def difference(self, new: Array, old: Array) -> Array:
        return self._one("difference", new, old)

    def hold(self, array: Array) -> Array:
        return self._one("hold", array)

    def erfcx(self, x: Array) -> Array:
        return self._one("erfcx", x)

    def add_product(self, total: Array, factor: Array, other: Array) -> Array:
        return self._one("add_product", total, factor, other)

    def sum_slots(self, array: Array, slots: Array, axis: int) -> Array:
        outer, length, inner = _around(array.shape, axis)
        degree, positions = slots.shape
        sums = self.xp.empty((*array.shape[:axis], positions, *array.shape[axis + 1 :]), dtype=self.dtype)
        arguments = (self._contiguous(array), length, inner, self._contiguous(slots), degree, positions, sums)
        self.launch(text("reductions.cu"), "sum_slots", outer * positions * inner, *arguments)
        return sums

    def gather_subtract(self, totals: Array, places: Index, messages: Array, edges: Index, axis: int) -> Array:
        outer, variables, inner = _around(totals.shape, axis)
        number = edges.stop - edges.start if isinstance(edges, slice) else edges.shape[0]
        shape = (*totals.shape[:axis], number, *totals.shape[axis + 1 :])
        cavities = self.xp.empty(shape, dtype=self.dtype)
        arguments = (self._contiguous(totals), variables, *index_or_first(places), self._contiguous(messages))
        rest = (messages.shape[axis], *index_or_first(edges), number, inner, cavities)
        self.launch(text("reductions.cu"), "gather_subtract", outer * number * inner, *arguments, *rest)
        return cavities

    def add_at(self, array: Array, index: Array, values: Array, axis: int) -> None:
        xp, number = self.xp, index.shape[0]
        # In the order of entries, and of values for one entry: two runs give the same bits.
        keys = xp.astype(index, xp.int64) * number + xp.arange(number)
        order = xp.astype(xp.argsort(keys), xp.int32)
        outer, length, inner = _around(array.shape, axis)
        assert array.flags.c_contiguous
        arguments = (array, length, inner, self._contiguous(index), order, number, self._contiguous(values))
        self.launch(text("reductions.cu"), "add_at", outer * number * inner, *arguments)

    def log_sum_exp(self, array: Array, axis: int) -> Array:
        outer, length, inner = _around(array.shape, axis)
        result = self.xp.empty((*array.shape[:axis], *array.shape[axis + 1 :]), dtype=self.dtype)
        arguments = (self._contiguous(array), length, inner, result)
        self.launch(text("reductions.cu"), "log_sum_exp", outer * inner, *arguments)
        return result

    def subtract_largest(self, array: Array) -> Array:
        _, length, inner = _around(array.shape, 0)
        shifted = self.xp.empty(array.shape, dtype=self.dtype)
        self.launch(text("reductions.cu"), "subtract_largest", inner, self._contiguous(array), length, inner, shifted)
        return shifted

    def table_marginals(
        self,
        table: Array,
        weights: Sequence[Array],
        ports: Sequence[int],
        mode: str,
        potentials: Array | None = None,
        smallest: Array | None = None,
    ) -> list[Array]:
        arity, factors, sets = len(weights), weights[0].shape[1], math.prod(weights[0].shape[2:])
        sizes = [weight.shape[0] for weight in weights]
        joined = self._contiguous(self.xp.concat(list(weights), axis=0))
        device_sizes, offsets = self._on_device(tuple(sizes)), self._on_device((0, *np.cumsum(sizes[:-1]).tolist()))
        found = []
        for port in ports:
            messages = self.xp.empty(weights[port].shape, dtype=self.dtype)
            given = (self._contiguous(table), table.shape[arity], joined, device_sizes, offsets, arity, port)
            others = math.prod(sizes) // sizes[port]
            settings = (others, factors, sets, int(mode == "max"), messages)
            self.launch(text("reductions.cu"), "table_marginals", messages.size, *given, *settings)
            found.append(messages)
        return found


def _run_keeping(run: Callable[[], object], kept: object) -> object:
    """Run something that needs what is kept, by its addresses."""
    return run()


def index_or_first(index: Index) -> tuple[Array | None, int]:
    """An index as kernels take it: a pointer that may be null, and the first of consecutive numbers."""
    return (None, index.start) if isinstance(index, slice) else (index, 0)


def _around(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


@cache
def copying_kernel() -> str:
    """A kernel that copies several arrays."""
    takes = ", ".join(f"int size{i}, T *target{i}, const T *source{i}" for i in range(COPIES))
    body = "\n".join(f"if (t < (unsigned)size{i}) target{i}[t] = source{i}[t];" for i in range(COPIES))
    return f"KERNEL copy_all(int count, {takes}) {{\nEACH_THREAD(t, count) {{\n{body}\n}}\n}}\n"


@cache
def elementwise_kernel(source: str, name: str, numbers: tuple[bool, ...], missing: tuple[bool, ...]) -> str:
    """
    A kernel that runs a device function on each entry of arrays.

    Parameters
    ----------
    numbers, missing : whether each array is one number for all entries, and whether that is NaN for one not given
    """
    takes, uses = [], []
    for place, (kind, parameter) in enumerate(parameters_of(source, name)):
        alone = place < len(numbers) and numbers[place]
        takes.append(f"T {parameter}" if alone else f"{'' if '&' in kind else 'const '}T *{parameter}")
        uses.append("NOT_GIVEN" if place < len(missing) and missing[place] else parameter if alone else f"{parameter}[t]")
    return _with_wrapper(source, name, takes, uses)


@cache
def columnwise_kernel(source: str, name: str) -> str:
    """A kernel that runs a device function of columns on each entry of arrays."""
    parameters = parameters_of(source, name)[2:]
    takes = ["int length", "int columns", *(f"{'const T' if kind == 'Entries' else 'T'} *{n}" for kind, n in parameters)]
    uses = ["t / columns", "length"]
    uses += [f"Entries{{{n} + t % columns, columns}}" if kind == "Entries" else f"{n}[t]" for kind, n in parameters]
    return _with_wrapper(source, name, takes, uses)


def _with_wrapper(source: str, name: str, takes: Sequence[str], uses: Sequence[str]) -> str:
    own = "" if source == text("elementwise.cu") else source  # the prelude has those already
    body = f"EACH_THREAD(t, count) {name}({', '.join(uses)});"
    return f"{own}\nKERNEL {name}_map(int count, {', '.join(takes)}) {{\n    {body}\n}}\n"
