"""Messages and evidence taken over from the inference of another graph that has some of the same blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from factorgraph.blocks import Factors, Variables
from factorgraph.graph import FactorGraph
from factorgraph.inference.state.plate_state import PlateState
from factorgraph.inference.state.put import put_prior
from factorgraph.inference.state.state import State


def adopt(graph: FactorGraph, state: State, other_graph: FactorGraph, other: State) -> None:
    """Take over what both have: see `Inference.adopt`; all is checked before anything changes."""
    if state.batch != other.batch:
        raise ValueError(f"adopt: this inference has batch={state.batch}, the other batch={other.batch}; they must be equal")
    variables = [
        (Variables(block, block.whole), other_graph.variables(name))
        for name, block in graph.variable_blocks.items()
        if name in other.layout.pool_of
    ]
    factors = [
        (block, other_graph.factor_blocks[name]) for name, block in graph.factor_blocks.items() if name in other.layout.place_of
    ]
    for own, theirs in variables:
        if (own.type, own.shape) != (theirs.type, theirs.shape):
            raise ValueError(
                f"adopt: variables {own.name!r} are {own.type!r} of shape {own.shape} here, "
                f"but {theirs.type!r} of shape {theirs.shape} in the other graph"
            )
    for mine, their in factors:
        if not _alike(mine, their):
            raise ValueError(
                f"adopt: factors {mine.name!r} are {mine!r} here, but {their!r} or other variables in the other graph"
            )
    for own, theirs in variables:
        _take_evidence(own, theirs, state, other)
    _take_messages([mine for mine, _ in factors if not mine.is_block], state, other)
    state.forget_candidates()
    state.find_hard_pools()


def _alike(mine: Factors, their: Factors) -> bool:
    return (
        type(mine.factor) is type(their.factor)
        and mine.count == their.count
        and [port.name for port in mine.ports] == [port.name for port in their.ports]
        and all(np.array_equal(a.index, b.index) for a, b in zip(mine.ports, their.ports, strict=True))
    )


def _take_evidence(own: Variables, theirs: Variables, state: State, other: State) -> None:
    pool, source = state.pool(own), other.pool(theirs)
    if isinstance(pool, PlateState) and isinstance(source, PlateState):
        state.adopt(own, other)
    else:
        before: tuple[Any, ...] = (slice(None),) * source.pool.axis
        front = source.backend.to_host(source.settle_prior())[(*before, source.pool.positions(theirs))]
        axes = (-1, -2) if source.batch else (-1,)
        prior = np.moveaxis(front, axes, range(len(axes)))
        put_prior(pool, own, prior.reshape((*source.batch, *own.shape, *own.type.param_shape)), None)
    here, there = pool.pool.positions(own), source.pool.positions(theirs)
    seen, known = pool.evidence, source.evidence
    seen.values = seen.values.astype(np.result_type(seen.values, known.values), copy=True)
    whole: tuple[Any, ...] = tuple(slice(None) for _ in source.batch)
    seen.values[(..., here, *whole)] = known.values[(..., there, *whole)]
    seen.mark(here, known.observed[there])
    pool.upload_evidence()


def _take_messages(blocks: list[Factors], state: State, other: State) -> None:
    hosts = [pool.backend.to_host(pool.messages) for pool in other.pools]
    found = [np.array(pool.backend.to_host(pool.messages)) for pool in state.pools]
    for block in blocks:
        pairs = zip(state.layout.edges_of(block.name), other.layout.edges_of(block.name), strict=True)
        for (number, here), (source, there) in pairs:
            before: tuple[Any, ...] = (slice(None),) * state.pools[number].pool.axis
            found[number][(*before, here)] = hosts[source][(*before, there)]
            if other.pools[source].hard:
                state.pools[number].harden()
    for pool, messages in zip(state.pools, found, strict=True):
        if pool.pool.num_edges:
            pool.messages, pool.stale = pool.backend.asarray(messages), True
