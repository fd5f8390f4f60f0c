"""From beliefs to assignments: one consistent most probable state."""

from __future__ import annotations

import numpy as np

from factorgraph.graph import FactorGraph
from factorgraph.inference.executors.execute import edge_messages
from factorgraph.inference.layout.program import EdgeCall, edge_call
from factorgraph.inference.state.state import State
from factorgraph.schedules import Step
from factorgraph.schedules.spanning import SpanningForest
from factorgraph.semiring import Semiring


def decode(graph: FactorGraph, state: State, semiring: Semiring) -> list[np.ndarray]:
    """
    Fix all variables, one after another, along a spanning forest.

    Each root takes its best state; then, away from the roots, each variable takes its best state given all that is fixed
    already, by way of the factor through which the forest reaches it. On forests this is back-tracking: the result is
    one joint maximum also where several tie. With cycles the choices at least agree along the forest.

    Parameters
    ----------
    graph : FactorGraph of edgewise factors
    state : State at a fixed point of max-product; it is not changed
    semiring : Semiring

    Returns
    -------
    list of the values of each pool's variables, ``(V,)``, or ``(V, B)`` of a batch
    """
    state = state.copy()
    state.find_hard_pools(certain=True)
    for pool in state.pools:
        if pool.stale and pool.pool.type.can_be_random:
            pool.refresh()
    forest = SpanningForest.of(graph)
    placed = [state.layout.place_of[name] for name in graph.factor_blocks]
    numbers = {name: number for number, name in enumerate(state.layout.groups)}
    names, group = list(numbers), np.array([numbers[name] for name, *_ in placed])[forest.block]
    position = forest.position + np.array([start for *_, start in placed])[forest.block]
    places = _node_places(graph, state)
    with np.errstate(all="ignore"):
        _fix(state, *places, forest.roots)
        for edges in forest.groups(forest.to_child, forest.depth, forest.port, forest.slot, group):
            name, port = names[group[edges[0]]], int(forest.port[edges[0]])
            call = edge_call(Step(name, (port,), position[edges]), state.layout, state.backend)
            _send(call, state, semiring)
            _fix(state, *places, forest.variable[edges])
    return [pool.evidence.values for pool in state.pools]


def _node_places(graph: FactorGraph, state: State) -> tuple[np.ndarray, np.ndarray]:
    """Pool and position of each variable, by its node number."""
    pools, places = [], []
    for block in graph.variable_blocks.values():
        number = state.layout.pool_of[block.name]
        pool = state.layout.pools[number]
        first = pool.first[block.name]
        pools.append(np.full(block.size, number))
        places.append(pool.place[first : first + block.size])
    return np.concatenate(pools), np.concatenate(places)


def _send(call: EdgeCall, state: State, semiring: Semiring) -> None:
    for (number, edges), message in zip(call.writes, edge_messages(call, state, semiring), strict=True):
        state.pools[number].write(edges, message, undamped=True)


def _fix(state: State, pools: np.ndarray, places: np.ndarray, nodes: np.ndarray) -> None:
    """Observe variables, given by node numbers, at the best state of their beliefs as they are now."""
    for number in np.unique(pools[nodes]):
        pool = state.pools[number]
        positions = np.unique(places[nodes][pools[nodes] == number])
        pool.fix(positions)
