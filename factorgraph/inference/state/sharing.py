"""
Variables that several ranks share, each with its own factors on them.

The belief of a shared variable is its prior plus what the factors of all ranks say. Of block factors ranks add up their totals;
of edgewise ones each pair of ranks tells each other its sums at the variables that both have, once an iteration.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.blocks import Variables
from factorgraph.communication import Communicator
from factorgraph.factors import Quadratic
from factorgraph.graph import FactorGraph
from factorgraph.inference.layout.layout import Layout
from factorgraph.inference.layout.program import Refresh
from factorgraph.inference.state.pool_state import PoolState
from factorgraph.schedules import Plan

Shared = Mapping[Variables, Any] | Iterable[Variables]


@dataclass(frozen=True, eq=False)
class Boundary:
    """
    Variables of one pool that edgewise factors of other ranks touch too.

    Attributes
    ----------
    pool : its number
    positions : (n,) in the pool, in increasing order
    refresh : sums their beliefs anew
    owned : (V,) whether this rank counts the variable, of the whole pool: the lowest one that has it
    """

    pool: int
    positions: np.ndarray
    refresh: Refresh
    owned: np.ndarray


Link = list[tuple[int, np.ndarray]]
"""What two ranks have in common, block by block by name: number of the boundary, and entries of it, by global numbers."""


class Sharing:
    """
    What a run shares with those of other ranks.

    Parameters
    ----------
    communicator : Communicator
    shared : see `factorgraph.Inference`
    graph, layout, plan, backend : of this rank's part

    Raises
    ------
    ValueError
        Nothing is shared, numbers do not fit, ranks differ in what they share, or the schedule is an exact one.
    """

    def __init__(
        self,
        communicator: Communicator,
        shared: Shared | None,
        graph: FactorGraph,
        layout: Layout,
        plan: Plan,
        backend: Backend,
    ) -> None:
        self.communicator = communicator
        numbers = _numbers_by_block(shared, graph)
        if plan.exact or plan.share is not None:
            raise ValueError(
                "several ranks need a schedule that does the same on each: Flooding(), RandomOrder() or Sweep, not one that is "
                "exact or goes by priority"
            )
        kinds = {name: repr(graph.variables(name).type) for name in numbers}
        plates = {name: graph.variables(name).shape for name in numbers if layout.pool(name).is_plate}
        _check_alike(communicator, kinds, plates)
        for name in plates:
            if not np.array_equal(numbers[name][1], np.arange(graph.variables(name).size)):
                raise ValueError(f"shared: variables {name!r} are a plate of block factors, which ranks share as a whole")
        self.plates = {layout.pool_of[name] for name in plates}
        self._first = {number: communicator.rank == 0 for number in self.plates}
        self.boundaries, self.links = _boundaries(communicator, numbers, layout, backend)
        self.exchanges = self.any(bool(self.boundaries))
        self.bytes_sent = 0

    def __reduce__(self) -> Any:
        return _nothing, ()

    def total(self, pool: int, total: Array | Quadratic, backend: Backend) -> Array | Quadratic | None:
        """Sum of all ranks' totals into a plate; None where it is not shared."""
        if pool not in self.plates:
            return None
        if isinstance(total, Quadratic):
            return Quadratic(*(self._sum(array, backend) for array in total))
        return self._sum(total, backend)

    def _sum(self, total: Array, backend: Backend) -> Array:
        host = backend.to_host(total)
        self.bytes_sent += host.nbytes
        return backend.asarray(self.communicator.sum(host))

    def exchange(self, pools: list[PoolState]) -> None:
        """Hear what the other ranks' edgewise factors say of shared variables, and sum their beliefs anew."""
        said = [_said(pools[b.pool], b.positions) for b in self.boundaries]
        heard = self._swap(said)
        for boundary, arrays in zip(self.boundaries, heard, strict=True):
            _hear(pools[boundary.pool], boundary.positions, arrays)
            pools[boundary.pool].refresh(boundary.refresh)

    def _swap(self, said: list[np.ndarray]) -> list[np.ndarray]:
        """Sums over the other ranks of arrays ``(n, ...)`` of each boundary."""
        parts = {
            rank: np.concatenate([said[number][places].reshape(-1) for number, places in link])
            for rank, link in self.links.items()
        }
        self.bytes_sent += sum(part.nbytes for part in parts.values())
        heard, sums = self.communicator.exchange(parts), [np.zeros_like(array) for array in said]
        for rank, link in self.links.items():
            sizes = [places.size * sums[number][0].size for number, places in link]
            pieces = np.split(heard[rank], np.cumsum(sizes)[:-1])
            for (number, places), piece in zip(link, pieces, strict=True):
                sums[number][places] += piece.reshape(-1, *sums[number].shape[1:])
        return sums

    def any(self, flag: bool) -> bool:
        """Whether it holds on some rank."""
        return bool(self.communicator.largest(np.array([flag], dtype=np.int8))[0])

    def largest(self, residual: np.ndarray | None) -> np.ndarray | None:
        """The largest residuals of all ranks."""
        return None if residual is None else self.communicator.largest(np.where(np.isnan(residual), np.inf, residual))

    def counted(self, pool: int, terms: np.ndarray) -> np.ndarray:
        """Terms of variables ``(V,)`` or ``(V, B)``, 0 where another rank counts them."""
        if not self._first.get(pool, True):
            return np.zeros_like(terms)
        for boundary in self.boundaries:
            if boundary.pool == pool:
                return np.where(boundary.owned.reshape(-1, *(1,) * (terms.ndim - 1)), terms, 0.0)
        return terms

    def check_evidence(self, pools: list[PoolState], layout: Layout) -> None:
        """
        Refuse priors and evidence of shared variables that differ between ranks.

        Raises
        ------
        ValueError
            On the ranks that differ; it names the block.
        """
        known = [_told(pools[b.pool], b.positions) for b in self.boundaries]
        numbers = [np.ones((len(rows), 1)) for rows in known]
        others, times = self._swap(known), self._swap(numbers)
        wrong = ""
        for boundary, mine, theirs, count in zip(self.boundaries, known, others, times, strict=True):
            differ = np.flatnonzero(~np.isclose(mine * count, theirs, rtol=1e-5, atol=1e-8).all(axis=1))
            if differ.size:
                name, index = layout.pools[boundary.pool].variable_at(int(boundary.positions[differ[0]]))
                wrong = f"prior or evidence of {name!r}{list(index)} of rank {self.communicator.rank}"
        for message in self.communicator.gather(wrong):
            if message:
                raise ValueError(f"shared: {message} is another on another rank: set both alike on all that have the variable")


