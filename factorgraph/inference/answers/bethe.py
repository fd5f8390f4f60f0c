"""What is read off a fixed point: the Bethe free energy, factor beliefs, contradictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from factorgraph.backends import Array
from factorgraph.inference.layout.program import EdgeCall, Read
from factorgraph.inference.state.pool_state import PoolState
from factorgraph.inference.state.ports import incoming, ports_of
from factorgraph.inference.state.potentials import Potentials
from factorgraph.inference.state.state import State
from factorgraph.semiring import Semiring


def log_partition(state: State, calls: list[EdgeCall], blocks: dict[str, list[int]], semiring: Semiring) -> np.ndarray:
    """
    Log of the Bethe partition function: exact on trees; in max mode the log-weight of the best configuration.

    With Z_a the local sum of factor a over normalised cavities, and Z_v and Z_av the sums of a variable's belief and of its
    cavity towards a,

        log Z = sum_a log Z_a + sum_v log Z_v + sum_(a, v) (log Z_av - log Z_v),

    where an observed variable has the prior log-weight of its value in place of log Z_v, and nothing for its edges.
    (Yedidia, Freeman, Weiss 2005, eq. 37, in terms of cavities. Every difference is taken edge by edge, so that large
    degrees lose no digits.)

    Parameters
    ----------
    state : State
    calls : one call for each group of edgewise factor blocks, reading all its edges
    blocks : for each block factor the pools at its ports
    semiring : Semiring

    Returns
    -------
    () array, or (B,) in a batch
    """
    backend, sharing = state.backend, state.sharing
    centred = _centred_log_partition(state, calls, blocks, semiring)
    if sharing is not None and sharing.any(centred is None):
        centred = None
    if centred is not None:
        return centred if sharing is None else sharing.communicator.sum(np.asarray(centred))
    total: np.ndarray = np.zeros(() if state.batch is None else state.batch)
    free: list[Array | None] = []
    with np.errstate(all="ignore"):
        for number, pool in enumerate(state.pools):
            if not pool.pool.type.can_be_random:
                free.append(None)
                continue
            free.append(pool.pool.type.log_partition(pool.total, semiring, pool.infinite))
            host = backend.to_host(free[-1])
            if pool.evidence.any_observed:
                given = pool.pool.type.log_density(pool.settle_prior(), pool.evidence.possible_values, backend)
                host = np.where(pool.evidence.fixed, backend.to_host(given), host)
            total = total + (host if sharing is None else sharing.counted(number, host)).sum(axis=0)
        for call in calls:
            potentials = state.potentials[call.factors]
            local = potentials.bound.log_partition(incoming(call, state), potentials.parameters, semiring)
            total = total + backend.to_host(local).sum(axis=0)
            for read in call.reads:
                total = total + _edge_terms(state.pools[read.pool], read, free[read.pool], semiring).sum(axis=0)
        for name, pools in blocks.items():
            factor = state.block_factors[name]
            terms = factor.log_partition(ports_of(name, pools, state), state.memories[name], backend)
            total = total + float(backend.to_host(terms))
    return total if sharing is None else sharing.communicator.sum(np.asarray(total))


def _edge_terms(pool: PoolState, read: Read, free: Array, semiring: Semiring) -> np.ndarray:
    """
    ``log Z_av - log Z_v`` of the edges that are read, ``(n,)`` or ``(n, B)``, in the scale of what factors were handed.

    Parameters
    ----------
    pool, read : the edges
    free : log Z_v of all variables of the pool
    semiring : Semiring
    """
    kind, backend, evidence = pool.pool.type, pool.backend, pool.evidence
    finite, infinite = pool.cavity_parts(read)
    joined = finite if infinite is None else kind.join(finite, infinite, backend)
    # Less the factor's own convention of scale for what it was handed; the same, where nothing is infinite.
    handed = backend.to_host(kind.log_partition(joined, semiring))
    term = -backend.to_host(backend.take(free, read.places, 0))
    if infinite is not None:
        apart = backend.to_host(kind.log_partition(finite, semiring, infinite))
        term = term + np.where(apart == handed, 0.0, apart - handed)  # both are infinite where a cavity is flat
    if evidence.any_observed:
        observed = backend.to_host(backend.take(backend.mask_array(evidence.fixed), read.places, 0))
        term = np.where(observed, -handed, term)
    return term


def _centred_log_partition(
    state: State, calls: list[EdgeCall], blocks: dict[str, list[int]], semiring: Semiring
) -> np.ndarray | None:
    """The same with all counted from the means, where types and factors can: no large terms that cancel; None elsewhere."""
    factors = [state.potentials[call.factors].bound.factor for call in calls]
    if blocks or not all(factor.gives("centred_log_partition") for factor in factors):
        return None
    if not all(hasattr(pool.pool.type, "centre") for pool in state.pools):
        return None
    backend, xp = state.backend, state.backend.xp
    total: np.ndarray = np.zeros(() if state.batch is None else state.batch)
    means, alone = [], []
    with np.errstate(all="ignore"):
        for number, pool in enumerate(state.pools):
            kind: Any = pool.pool.type
            belief = pool.total if pool.infinite is None else kind.join(pool.total, pool.infinite, backend)
            mean, centred = kind.centre(belief, backend)
            free = kind.log_partition(centred, semiring)
            if pool.evidence.any_observed:
                observed = backend.mask_array(pool.evidence.fixed)
                mean = xp.where(observed, backend.asarray(pool.evidence.possible_values), mean)
                free = xp.where(observed, xp.zeros_like(free), free)
            host = backend.to_host(free)
            if not np.isfinite(host).all():
                return None  # improper: infinite in any form
            terms = host + backend.to_host(kind.log_density(pool.settle_prior(), backend.to_host(mean), backend))
            total = total + (terms if state.sharing is None else state.sharing.counted(number, terms)).sum(axis=0)
            means.append(mean)
            alone.append(free)
        for call in calls:
            values: dict[int, Array] = {}
            for read in call.reads:
                axis = means[read.pool].ndim - 1 - len(state.pools[read.pool].batch)
                places = backend.take(means[read.pool], read.places, axis)
                for port, part, _ in read.parts:
                    values[port] = places if len(read.parts) == 1 else backend.take(places, part, axis)
                total = total - backend.to_host(backend.take(alone[read.pool], read.places, 0)).sum(axis=0)
            potentials = state.potentials[call.factors]
            given = incoming(call, state), [values[port] for port in range(len(values))], potentials.parameters, semiring
            total = total + backend.to_host(potentials.bound.factor.centred_log_partition(*given)).sum(axis=0)
    return total


def factor_marginals(state: State, call: EdgeCall, potentials: Potentials, semiring: Semiring) -> np.ndarray:
    """Joint beliefs of a block's factors, ``(F, q_0, ..., q_k)``, or ``(B, F, q_0, ..., q_k)``."""
    with np.errstate(all="ignore"):
        joint = potentials.bound.marginals(incoming(call, state), potentials.parameters, semiring)
    host = state.backend.to_host(joint)
    return np.moveaxis(host, -1, 0) if state.batch is None else np.moveaxis(host, (-1, -2), (0, 1))


