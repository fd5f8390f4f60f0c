"""Orders in which to eliminate variables, and the cliques that they make."""

from __future__ import annotations

import heapq
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

Rule: TypeAlias = "Callable[[int, list[set[int]], list[float]], float]"

_TRIES = 1000
_HUB = 64  # neighbours from which on a variable is priced anew only now and then
_SECONDS_PER_ENTRY = 3e-9
_MOST_SECONDS = 10.0
_HOPELESS = 8.0  # powers of 2 that no search makes up for


@dataclass(frozen=True)
class Elimination:
    """
    An order of elimination.

    Attributes
    ----------
    order : variables, first eliminated first
    neighbours : for each variable, in this order, those that it shares a table with when it is eliminated
    log_largest, log_total : log2 of the number of entries of the largest of these tables, and of all
    """

    order: list[int]
    neighbours: list[set[int]]
    log_largest: float
    log_total: float


def find_elimination(sizes: Sequence[int], scopes: Sequence[Sequence[int]], most: float = math.inf) -> Elimination:
    """
    A good order: the best of two along the graph and of many greedy ones, with ties broken at random (always the same way).

    Variables with at most one neighbour go first, as some best order has them first; a forest is then done, in linear time. The
    search goes on for as long as it is short beside the work that it may save, and not at all where nothing would come of it.

    Parameters
    ----------
    sizes : number of states of each variable
    scopes : variables of each factor
    most : entries of a table that anybody would make
    """
    if not sizes:
        return Elimination([], [], 0.0, 0.0)
    adjacency: list[set[int]] = [set() for _ in sizes]
    for scope in scopes:
        for v in scope:
            adjacency[v].update(scope)
    for v, others in enumerate(adjacency):
        others.discard(v)
    weights = [math.log2(size) for size in sizes]
    leaves = _take_off_leaves(adjacency, weights)
    core = sorted(set(range(len(sizes))) - set(leaves.order))
    if not core:
        return leaves
    number = {v: i for i, v in enumerate(core)}
    inner = _search([{number[u] for u in adjacency[v]} for v in core], [weights[v] for v in core], math.log2(max(most, 1.0)))
    return Elimination(
        leaves.order + [core[i] for i in inner.order],
        leaves.neighbours + [{core[i] for i in around} for around in inner.neighbours],
        max(leaves.log_largest, inner.log_largest),
        float(np.logaddexp2(leaves.log_total, inner.log_total)),
    )


def _take_off_leaves(adjacency: list[set[int]], weights: list[float]) -> Elimination:
    """Eliminate variables with at most one neighbour until none is left; they are taken out of ``adjacency``."""
    order: list[int] = []
    neighbours: list[set[int]] = []
    largest, total = 0.0, 0.0
    waiting = [v for v, around in enumerate(adjacency) if len(around) <= 1]
    done = [False] * len(weights)
    for v in waiting:
        if done[v]:
            continue
        done[v] = True
        around = adjacency[v]
        adjacency[v] = set()
        order.append(v)
        neighbours.append(around)
        size = weights[v]
        for u in around:
            size += weights[u]
            adjacency[u].discard(v)
            if len(adjacency[u]) <= 1:
                waiting.append(u)
        largest = max(largest, size)
        total += 2.0**size
    return Elimination(order, neighbours, largest, math.log2(total) if total else -math.inf)


def _search(adjacency: list[set[int]], weights: list[float], log_most: float) -> Elimination:
    """The best order that is found in the time that it may save; the first three where all their tables are far too large."""
    rng = random.Random(0)
    started = time.monotonic()
    best = _greedy(adjacency, weights, _fill, rng, math.inf)
    assert best is not None
    rules = enumerate(_rules(adjacency))
    while time.monotonic() - started <= min(2.0**best.log_total * _SECONDS_PER_ENTRY, _MOST_SECONDS):
        number, rule = next(rules, (_TRIES, None))
        if rule is None or (number > 1 and best.log_largest > log_most + _HOPELESS):
            break
        found = _greedy(adjacency, weights, rule, rng, best.log_total)
        if found is not None and found.log_total < best.log_total:
            best = found
    return best


