"""The cliques that an order of elimination makes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from factorgraph.junction.elimination import Elimination
from factorgraph.junction.plan import Plan
from factorgraph.junction.tables import Given

_MERGED = 1 << 6  # entries; up to here a clique is joined to its parent, as a call costs more than entries


@dataclass(eq=False, slots=True)
class Clique:
    """
    A clique: the variables that it shares with its parent, and those eliminated here.

    Attributes
    ----------
    shared, own : variables, in the order of the axes of the clique's product: first those shared
    parent : number of the parent clique, or -1 at a root
    tables : numbers of the tables assigned to this clique
    scopes : variables of each input: of the tables, of what the children say, and of own variables that neither have; empty
        until `list_inputs` is called
    heard : for each own variable, the number of the input that tells its marginal
    plan : how messages are made of the inputs
    """

    shared: list[int]
    own: list[int]
    parent: int = -1
    children: list[int] = field(default_factory=list)
    tables: list[int] = field(default_factory=list)
    scopes: list[list[int]] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    plan: Plan | None = None

    @property
    def axes(self) -> list[int]:
        """Variables of all axes."""
        return self.shared + self.own


def cliques_of(given: Given, elimination: Elimination, free: list[int]) -> list[Clique]:
    """
    Cliques with the tables that each takes.

    Parameters
    ----------
    given : what evidence leaves of a model
    elimination : of the variables with more than one state, numbered as in ``free``
    free : variable of each number of the elimination
    """
    cliques: list[Clique] = []
    clique_of: dict[int, int] = {}
    rank = {free[v]: number for number, v in enumerate(elimination.order)}
    waiting: dict[int, list[int]] = {}  # cliques whose first shared variable is this one
    for v, around in zip(elimination.order, elimination.neighbours, strict=True):
        variable = free[v]
        shared = sorted((free[u] for u in around), key=rank.__getitem__)
        # A clique of which this one is a part goes on to eliminate this variable too.
        home = next((c for c in waiting.get(variable, []) if len(cliques[c].shared) == len(shared) + 1), -1)
        if home < 0:
            home = len(cliques)
            cliques.append(Clique(shared, [variable]))
        else:
            cliques[home].own.append(variable)
            cliques[home].shared = shared
        clique_of[variable] = home
        for child in waiting.pop(variable, []):
            if child != home:
                cliques[child].parent = home
                cliques[home].children.append(child)
        if shared:
            waiting.setdefault(shared[0], []).append(home)
    for number, scope in enumerate(given.scopes):
        if scope:
            cliques[clique_of[min(scope, key=rank.__getitem__)]].tables.append(number)
    return _merged(cliques, given.sizes)


def bottom_up(cliques: list[Clique]) -> list[int]:
    """Numbers of cliques, each before its parent."""
    found = [number for number, clique in enumerate(cliques) if clique.parent < 0]
    for number in found:
        found.extend(cliques[number].children)
    return found[::-1]


def _merged(cliques: list[Clique], sizes: list[int]) -> list[Clique]:
    """Small cliques joined to their parents, as long as what they make is small."""
    order = bottom_up(cliques)
    entries = [math.prod([sizes[v] for v in clique.axes]) for clique in cliques]
    place = list(range(len(cliques)))  # the clique that each has become a part of
    for number in order:
        clique = cliques[number]
        own = math.prod([sizes[v] for v in clique.own])
        if clique.parent >= 0 and entries[clique.parent] * own <= _MERGED:
            entries[clique.parent] *= own
            cliques[clique.parent].own += clique.own
            cliques[clique.parent].tables += clique.tables
            place[number] = clique.parent
    for number in reversed(order):  # a clique may be joined to one that is joined to another
        place[number] = place[place[number]]
    left = [number for number in range(len(cliques)) if place[number] == number]
    renumbered = {number: new for new, number in enumerate(left)}
    found = [cliques[number] for number in left]
    for clique in found:
        clique.children = []
    for new, clique in enumerate(found):
        if clique.parent >= 0:
            clique.parent = renumbered[place[clique.parent]]
            found[clique.parent].children.append(new)
    return found


def list_inputs(cliques: list[Clique], given: Given) -> None:
    """Scopes of the inputs of cliques, and which of them tells each own variable's marginal: a child, else the smallest."""
    for clique in cliques:
        _list_inputs(clique, cliques, given)


def _list_inputs(clique: Clique, cliques: list[Clique], given: Given) -> None:
    clique.scopes = [list(given.scopes[t]) for t in clique.tables]
    clique.scopes += [cliques[child].shared for child in clique.children]
    clique.scopes += [[v] for v in set(clique.axes).difference(*clique.scopes)]
    children = range(len(clique.tables), len(clique.tables) + len(clique.children))
    price = [(i not in children, math.prod([given.sizes[v] for v in scope]), i) for i, scope in enumerate(clique.scopes)]
    best: dict[int, tuple[bool, int, int]] = {}
    for one, scope in zip(price, clique.scopes, strict=True):
        for v in scope:
            best[v] = min(one, best.get(v, one))
    clique.heard = [best[v][2] for v in clique.own]