def ruled_out(state: State, semiring: Semiring) -> list[list[tuple[str, tuple[int, ...]]]]:
    """
    Variables none of whose states is possible, or whose observed value is not: block names and indices.

    One list for each set of a batch; a single one else.
    """
    found: list[list[tuple[str, tuple[int, ...]]]] = [[] for _ in range(1 if state.batch is None else state.batch)]
    with np.errstate(all="ignore"):
        for pool in state.pools:
            impossible = _impossible(pool, semiring)
            if impossible is not None:
                for position, *number in np.argwhere(impossible).tolist():
                    found[number[0] if number else 0].append(pool.pool.variable_at(position))
    if state.sharing is not None:  # one rank's is all ranks'
        each = state.sharing.communicator.gather(found)
        found = [list(dict.fromkeys(row for rows in of_set for row in rows)) for of_set in zip(*each, strict=True)]
    return found


def improper(state: State) -> str | None:
    """What to tell of a real variable whose belief has no mean, or None."""
    for pool in state.pools:
        kind, backend = pool.pool.type, pool.backend
        if not kind.has_scale:
            continue
        with np.errstate(all="ignore"):
            wrong = backend.xp.isnan(kind.mode(pool.belief, backend))
        if not bool(backend.to_host(backend.xp.any(wrong))):
            continue
        places = np.argwhere(backend.to_host(wrong))[0]
        name, index = pool.pool.variable_at(int(places[len(kind.value_shape)]))
        where = f"{name}{list(index)}" if index else name
        return (
            f"the belief about {where} is improper, so that its mean is NaN: nothing fixes it (give it a prior, or observe "
            "more), or what is known of it is too unequal for the digits of the messages (try dtype='float64', or fg.exact)"
        )
    return None


def _impossible(pool: PoolState, semiring: Semiring) -> np.ndarray | None:
    kind, backend = pool.pool.type, pool.backend
    any_observed = pool.evidence.any_observed and kind.can_be_random
    if not (pool.hard or (any_observed and not pool.terms.prior_is_finite)):
        return None
    finite, infinite = pool.unclamped()
    belief = finite if infinite is None else kind.join(finite, infinite, backend)
    impossible = backend.to_host(kind.log_partition(belief, semiring)) == -np.inf
    if any_observed:
        density = backend.to_host(kind.log_density(belief, pool.evidence.possible_values, backend))
        impossible = np.where(pool.evidence.fixed, density == -np.inf, impossible)
    return impossible