def _said(pool: PoolState, positions: np.ndarray) -> np.ndarray:
    """What this rank's own edgewise factors say of some variables: ``(n, ...)``, infinite terms after finite ones."""
    axis, backend, parts = pool.pool.axis, pool.backend, []
    for group, slots in pool.pool.slots(positions):
        none = backend.zeros((*pool.pool.type.param_shape, group.size, *pool.batch))
        found = [array for array in pool.summed(backend.index_array(slots), none) if array is not None]
        rows = [np.moveaxis(backend.to_host(array), axis + number, 0) for number, array in enumerate(found)]
        parts.append((group, np.concatenate([row.reshape(group.size, -1) for row in rows], axis=1)))
    said = np.empty((positions.size, parts[0][1].shape[1]), dtype=parts[0][1].dtype)
    for group, rows_of_group in parts:
        said[np.searchsorted(positions, group)] = rows_of_group
    return said


def _hear(pool: PoolState, positions: np.ndarray, said: np.ndarray) -> None:
    """Take in what other ranks say of some variables, as `_said` has it."""
    axis, backend = pool.pool.axis, pool.backend
    index, width = backend.index_array(positions), int(np.prod([*pool.pool.type.param_shape, *pool.batch], dtype=np.int64))
    for name, like, first, columns in (
        ("remote", pool.total, axis, said[:, :width]),
        ("remote_infinite", pool.infinite, axis + 1, said[:, width:]),
    ):
        if like is None or not columns.size:
            continue
        shape = (positions.size, *like.shape[:first], *like.shape[first + 1 :])
        array = backend.zeros(like.shape) if getattr(pool, name) is None else getattr(pool, name)
        backend.put(array, index, backend.asarray(np.moveaxis(columns.reshape(shape), 0, first)), first)
        setattr(pool, name, array)


def _told(pool: PoolState, positions: np.ndarray) -> np.ndarray:
    """Priors and evidence, ``(n, ...)`` in double precision; the largest numbers for infinite ones."""
    axis = pool.pool.axis
    prior = np.moveaxis(pool.backend.to_host(pool.settle_prior()), axis, 0)[positions].reshape(positions.size, -1)
    observed = pool.evidence.observed
    values = np.moveaxis(np.where(observed, pool.evidence.values, 0), len(pool.pool.type.value_shape), 0)[positions]
    seen = observed[positions].reshape(positions.size, -1)
    rows = np.concatenate([prior, seen, values.reshape(positions.size, -1)], axis=1).astype(np.float64)
    return np.nan_to_num(rows, posinf=1e300, neginf=-1e300)


