"""Where nodes stand: chains straight, images as grids, trees in layers or rings, all else by Graphviz or networkx."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from factorgraph.drawing import graphviz
from factorgraph.drawing.scene import Scene
from factorgraph.drawing.trees import chain, layers, ring, rings

_MOST_LEAVES, _MOST_BRANCHES = 12, 5  # of a tree in layers
_EXACT = 300  # nodes up to which distances are kept as they are in the graph
_NEAREST = 0.6  # between the centres of any two nodes
_GAP = 1.0  # between components
_WIDE = 1.4  # of a picture of several components, over its height

Paths = list[np.ndarray]


def place(scene: Scene, rooms: np.ndarray, seed: int = 0, programs: bool = True) -> tuple[np.ndarray, Paths]:
    """
    Places of nodes, and lines of edges, in units of about the length of an edge.

    Parameters
    ----------
    scene : Scene
    rooms : (n, 2) width and height that each node needs with its label, in the same units
    seed : int, default 0
        Of layouts that begin at random places.
    programs : bool, default True
        Whether Graphviz may be used.

    Returns
    -------
    (n, 2) array, and for each edge an (m, 2) array of the points of its line
    """
    number = len(scene.nodes)
    if scene.places is not None:
        places = np.asarray(scene.places, dtype=np.float64)
        return places, _lines(scene.edges, places, {})
    first, second = scene.edges.T
    links = sparse.coo_array((np.ones(len(first)), (first, second)), shape=(number, number)).tocsr()
    count, labels = csgraph.connected_components(links, directed=False)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    bends: dict[int, np.ndarray] = {}
    for component in range(count):
        members = np.flatnonzero(labels == component)
        inner = np.flatnonzero(labels[first] == component) if len(first) else np.zeros(0, dtype=np.int64)
        edges = np.searchsorted(members, scene.edges[inner])
        at, bent = _component(edges, rooms[members], seed, scene.directed, programs)
        parts.append((members, inner, at))
        bends |= {int(inner[edge]): path for edge, path in bent.items()}
    return _packed(scene, parts, rooms, bends)


def _component(
    edges: np.ndarray, rooms: np.ndarray, seed: int, directed: bool, programs: bool
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Places of the nodes of a connected graph, and the edges that are no straight lines."""
    number = len(rooms)
    distinct = np.unique(np.sort(edges, axis=1), axis=0)
    if len(distinct) == number - 1:
        neighbours: list[list[int]] = [[] for _ in range(number)]
        for a, b in distinct.tolist():
            neighbours[a].append(b)
            neighbours[b].append(a)
        straight = chain(neighbours, rooms)
        if straight is not None:
            return straight, {}
        leaves = sum(len(around) == 1 for around in neighbours)
        wide = leaves > _MOST_LEAVES or max(map(len, neighbours)) > _MOST_BRANCHES
        return (rings if wide else layers)(neighbours, rooms), {}
    if len(distinct) == number == len(edges) and (np.bincount(distinct.ravel()) == 2).all():
        return ring(distinct, rooms), {}
    if programs:
        found = graphviz.place(edges, rooms, directed, seed)
        if found is not None:
            return found
    return _springs(distinct, number, seed), {}


def _springs(edges: np.ndarray, number: int, seed: int) -> np.ndarray:
    """By forces between the nodes, the median edge one unit long."""
    import networkx as nx

    network: nx.Graph = nx.Graph()
    network.add_nodes_from(range(number))
    network.add_edges_from(edges.tolist())
    if number <= _EXACT:
        found = nx.kamada_kawai_layout(network, pos=nx.circular_layout(network))
    else:
        found = nx.spring_layout(network, seed=seed)
    places = np.array([found[node] for node in range(number)])
    lengths = np.linalg.norm(places[edges[:, 0]] - places[edges[:, 1]], axis=1)
    return _apart(places / np.median(lengths))


def _apart(places: np.ndarray) -> np.ndarray:
    """Push nodes that would touch away from each other."""
    for _ in range(60):
        away = places[:, None] - places[None]
        distance = np.linalg.norm(away, axis=-1)
        near = (distance < _NEAREST) & ~np.eye(len(places), dtype=np.bool_)
        if not near.any():
            break
        push = np.where(near, (_NEAREST - distance) / np.maximum(distance, 1e-6) / 2, 0.0)
        places = places + (push[..., None] * away).sum(axis=1)
    return places


def _packed(
    scene: Scene, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]], rooms: np.ndarray, bends: dict[int, np.ndarray]
) -> tuple[np.ndarray, Paths]:
    """Components in rows beside each other, the largest first."""
    boxes = []
    for members, _, at in parts:
        low, high = (at - rooms[members] / 2).min(axis=0), (at + rooms[members] / 2).max(axis=0)
        boxes.append((low, high - low))
    if not boxes:
        return np.zeros((0, 2)), []
    areas = np.array([np.prod(size + _GAP) for _, size in boxes])
    width = max(max(size[0] for _, size in boxes), float(np.sqrt(_WIDE * areas.sum())))
    places = np.zeros((len(scene.nodes), 2))
    x = y = deep = 0.0
    for number in np.argsort([-len(members) for members, _, _ in parts], kind="stable"):
        members, inner, at = parts[number]
        low, size = boxes[number]
        if x > 0 and x + size[0] > width:
            x, y, deep = 0.0, y - deep - _GAP, 0.0
        move = np.array([x, y - size[1]]) - low
        places[members] = at + move
        for edge in inner.tolist():
            if edge in bends:
                bends[edge] = bends[edge] + move
        x, deep = x + size[0] + _GAP, max(deep, size[1])
    return places, _lines(scene.edges, places, bends)


def _lines(edges: np.ndarray, places: np.ndarray, bends: dict[int, np.ndarray]) -> Paths:
    """Lines of all edges; several between the same nodes are bowed, so that all are seen."""
    paths: Paths = []
    pairs = [tuple(sorted(pair)) for pair in edges.tolist()]
    total = {pair: pairs.count(pair) for pair in set(pairs)} if len(pairs) < 1000 else {}
    drawn: dict[tuple[int, ...], int] = {}
    for number, (pair, (a, b)) in enumerate(zip(pairs, edges.tolist(), strict=True)):
        start, end = places[a], places[b]
        many, this = total.get(pair, 1), drawn.get(pair, 0)
        drawn[pair] = this + 1
        if number in bends and many == 1:
            paths.append(bends[number])
            continue
        bow = 0.24 * (this - (many - 1) / 2) * (1.0 if a < b else -1.0)
        along = np.linspace(0.0, 1.0, 2 if bow == 0 else 13)[:, None]
        across = np.array([start[1] - end[1], end[0] - start[0]]) / max(float(np.linalg.norm(end - start)), 1e-9)
        paths.append(start + along * (end - start) + bow * 4 * along * (1 - along) * across)
    return paths
