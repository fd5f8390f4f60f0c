"""A discrete graph as plain tables: evidence put in, impossible states taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from factorgraph.backends import get_backend
from factorgraph.blocks import Factors
from factorgraph.graph import FactorGraph
from factorgraph.variables import DiscreteType

_MOST_ENTRIES = 1 << 26  # of all tables of one block together


class TooLargeError(ValueError):
    """Exact answers would take too much memory; the message says how much."""


@dataclass(frozen=True, eq=False)
class TableModel:
    """
    Tables over the states that are left.

    Attributes
    ----------
    allowed : for each node number of a variable, the states that evidence and zeros leave
    sizes : how many these are
    scopes : node numbers of each table's variables, those with more than one state left
    tables : log-potentials over the states left, one axis for each of the scope
    constant : log-weight of all that is fixed
    place : table number of each factor, by its block and number
    possible : whether any joint state may be possible
    """

    allowed: list[np.ndarray]
    sizes: list[int]
    scopes: list[tuple[int, ...]]
    tables: list[np.ndarray]
    constant: float
    place: dict[tuple[str, int], int]
    possible: bool


def table_model(graph: FactorGraph) -> TableModel:
    """
    Tables of a discrete graph's priors and factors, restricted to the states that evidence and zeros leave.

    Raises
    ------
    TypeError
        A factor is a block factor.
    TooLargeError
        A factor has too many joint states for a table.
    """
    masks, scopes, tables = _priors(graph)
    has_zeros = [bool(np.isneginf(table).any()) for table in tables]
    place: dict[tuple[str, int], int] = {}
    first = graph.first_nodes()
    for block in graph.factor_blocks.values():
        found, whole = _block_tables(block, first)
        zeros: list[bool] = np.ravel(np.isneginf(whole).any(axis=tuple(range(whole.ndim - 1)))).tolist()
        place |= {(block.name, number): len(tables) + number for number in range(block.count)}
        scopes += found
        shared = whole.shape[-1] == 1
        tables += [whole[..., 0]] * block.count if shared else [whole[..., number] for number in range(block.count)]
        has_zeros += zeros * block.count if shared else zeros
    possible = _take_out_zeros(masks, scopes, tables, has_zeros)
    allowed = _allowed(masks)
    sizes = [a.size for a in allowed]
    constant = 0.0
    for number, (scope, table) in enumerate(zip(scopes, tables, strict=True)):
        if not possible:
            break
        if all(1 < sizes[v] == states for v, states in zip(scope, table.shape, strict=True)):
            continue  # nothing is taken out, and factors that share a table go on to share it
        restricted = table[np.ix_(*(allowed[v] for v in scope))]
        scopes[number] = tuple(v for v in scope if sizes[v] > 1)
        tables[number] = restricted.reshape([sizes[v] for v in scopes[number]])
        if not scopes[number]:
            constant += float(tables[number])
    return TableModel(allowed, sizes, scopes, tables, constant, place, possible)


def _priors(graph: FactorGraph) -> tuple[list[np.ndarray], list[tuple[int, ...]], list[np.ndarray]]:
    """States that each variable's prior and evidence leave; scopes and tables of the priors."""
    host = get_backend("numpy", "float64")
    masks: list[np.ndarray] = []
    scopes: list[tuple[int, ...]] = []
    tables: list[np.ndarray] = []
    for block in graph.variable_blocks.values():
        kind = block.type
        assert isinstance(kind, DiscreteType)
        own = np.ones((block.size, len(kind.states)), dtype=np.bool_)
        if block.observed is not None and block.values is not None:
            seen = np.flatnonzero(block.observed)
            own[seen] = np.arange(len(kind.states)) == kind.position(block.values[seen])[:, None]
        if block.prior is not None:
            weights = kind.log_weights(np.moveaxis(block.prior, 0, -1), host).T
            own &= weights > -np.inf
            for position in np.flatnonzero((weights != 0).any(axis=1)):
                scopes.append((len(masks) + int(position),))
                tables.append(weights[position])
        masks += list(own)
    return masks, scopes, tables


def _allowed(masks: list[np.ndarray]) -> list[np.ndarray]:
    """The states that each mask leaves; one array for all variables that keep the same."""
    seen: dict[bytes, np.ndarray] = {}
    for mask in masks:
        key = mask.tobytes()
        if key not in seen:
            seen[key] = np.flatnonzero(mask)
    return [seen[mask.tobytes()] for mask in masks]


def _block_tables(block: Factors, first: dict[str, int]) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Scope of each factor of a block, and the tables of all, ``(q_0, ..., q_k, F or 1)``."""
    if block.kernel is None:
        raise TypeError(f"exact answers need factors with tables, but {block.name!r} are a block factor")
    nodes = np.concatenate([p.index.reshape(block.count, -1) + first[p.name] for p in block.ports], axis=1)
    states = [len(kind.states) for kind in block.kernel.spread_types()]
    entries = float(np.prod([float(q) for q in states])) * (block.count if len(states) > 8 else 1)
    if entries > _MOST_ENTRIES:
        raise TooLargeError(
            f"exact answers need a table for each factor; those of {block.name!r} have {len(states)} variables and would take "
            f"{entries * 8 / 2**30:.3g} GiB"
        )
    return [tuple(row) for row in nodes.tolist()], block.kernel.enumerated()


def _take_out_zeros(
    masks: list[np.ndarray], scopes: list[tuple[int, ...]], tables: list[np.ndarray], has_zeros: list[bool]
) -> bool:
    """Rule out states that no factor's possible configuration has, until none is left (generalised arc consistency)."""
    touching: list[list[int]] = [[] for _ in masks]
    for number, scope in enumerate(scopes):
        for v in scope:
            touching[v].append(number)
    if not all(mask.any() for mask in masks):
        return False
    waiting = [number for number, zeros in enumerate(has_zeros) if zeros]
    queued = set(waiting)
    while waiting:
        number = waiting.pop()
        queued.discard(number)
        scope = scopes[number]
        left = [np.flatnonzero(masks[v]) for v in scope]
        support = tables[number][np.ix_(*left)] > -np.inf
        for axis, v in enumerate(scope):
            alive = support.any(axis=tuple(a for a in range(len(scope)) if a != axis))
            if alive.all():
                continue
            if not alive.any():
                return False
            masks[v] = masks[v].copy()
            masks[v][left[axis][~alive]] = False
            for other in touching[v]:
                if other != number and has_zeros[other] and other not in queued:
                    queued.add(other)
                    waiting.append(other)
            left[axis] = left[axis][alive]
            support = support.compress(alive, axis=axis)
    return True