def _nothing() -> None:
    """What is left of the ranks in a file."""


def _numbers_by_block(shared: Shared | None, graph: FactorGraph) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Global numbers and places in the block of all shared variables of each block, in the order of the numbers."""
    if shared is None:
        raise ValueError("communicator: give shared=, the variables that factors of several ranks touch")
    pairs = shared.items() if isinstance(shared, Mapping) else [(variables, np.arange(variables.size)) for variables in shared]
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for variables, values in pairs:
        graph.block_of(variables)
        numbers = np.asarray(values)
        if numbers.shape != variables.shape and numbers.size != variables.size:
            raise ValueError(f"shared: {variables!r} needs as many numbers, not {numbers.shape}")
        if numbers.dtype.kind not in "iu" or (numbers.size and numbers.min() < 0):
            raise ValueError(f"shared: numbers of {variables.name!r} must be whole, and at least 0")
        found.setdefault(variables.name, []).append((numbers.reshape(-1), variables.index.reshape(-1)))
    joined = {}
    for name, rows in found.items():
        numbers, places = (np.concatenate(parts) for parts in zip(*rows, strict=True))
        if np.unique(numbers).size < numbers.size or np.unique(places).size < places.size:
            raise ValueError(f"shared: a variable of {name!r}, or a global number, is given twice")
        order = np.argsort(numbers)
        joined[name] = numbers[order], places[order]
    return joined


def _check_alike(communicator: Communicator, kinds: dict[str, str], plates: dict[str, tuple[int, ...]]) -> None:
    """Refuse shared blocks of one name that differ between ranks in their type, or in their shape where they are plates."""
    for rank, (others, other_plates) in enumerate(communicator.gather((kinds, plates))):
        for name, kind in kinds.items():
            if others.get(name, kind) != kind:
                raise ValueError(f"shared: variables {name!r} are {kind} here and {others[name]} on rank {rank}")
        for name in plates.keys() | (other_plates.keys() & kinds.keys()):
            if plates.get(name) != other_plates.get(name):
                raise ValueError(
                    f"shared: variables {name!r} are a plate of block factors, of shape {plates.get(name)} here and "
                    f"{other_plates.get(name)} on rank {rank}; all ranks share it as a whole"
                )


def _boundaries(
    communicator: Communicator, numbers: dict[str, tuple[np.ndarray, np.ndarray]], layout: Layout, backend: Backend
) -> tuple[list[Boundary], dict[int, Link]]:
    """The variables that are exchanged, and with whom."""
    edgewise = {name: mine for name, mine in numbers.items() if not layout.pool(name).is_plate}
    each = communicator.gather({name: mine for name, (mine, _) in edgewise.items()})
    met: dict[int, list[tuple[int, np.ndarray]]] = {}  # pool and positions, block by block
    for name in sorted(edgewise):
        pool, (mine, places) = layout.pools[layout.pool_of[name]], edgewise[name]
        at = pool.place[pool.first[name] + places]
        for rank, theirs in enumerate(each):
            if rank != communicator.rank and name in theirs:
                _, common, _ = np.intersect1d(mine, theirs[name], assume_unique=True, return_indices=True)
                if common.size:
                    met.setdefault(rank, []).append((layout.pool_of[name], at[common]))
    boundaries: list[Boundary] = []
    for number in sorted({pool for rows in met.values() for pool, _ in rows}):
        owned = np.ones(layout.pools[number].size, dtype=np.bool_)
        of_pool = {rank: [at for pool, at in rows if pool == number] for rank, rows in met.items()}
        for rank, rows in of_pool.items():
            if rank < communicator.rank:
                owned[np.concatenate([*rows, np.zeros(0, dtype=np.int64)])] = False
        union = np.unique(np.concatenate([at for rows in of_pool.values() for at in rows]))
        groups = [(backend.index_array(p), backend.index_array(slots)) for p, slots in layout.pools[number].slots(union)]
        boundaries.append(Boundary(number, union, Refresh(-1, groups), owned))
    place = {boundary.pool: number for number, boundary in enumerate(boundaries)}
    links = {
        rank: [(place[pool], np.searchsorted(boundaries[place[pool]].positions, at)) for pool, at in rows]
        for rank, rows in sorted(met.items())
    }
    return boundaries, links
