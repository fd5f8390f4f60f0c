"""Layouts of trees: straight chains with what hangs on them, layers, and rings around a centre."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Neighbours = Sequence[Sequence[int]]

_HANGING = 2  # edges from a chain's back to the end of what hangs on it


def chain(neighbours: Neighbours, rooms: np.ndarray) -> np.ndarray | None:
    """
    A tree that is one path with short paths hanging on it, as a hidden Markov chain: the path on a straight line.

    Parameters
    ----------
    neighbours : for each node its neighbours
    rooms : (n, 2) width and height that each node needs, in units of an edge

    Returns
    -------
    (n, 2) array of places; None where the tree is no such chain
    """
    found = _back(neighbours)
    if found is None:
        return None
    back, hanging = found
    if any(len(branches) > 2 for branches in hanging):
        return None
    places = np.zeros((len(neighbours), 2))
    x = 0.0
    for number, node in enumerate(back):
        if number:
            x += max(1.0, (rooms[back[number - 1], 0] + rooms[node, 0]) / 2)
        places[node] = x, 0.0
        for side, branch in zip((-1.0, 1.0), hanging[number], strict=False):
            for step, other in enumerate(branch, start=1):
                places[other] = x, side * step * max(1.0, float(rooms[other, 1]))
    return places


def layers(neighbours: Neighbours, rooms: np.ndarray) -> np.ndarray:
    """A tree with its centre at the top and each generation on a line below; leaves take the width that they need."""
    root = _centre(neighbours)
    order, parents, depth = _walk(neighbours, root)
    places = np.zeros((len(order), 2))
    children: list[list[int]] = [[] for _ in neighbours]
    for node in order[1:]:
        children[parents[node]].append(node)
    x = 0.0
    for node in _leaves_in_order(children, root):
        width = max(1.0, float(rooms[node, 0]))
        places[node, 0] = x + width / 2
        x += width
    for node in reversed(order):
        if children[node]:
            places[node, 0] = (places[children[node][0], 0] + places[children[node][-1], 0]) / 2
        places[node, 1] = -depth[node] * 1.1
    return places


def rings(neighbours: Neighbours, rooms: np.ndarray) -> np.ndarray:
    """A tree around its centre, each generation on a ring, so wide that no node is nearer to its neighbours than it needs."""
    root = _centre(neighbours)
    order, parents, depth = _walk(neighbours, root)
    need = np.maximum(1.0, np.hypot(*rooms.T) * 0.8)
    children: list[list[int]] = [[] for _ in neighbours]
    weight = np.zeros(len(order))
    for node in reversed(order):
        weight[node] = max(weight[children[node]].sum(), need[node] / max(1.0, depth[node]))
        if node != root:
            children[parents[node]].append(node)
    angle, wedge = np.zeros(len(order)), np.full(len(order), 2 * np.pi)
    radius = np.zeros(max(depth) + 1)
    for node in order:
        start = angle[node] - wedge[node] / 2
        share = wedge[node] / max(weight[children[node]].sum(), 1e-9)
        if node != root:
            share = min(share, wedge[node] / weight[node])
            start = angle[node] - share * weight[children[node]].sum() / 2
        for child in reversed(children[node]):
            wedge[child] = share * weight[child]
            angle[child] = start + wedge[child] / 2
            start += wedge[child]
    for level in range(1, len(radius)):
        around = np.sort(angle[np.array(depth) == level])
        gap = np.diff(around, append=around[0] + 2 * np.pi).min()
        widest = need[np.array(depth) == level].max()
        radius[level] = max(radius[level - 1] + 1.0, widest / gap if len(around) > 1 else 0.0)
    return radius[depth][:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ring(edges: np.ndarray, rooms: np.ndarray) -> np.ndarray:
    """One cycle, ``(n, 2)`` edges, as a circle, in which the nodes follow each other from the left."""
    around: list[list[int]] = [[] for _ in edges]
    for a, b in edges.tolist():
        around[a].append(b)
        around[b].append(a)
    order = [0, around[0][0]]
    while len(order) < len(edges):
        order += [node for node in around[order[-1]] if node != order[-2]]
    need = np.maximum(1.0, rooms[:, 1] + 0.2)
    angle = np.zeros(len(edges))
    angle[order] = np.pi - 2 * np.pi * np.arange(len(edges)) / len(edges)
    radius = max(1.0, float(need.sum()) / (2 * np.pi))
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _back(neighbours: Neighbours) -> tuple[list[int], list[list[list[int]]]] | None:
    """
    The path that is left when leaves have been taken away as often as needed, and for each of its nodes what hangs on it.

    None where what is taken away is more than short paths.
    """
    degree = [len(around) for around in neighbours]
    left = set(range(len(neighbours)))
    rounds = 0
    while any(degree[node] > 2 for node in left):
        if rounds == _HANGING:
            return None
        leaves = [node for node in left if degree[node] <= 1]
        left -= set(leaves)
        for node in leaves:
            for other in neighbours[node]:
                degree[other] -= 1
        rounds += 1
    ends = sorted(node for node in left if degree[node] <= 1)
    if not ends:
        return None
    back, before = ends[:1], -1
    while onward := [node for node in neighbours[back[-1]] if node in left and node != before]:
        before = back[-1]
        back.append(onward[0])
    hanging = [[_branch(neighbours, node, start) for start in neighbours[node] if start not in left] for node in back]
    if any(not branch for branches in hanging for branch in branches):
        return None
    for end, like in ((0, 2), (-1, -3)):  # a path's own end is no branch, unless other such nodes have branches too
        if len(back) > 2 and len(hanging[end]) == 1 and not hanging[like]:
            branch = hanging[end].pop()
            back = [*reversed(branch), *back] if end == 0 else [*back, *branch]
            added: list[list[list[int]]] = [[] for _ in branch]
            hanging = added + hanging if end == 0 else hanging + added
    return back, hanging


def _branch(neighbours: Neighbours, node: int, start: int) -> list[int]:
    """The path that leaves a node; empty where it is none, or too long."""
    branch, before = [start], node
    while onward := [other for other in neighbours[branch[-1]] if other != before]:
        if len(onward) > 1 or len(branch) == _HANGING:
            return []
        before = branch[-1]
        branch.append(onward[0])
    return branch


def _walk(neighbours: Neighbours, root: int) -> tuple[list[int], list[int], list[int]]:
    """Nodes by their distance from a root, and the parent and the distance of each."""
    parents, depth = [-1] * len(neighbours), [0] * len(neighbours)
    order = [root]
    for node in order:
        for other in neighbours[node]:
            if other != parents[node]:
                parents[other], depth[other] = node, depth[node] + 1
                order.append(other)
    return order, parents, depth


def _longest_path(neighbours: Neighbours) -> list[int]:
    first = _walk(neighbours, 0)[0][-1]
    order, parents, _ = _walk(neighbours, first)
    path = [order[-1]]
    while path[-1] != first:
        path.append(parents[path[-1]])
    return path if path[0] < path[-1] else path[::-1]


def _centre(neighbours: Neighbours) -> int:
    path = _longest_path(neighbours)
    return path[len(path) // 2]


def _leaves_in_order(children: list[list[int]], root: int) -> list[int]:
    leaves, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        if not children[node]:
            leaves.append(node)
        waiting += reversed(children[node])
    return leaves
