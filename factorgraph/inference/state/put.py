"""Evidence and priors put into a state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from factorgraph.blocks import Variables, check_prior, check_values
from factorgraph.inference.state.observations import Rows
from factorgraph.inference.state.plate_state import PlateState
from factorgraph.inference.state.pool_state import PoolState
from factorgraph.inference.state.state import State

Sets: TypeAlias = "int | slice | Sequence[int] | np.ndarray"
"""Which sets of a batch."""


def put_graph_evidence(state: State) -> None:
    """Start from the graph's own prior and evidence, the same in all sets of a batch."""
    for pool in state.pools:
        for block in pool.pool.blocks:
            whole = Variables(block, block.whole)
            if block.prior is not None:
                put_prior(pool, whole, block.prior.reshape((*block.shape, *block.type.param_shape)), None)
            if block.observed is not None and block.values is not None and block.observed.any():
                put_evidence(pool, whole[block.observed.reshape(block.shape)], block.values[block.observed], None)


def put_prior(pool: PoolState, variables: Variables, params: ArrayLike, sets: Sets | None) -> None:
    """Set the prior of variables: ``(*shape, *param_shape)``, or with an axis of the sets of the batch before."""
    kind, backend, axis = pool.pool.type, pool.backend, pool.pool.axis
    chosen = chosen_sets(pool.batch[0] if pool.batch else None, sets)
    each = by_set(params, (*variables.shape, *kind.param_shape), chosen, variables, check_prior, "prior")
    front = np.moveaxis(
        each.reshape(len(each), variables.size, *kind.param_shape), (0, 1), (-1, -2) if chosen is not None else (0, -1)
    )
    if chosen is None:
        front = front[0]
    positions = pool.pool.positions(variables)
    finite = bool(np.isfinite(front).all())
    if positions.size == pool.pool.size and pool.pool.is_plate and variables.is_whole:
        pool.terms.put(backend.asarray(front))
        pool.terms.prior_is_finite = finite
    else:
        pool.terms.prior_is_finite &= finite
        prior, index = pool.settle_prior(), backend.index_array(positions)
        if chosen is not None:
            whole = backend.to_host(backend.take(prior, index, axis))
            whole[..., chosen] = front
            front = whole
        backend.put(prior, index, backend.asarray(front), axis)
    pool.stale = True


def put_evidence(pool: PoolState, variables: Variables, values: ArrayLike | Rows, sets: Sets | None) -> None:
    """Fix variables: ``(*shape, *value_shape)``, or with an axis of the sets of the batch before."""
    if isinstance(values, Rows):
        if not (isinstance(pool, PlateState) and variables.is_whole and values.observations.name == variables.name):
            raise ValueError(f"rows of {values.observations.name!r} can be observed by all of that block, not {variables!r}")
        pool.observe_rows(values)
        return
    chosen, evidence = chosen_sets(pool.batch[0] if pool.batch else None, sets), pool.evidence
    of_value = pool.pool.type.value_shape
    each = by_set(values, (*variables.shape, *of_value), chosen, variables, check_values, "observed values")
    if chosen is None and variables.is_whole and pool.pool.is_plate:
        evidence.values, evidence.observed = each.reshape(-1), np.ones(pool.pool.size, dtype=np.bool_)
    else:
        positions = pool.pool.positions(variables)
        evidence.values = evidence.values.astype(np.result_type(evidence.values, each), copy=False)
        place: tuple[np.ndarray, ...] = (positions,) if chosen is None else np.ix_(positions, chosen)
        columns = np.moveaxis(each.reshape(len(each), positions.size, *of_value), (0, 1), (-1, -2))
        evidence.values[(slice(None),) * len(of_value) + place] = columns[..., 0] if chosen is None else columns
        evidence.mark(place, True)
    pool.upload_evidence()


def take_evidence_back(pool: PoolState, variables: Variables, sets: Sets | None) -> None:
    """Variables are free again; infinite terms that their evidence left in messages go with it at their next update."""
    chosen = chosen_sets(pool.batch[0] if pool.batch else None, sets)
    if not pool.evidence.any_observed:
        return
    if chosen is not None:
        pool.evidence.mark(np.ix_(pool.pool.positions(variables), chosen), False)
    else:
        whole = variables.is_whole and pool.pool.is_plate
        pool.evidence.mark(slice(None) if whole else pool.pool.positions(variables), False)
    pool.mean = None
    pool.upload_evidence()


def chosen_sets(batch: int | None, sets: Sets | None) -> np.ndarray | None:
    """Numbers of the sets of a batch that ``sets=`` chooses; None where there is no batch."""
    if batch is None:
        if sets is not None:
            raise ValueError("sets= chooses among the sets of a batch; this inference has none: Inference(..., batch=B)")
        return None
    every = np.arange(batch)
    return every if sets is None else np.atleast_1d(every[sets])


def by_set(
    values: ArrayLike,
    shape: tuple[int, ...],
    sets: np.ndarray | None,
    variables: Variables,
    check: Callable[..., np.ndarray],
    what: str,
) -> np.ndarray:
    """Checked values with an axis of sets first (of length 1 where there is no batch)."""
    array = np.asarray(values)
    if sets is None or array.ndim <= len(shape):
        checked = check(variables, values)[None]
        return checked if sets is None else np.broadcast_to(checked, (sets.size, *checked.shape[1:]))
    if array.shape[0] not in (1, sets.size) or array.ndim != len(shape) + 1:
        raise ValueError(f"{what} of {variables.name!r} has shape {array.shape}; expected {shape} or {(sets.size, *shape)}")
    checked = check(variables, values, array.shape[:1])
    return np.broadcast_to(checked, (sets.size, *checked.shape[1:]))
