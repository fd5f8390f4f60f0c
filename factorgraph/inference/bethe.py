"""What is read off a fixed point: the Bethe free energy, factor beliefs, contradictions."""

from __future__ import annotations

import numpy as np

from factorgraph.backends import Array
from factorgraph.inference.execute import incoming
from factorgraph.inference.pool_state import PoolState
from factorgraph.inference.program import EdgeCall
from factorgraph.inference.state import State
from factorgraph.semiring import Semiring


def log_partition(state: State, calls: list[EdgeCall], semiring: Semiring) -> float:
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
    calls : one call for each edgewise factor block, reading all its edges
    semiring : Semiring
    """
    backend = state.backend
    total = 0.0
    variable_terms: list[Array | None] = []
    with np.errstate(all="ignore"):
        for pool in state.pools:
            if not pool.pool.type.can_be_random:
                variable_terms.append(None)
                continue
            free = pool.pool.type.log_partition(pool.total, semiring, pool.infinite)
            variable_terms.append(free)
            host = backend.to_host(free)
            if pool.observed.any():
                given = pool.pool.type.log_density(pool.prior, _fixed_values(pool), backend)
                host = np.where(pool.observed, backend.to_host(given), host)
            total += float(host.sum())
        for call in calls:
            potentials = state.potentials[call.factors]
            local = potentials.kernel.log_partition(incoming(call, state), potentials.parameters, semiring)
            total += float(backend.to_host(local).sum())
            for read in call.reads:
                pool = state.pools[read.pool]
                kind, free = pool.pool.type, variable_terms[read.pool]
                finite, infinite = pool.cavity_parts(read)
                joined = finite if infinite is None else kind.join(finite, infinite, backend)
                # Less the factor's own convention of scale for what it was handed; the same, where nothing is infinite.
                handed = backend.to_host(kind.log_partition(joined, semiring))
                term = -backend.to_host(backend.take(free, read.places, 0))
                if infinite is not None:
                    term = term + (backend.to_host(kind.log_partition(finite, semiring, infinite)) - handed)
                if pool.observed.any():
                    observed = backend.to_host(backend.take(backend.mask_array(pool.observed), read.places, 0))
                    term = np.where(observed, -handed, term)
                total += float(term.sum())
    return total


def factor_marginals(state: State, call: EdgeCall, semiring: Semiring) -> np.ndarray:
    """Joint beliefs of a block's factors, ``(F, q_0, ..., q_k)``."""
    potentials = state.potentials[call.factors]
    with np.errstate(all="ignore"):
        joint = potentials.kernel.marginals(incoming(call, state), potentials.parameters, semiring)
    return np.moveaxis(state.backend.to_host(joint), -1, 0)


def ruled_out(state: State, semiring: Semiring) -> list[tuple[str, tuple[int, ...]]]:
    """Variables none of whose states is possible, or whose observed value is not: block names and indices."""
    found = []
    with np.errstate(all="ignore"):
        for pool in state.pools:
            impossible = _impossible(pool, semiring)
            if impossible is not None:
                found += [pool.pool.variable_at(int(position)) for position in np.flatnonzero(impossible)]
    return found


def _impossible(pool: PoolState, semiring: Semiring) -> np.ndarray | None:
    kind, backend = pool.pool.type, pool.backend
    any_observed = bool(pool.observed.any()) and kind.can_be_random
    if not (pool.hard or (any_observed and not pool.prior_is_finite)):
        return None
    finite, infinite = pool.unclamped()
    belief = finite if infinite is None else kind.join(finite, infinite, backend)
    impossible = backend.to_host(kind.log_partition(belief, semiring)) == -np.inf
    if any_observed:
        density = backend.to_host(kind.log_density(belief, _fixed_values(pool), backend))
        impossible = np.where(pool.observed, density == -np.inf, impossible)
    return impossible


def _fixed_values(pool: PoolState) -> np.ndarray:
    """Observed values, and some possible value where nothing is observed."""
    return np.where(pool.observed, pool.values, pool.values[np.argmax(pool.observed)])
