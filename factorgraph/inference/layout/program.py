"""A Plan compiled onto a layout: for each stage what is gathered, which factors are called, where results go.

All indices are worked out here, on the host, once; running a program only slices and gathers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from factorgraph.backends import Array, Backend, Index
from factorgraph.inference.layout.layout import Layout, Segment
from factorgraph.schedules import Plan, Step


@dataclass(frozen=True, eq=False)
class Read:
    """Cavities of one pool that a call gathers at once, and the slices and shapes in which its ports take them."""

    pool: int
    edges: Index
    places: Index
    parts: list[tuple[int, slice, tuple[int, ...]]]


@dataclass(frozen=True, eq=False)
class EdgeCall:
    """
    One step of a group of edgewise blocks: the ports to update, the factors (None: all), what to read, where to write, and
    how many edges go there.
    """

    factors: str
    ports: tuple[int, ...]
    index: Array | None
    reads: list[Read]
    writes: list[tuple[int, Index]]
    counts: list[int]


@dataclass(frozen=True, eq=False)
class BlockCall:
    """One step of a block factor: the ports to update and the pools of all its ports."""

    factors: str
    ports: tuple[int, ...]
    pools: list[int]


@dataclass(frozen=True, eq=False)
class Refresh:
    """
    Beliefs of one pool to sum anew: all (None), or groups of positions with their slots; whether nothing else in the program
    does so with this pool.
    """

    pool: int
    groups: list[tuple[Array, Array]] | None
    alone: bool = False


@dataclass(frozen=True, eq=False)
class Stage:
    """
    Calls that read the same beliefs, and the beliefs to refresh after them; whether no two calls share a factor, so that each
    may write its messages before the next one reads.
    """

    calls: list[EdgeCall | BlockCall]
    refreshes: list[Refresh]
    independent: bool


def compile_plan(plan: Plan, layout: Layout, backend: Backend) -> list[Stage]:
    """Compile the stages of a plan; a belief is refreshed only before it is read or at the end."""
    plan = Plan([merged_steps(stage, layout) for stage in plan.stages], exact=plan.exact)
    calls = [[_call(step, layout, backend) for step in stage] for stage in plan.stages]
    refreshes: list[list[Refresh]] = [[] for _ in calls]
    for pool in range(len(layout.pools)):
        for stage, positions in _refresh_times(plan, layout, pool):
            refreshes[stage].append(_refresh(pool, positions, layout, backend))
    for number, stage_calls in enumerate(calls):
        plates = {call.pools[port] for call in stage_calls if isinstance(call, BlockCall) for port in call.ports}
        refreshes[number] += [Refresh(pool, None) for pool in sorted(plates)]
    times = Counter(refresh.pool for stage in refreshes for refresh in stage)
    refreshes = [[replace(refresh, alone=times[refresh.pool] == 1) for refresh in stage] for stage in refreshes]
    return [
        Stage(stage_calls, stage_refreshes, _independent(steps, layout))
        for stage_calls, stage_refreshes, steps in zip(calls, refreshes, plan.stages, strict=True)
    ]


def merged_steps(steps: Sequence[Step], layout: Layout) -> tuple[Step, ...]:
    """Steps of blocks as steps of their groups, those of one group and the same ports joined."""
    parts: dict[tuple[str, tuple[int, ...]], list[tuple[int, Step]]] = {}
    for step in steps:
        name, _, start = layout.place_of[step.factors]
        parts.setdefault((name, step.ports), []).append((start, step))
    merged = []
    for (name, ports), pieces in parts.items():
        group = layout.groups[name]
        if len(group.blocks) == 1:
            merged += [Step(name, ports, step.index) for _, step in pieces]
            continue
        counts = {block.name: block.count for block in group.blocks}
        rows = [np.arange(counts[step.factors]) if step.index is None else np.asarray(step.index) for _, step in pieces]
        index = np.concatenate([start + row for (start, _), row in zip(pieces, rows, strict=True)])
        whole = index.size == group.count and bool((np.sort(index) == np.arange(group.count)).all())
        merged.append(Step(name, ports, None if whole else index))
    return tuple(merged)


def _independent(steps: Sequence[Step], layout: Layout) -> bool:
    for name, times in Counter(step.factors for step in steps).items():
        if times > 1:
            count = layout.groups[name].count
            indices = [np.arange(count) if step.index is None else step.index for step in steps if step.factors == name]
            if np.bincount(np.concatenate(indices), minlength=1).max() > 1:
                return False
    return True


def _call(step: Step, layout: Layout, backend: Backend) -> EdgeCall | BlockCall:
    group = layout.groups[step.factors]
    if group.is_block:
        return BlockCall(group.name, step.ports, [layout.pool_of[port.name] for port in group.blocks[0].ports])
    return edge_call(step, layout, backend)


def edge_call(step: Step, layout: Layout, backend: Backend) -> EdgeCall:
    """Compile one step of a group of edgewise blocks."""
    group = layout.groups[step.factors]
    segments = group.segments
    index = None if step.index is None or step.index.size == group.count else step.index
    plural = group.bound.plural
    reads = [
        _read(pool, [p for p, s in enumerate(segments) if s.pool == pool], segments, index, plural, layout, backend)
        for pool in dict.fromkeys(segment.pool for segment in segments)
    ]
    edges = [segments[p].edges(index) for p in step.ports]
    writes = [(segments[p].pool, as_index(numbers, backend)) for p, numbers in zip(step.ports, edges, strict=True)]
    device = None if index is None else backend.index_array(index)
    return EdgeCall(group.name, step.ports, device, reads, writes, [numbers.size for numbers in edges])


def _read(
    pool: int,
    ports: list[int],
    segments: Sequence[Segment],
    index: np.ndarray | None,
    plural: tuple[int, ...],
    layout: Layout,
    backend: Backend,
) -> Read:
    edges: list[np.ndarray] = []
    parts: list[tuple[int, slice, tuple[int, ...]]] = []
    start = 0
    for port in ports:
        numbers = segments[port].edges(index)
        width = segments[port].width
        shape = (width, numbers.size // width) if port in plural else (numbers.size,)
        parts.append((port, slice(start, start + numbers.size), shape))
        edges.append(numbers)
        start += numbers.size
    joined = np.concatenate(edges)
    places = layout.pools[pool].edge_place[joined]
    return Read(pool, as_index(joined, backend), as_index(places, backend), parts)


def as_index(numbers: np.ndarray, backend: Backend) -> Index:
    """A slice where the numbers are consecutive, else an index array on the device."""
    size = numbers.size
    first = int(numbers[0]) if size else 0
    if size < 2 or (int(numbers[-1]) - first == size - 1 and (size == 2 or bool((np.diff(numbers) == 1).all()))):
        return slice(first, first + size)
    return backend.index_array(numbers)


def _refresh(pool: int, positions: np.ndarray, layout: Layout, backend: Backend) -> Refresh:
    if positions.size == layout.pools[pool].size:
        return Refresh(pool, None)
    groups = layout.pools[pool].slots(positions)
    return Refresh(pool, [(backend.index_array(p), backend.index_array(slots)) for p, slots in groups])


def _refresh_times(plan: Plan, layout: Layout, pool: int) -> list[tuple[int, np.ndarray]]:
    """
    When to refresh which beliefs of a pool: after the stage that last wrote to a variable before it is read.

    Each stage reads at time 2 s and writes at 2 s + 1. A write counts unless the variable's next event is a write.
    """
    if len(plan.stages) == 1:  # no need to sort events
        written = np.zeros(layout.pools[pool].size, dtype=np.bool_)
        for step in plan.stages[0]:
            for port, segment in enumerate(layout.groups[step.factors].segments):
                if segment.pool == pool and port in step.ports:
                    written[layout.pools[pool].edge_place[segment.edges(step.index)]] = True
        return [(0, np.flatnonzero(written))] if written.any() else []
    times: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
    places: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
    edge_place = layout.pools[pool].edge_place
    for number, stage in enumerate(plan.stages):
        for step in stage:
            for port, segment in enumerate(layout.groups[step.factors].segments):
                if segment.pool != pool:
                    continue
                variables = edge_place[segment.edges(step.index)]
                for moment in (2 * number, 2 * number + 1) if port in step.ports else (2 * number,):
                    times.append(np.full(variables.size, moment))
                    places.append(variables)
    time, place = np.concatenate(times), np.concatenate(places)
    if not time.size:
        return []
    keys = np.sort(place * (2 * len(plan.stages)) + time)  # np.unique would hash millions, which takes five times as long
    keys = keys[np.diff(keys, prepend=-1) != 0]
    place, time = np.divmod(keys, 2 * len(plan.stages))
    is_write = time % 2 == 1
    followed = np.zeros(keys.size, dtype=np.bool_)
    followed[:-1] = (place[1:] == place[:-1]) & is_write[1:]
    due = is_write & ~followed
    stage_of, place = time[due] // 2, place[due]
    order = np.argsort(stage_of, kind="stable")
    stage_of, place = stage_of[order], place[order]
    changes = np.flatnonzero(np.diff(stage_of)) + 1
    if not place.size:
        return []
    return [(int(s[0]), p) for s, p in zip(np.split(stage_of, changes), np.split(place, changes), strict=True)]


def take_parameters(parameters: dict[str, Array], index: Array | None, backend: Backend, batched: bool) -> dict[str, Array]:
    """A block's parameters for some of its factors; shared ones as they are."""
    if index is None:
        return parameters
    from_end = 2 if batched else 1
    return {
        name: array if array.shape[-from_end] == 1 else backend.take(array, index, array.ndim - from_end)
        for name, array in parameters.items()
    }