def _rules(adjacency: list[set[int]]) -> Iterator[Rule]:
    """Rules to try one after another."""
    yield _fixed(list(range(len(adjacency))))
    yield _fixed(_along(adjacency))
    for number in range(2, _TRIES):
        yield (_weight, _fill, _weighted_fill)[number % 3]


def _along(adjacency: list[set[int]]) -> list[int]:
    """Place of each variable in the reverse Cuthill-McKee order, which follows long graphs from end to end."""
    pairs = np.array([(v, u) for v, around in enumerate(adjacency) for u in around], dtype=np.int64).reshape(-1, 2)
    links = sparse.csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(adjacency), len(adjacency)))
    rank = np.empty(len(adjacency), dtype=np.int64)
    rank[csgraph.reverse_cuthill_mckee(links, symmetric_mode=True)] = np.arange(len(adjacency))
    return rank.tolist()


def _fixed(rank: list[int]) -> Rule:
    """A rule that follows an order given beforehand."""
    return lambda v, adjacency, weights: float(rank[v])


def _fill(v: int, adjacency: list[set[int]], weights: list[float]) -> float:
    """How many edges elimination adds."""
    around = adjacency[v]
    count = len(around)
    return (count * (count - 1) - sum([len(around & adjacency[u]) for u in around])) / 2


def _weight(v: int, adjacency: list[set[int]], weights: list[float]) -> float:
    """Log of the size of the table that elimination makes."""
    return weights[v] + sum(weights[u] for u in adjacency[v])


def _weighted_fill(v: int, adjacency: list[set[int]], weights: list[float]) -> float:
    """How many edges elimination adds, each by the states that it joins."""
    around = adjacency[v]
    total = 0.0
    for u in around:
        missing = around - adjacency[u]
        missing.discard(u)
        total += weights[u] * sum(weights[w] for w in missing)
    return total / 2


def _greedy(
    adjacency: list[set[int]], weights: list[float], rule: Rule, rng: random.Random, limit: float
) -> Elimination | None:
    """
    Eliminate the cheapest variable by a rule, again and again; None once the tables are larger than the limit.

    The price of a variable with very many neighbours is old until an eighth of them have changed, or its turn has come: it is
    dear in any case, and to price it at every change would take quadratic time.
    """
    adjacency = [set(others) for others in adjacency]
    waiting = [(rule(v, adjacency, weights), rng.random(), v) for v in range(len(weights))]
    current = [cost for cost, _, _ in waiting]
    heapq.heapify(waiting)
    order: list[int] = []
    neighbours: list[set[int]] = []
    done = [False] * len(weights)
    priced = [len(others) for others in adjacency]
    old: set[int] = set()
    largest, total = 0.0, 0.0
    while waiting:
        cost, _, v = heapq.heappop(waiting)
        if done[v] or cost != current[v]:
            continue
        if v in old:
            old.discard(v)
            priced[v], current[v] = len(adjacency[v]), rule(v, adjacency, weights)
            if current[v] > cost:
                heapq.heappush(waiting, (current[v], rng.random(), v))
                continue
        done[v] = True
        around = adjacency[v]
        size = weights[v] + sum(weights[u] for u in around)
        largest = max(largest, size)
        total += 2.0 ** min(size, 1000.0)
        if total > 0 and math.log2(total) > limit:
            return None
        order.append(v)
        neighbours.append(around)
        changed = set(around)
        for u in around:
            adjacency[u].discard(v)
            missing = around - adjacency[u]
            missing.discard(u)
            if missing and rule in (_fill, _weighted_fill):
                if len(adjacency[u]) <= _HUB:
                    changed |= adjacency[u]
                else:
                    changed.update(*(adjacency[u] & adjacency[w] for w in missing))
            adjacency[u] |= missing
        for u in changed:
            if not done[u]:
                degree = len(adjacency[u])
                if degree > _HUB and abs(degree - priced[u]) * 8 < priced[u]:
                    old.add(u)
                    continue
                old.discard(u)
                priced[u] = degree
                value = rule(u, adjacency, weights)
                if value != current[u]:
                    current[u] = value
                    heapq.heappush(waiting, (value, rng.random(), u))
    return Elimination(order, neighbours, largest, math.log2(total) if total else 0.0)
