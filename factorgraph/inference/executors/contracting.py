"""Messages of a forest whose rounds of summing out are known: what is the same for tables and for relations.

The way back goes through the rounds in reverse: whoever was summed out is told what the rest of the forest says, edge by edge,
so that in the end each original edge knows both its cavities.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from factorgraph.backends import Array, Backend, Index
from factorgraph.inference.executors import changes
from factorgraph.inference.layout.contraction import Compress, Contraction, Edges, Narrow, Rake
from factorgraph.inference.layout.layout import Segment
from factorgraph.inference.layout.program import take_parameters
from factorgraph.inference.state.pool_state import PoolState
from factorgraph.inference.state.state import State
from factorgraph.semiring import Semiring

_LARGEST_ROOM = 1 << 22  # entries of an array that is kept from run to run


@dataclass(frozen=True, eq=False)
class Part:
    """Which of some tables are chosen, or None for all; and where these are."""

    rows: Index | None
    places: Index


@dataclass(frozen=True, eq=False)
class Selection:
    """
    Edges as they are on the device.

    Attributes
    ----------
    places : of all tables
    some_turned, mask : whether any is turned; and which, or None where they are all alike
    turned : the tables that are not turned, and those that are
    original : of each of these two, those that the graph has itself
    numbers : numbers of these
    """

    places: Index
    some_turned: bool
    mask: Array | None
    turned: tuple[Part | None, Part | None]
    original: tuple[Part | None, Part | None]
    numbers: tuple[np.ndarray, np.ndarray]


class Contracting(ABC):
    """
    One run: what is known of variables and of pairs of them, several sets of evidence side by side.

    A pair's table says how its first variable depends on its second; it is turned where that is wanted the other way round.

    Attributes
    ----------
    tables : of the pairs, along `table_axis`
    cavities : what is known of the first, and of the second variables of tables without these, along `axis`
    check, residuals : whether the largest change of messages is to be kept at each write, and these
    sent, is_sent : messages of the original edges to the first, and to the second variable, along `axis`; and which are there
    """

    axis: int
    table_axis: int
    tables: Array
    cavities: list[Array]
    sent: list[Array]

    def __init__(self, contraction: Contraction, state: State, semiring: Semiring) -> None:
        self.contraction, self.state, self.semiring = contraction, state, semiring
        self.backend: Backend = state.backend
        self.xp: Any = state.backend.xp
        self.sets = state.batch or 1
        self.check, self.residuals = False, list[Array]()
        self.ups: list[Array] = []
        self.narrow: list[tuple[Segment, np.ndarray, Array]] = []  # messages of factors of more than two variables
        self.places = contraction.places
        edges = sum(state.layout.groups[name].count for name in contraction.pairs)
        self.is_sent = [np.zeros(edges, dtype=np.bool_) for _ in range(2)]

    def _room(self, name: str, shape: tuple[int, ...]) -> Array:
        """An array with anything in it, the same one at the next run: new memory costs more than what is done with it."""
        rooms = self.state.rooms
        if name not in rooms or rooms[name].shape != shape:
            array = self.backend.zeros(shape)
            if math.prod(shape) > _LARGEST_ROOM:
                return array
            rooms[name] = array
        return rooms[name]

    def _slots(self, name: str) -> list[tuple[Segment, slice]]:
        """The ports of a group, and their edges; those of plural ports slot by slot."""
        return [
            (segment, slice(start, start + segment.count))
            for segment in self.state.layout.groups[name].segments
            for start in range(segment.first, segment.first + segment.width * segment.count, segment.count)
        ]

    def _places_of(self, segment: Segment, edges: slice) -> Index:
        """The variables at some edges of a port."""
        start = int(self.contraction.starts[segment.pool])
        return self._place(start + self.state.layout.pools[segment.pool].edge_place[edges])

    def _parameters_of(self, name: str, index: Index | None = None) -> dict[str, Array]:
        """The parameters of a group's factors, or of some, as their bound factor takes them."""
        return take_parameters(self.state.potentials[name].parameters, index, self.backend, self.state.batch is not None)

    def _index(self, step: Narrow) -> Index | None:
        """The factors of a step, for their parameters; None for all of a group."""
        return None if step.whole else self._one_each(step.factors)

    def _one_each(self, index: np.ndarray) -> Index:
        """Numbers of what all sets share, on the device; kept."""
        key = id(index), 0
        if key not in self.places or self.places[key][0] is not index:
            self.places[key] = index, self.backend.index_array(index)
        return self.places[key][1]

    def _slots_of(self, step: Narrow) -> list[Segment]:
        """The port of each slot."""
        segments = self.state.layout.groups[step.group].segments
        return [segment for segment in segments for _ in range(segment.width)]

    def _tell_narrow(self, step: Narrow) -> None:
        """Messages of factors of more than two variables, of which two were in the rounds; the others are told theirs."""
        bound, slots = self.state.potentials[step.group].bound, self._slots_of(step)
        tables = self._device(step.tables)
        heard: dict[Segment, list[Array]] = {}
        for number, segment in enumerate(slots):
            known = (
                self._params(self._cavities(step.core.index(number), tables), segment)
                if number in step.core
                else self._heard(segment, self._places_at(segment, step.nodes[number]))
            )
            heard.setdefault(segment, []).append(known)
        axes = {segment: len(bound.types[port].param_shape) for port, segment in enumerate(heard)}
        incoming = [
            self.xp.stack(parts, axis=axes[segment]) if port in bound.plural else parts[0]
            for port, (segment, parts) in enumerate(heard.items())
        ]
        found = bound.messages(
            incoming, self._parameters_of(step.group, self._index(step)), range(len(incoming)), self.semiring
        )
        self.narrow += list(zip(heard, step.edges, found, strict=True))
        slot = 0
        for port, (segment, message) in enumerate(zip(heard, found, strict=True)):
            for place in range(segment.width):
                if slot not in step.core:
                    lead = (slice(None),) * axes[segment]
                    own = message[(*lead, place, ...)] if port in bound.plural else message
                    self._tell(segment, self._places_at(segment, step.nodes[slot]), own)
                slot += 1

    def _send_narrow(self) -> None:
        """Write the messages of factors of more than two variables."""
        for segment, edges, message in self.narrow:
            pool = self.state.pools[segment.pool]
            flat = self.xp.reshape(message, (*pool.pool.type.param_shape, edges.size, *pool.batch))
            self._write(pool, self._one_each(edges), flat)

    def _write(self, pool: PoolState, edges: Index, message: Array) -> None:
        """Write messages; how far they went is kept where it is asked for."""
        change = pool.write(edges, message, undamped=True)
        if self.check:
            self.residuals.append(changes.largest(pool, change, edges))
            changes.keep(pool, change, edges)

    def _any_nan(self, messages: Sequence[Array]) -> bool:
        return any(bool(self.backend.to_host(self.xp.any(self.xp.isnan(message)))) for message in messages)

    @abstractmethod
    def _places_at(self, segment: Segment, nodes: np.ndarray) -> Index:
        """Where variables at a port are, by their numbers among all."""

    @abstractmethod
    def _heard(self, segment: Segment, places: Index) -> Array:
        """What is known of some variables at a port, as natural parameters."""

    @abstractmethod
    def _tell(self, segment: Segment, places: Index, message: Array) -> None:
        """Some variables at a port are told something, in natural parameters."""

    @abstractmethod
    def _narrowed(self, step: Narrow) -> Array:
        """Factors of more than two variables as tables of two, from what is known of the others."""

    @abstractmethod
    def _params(self, weights: Array, segment: Segment) -> Array:
        """What is known of the variables at a port, as natural parameters ``(*param_shape, F, *batch)``."""

    @abstractmethod
    def _add(self, places: Index, message: Array) -> None:
        """Some variables are told something, each at most once or several times."""

    @abstractmethod
    def _weights(self, places: Index, without: Array | None = None) -> Array:
        """What is said of some variables up to now, without some message."""

    @abstractmethod
    def _plus(self, one: Array, other: Array) -> Array:
        """Two messages to the same variables as one."""

    def _selection(self, edges: Edges) -> Selection:
        """Some tables as they are on the device, made once."""
        key = edges, self.sets
        if key not in self.contraction.selections:
            self.contraction.selections[key] = self._select(edges)
        found: Selection = self.contraction.selections[key]
        return found

    def _select(self, edges: Edges) -> Selection:
        tables, turned = edges.tables, edges.turned
        parts = []
        for chosen in (~turned, turned):
            original = chosen & (tables < len(self.is_sent[0]))
            parts.append((self._part(tables, chosen), self._part(tables, original), tables[original]))
        mask = None if turned.all() or not turned.any() else self.backend.mask_array(np.repeat(turned, self.sets))
        return Selection(self._device(tables), bool(turned.any()), mask, *zip(*parts, strict=True))

    def _part(self, tables: np.ndarray, chosen: np.ndarray) -> Part | None:
        """Those tables that are chosen; None where there is none."""
        if not chosen.any():
            return None
        if chosen.all():
            return Part(None, self._device(tables))
        return Part(self._place(np.flatnonzero(chosen)), self._place(tables[chosen]))

    def _oriented(self, edges: Edges) -> Array:
        """Some tables, those chosen turned."""
        selection = self._selection(edges)
        tables = self.backend.take(self.tables, selection.places, self.table_axis)
        if not selection.some_turned:
            return tables
        other = self._turned(tables)
        if selection.mask is None:
            return other
        shape = [-1 if axis == self.table_axis else 1 for axis in range(tables.ndim)]
        return self.xp.where(self.xp.reshape(selection.mask, tuple(shape)), other, tables)

    def _said(self, edges: Edges, weights: Array) -> Array:
        """`_told`, and what is said along an original edge is kept: it is final."""
        message, selection = self._told(edges, weights), self._selection(edges)
        for end, (part, numbers) in enumerate(zip(selection.original, selection.numbers, strict=True)):
            if part is not None:
                self.backend.put(self.sent[end], part.places, self._rows(message, part), self.axis)
                self.is_sent[end][numbers] = True
        return message

    def _rows(self, array: Array, part: Part) -> Array:
        return array if part.rows is None else self.backend.take(array, part.rows, self.axis)

    def _told(self, edges: Edges, weights: Array) -> Array:
        """Messages to the first variables of some tables, or to the second where turned, from what is known of the others."""
        return self._through(self._oriented(edges), weights)

    def _sent(self, end: int, first: int, count: int) -> Array:
        """Messages of some original edges to the variables at one end; worked out where no round did."""
        missing = self.contraction.missing
        if (end, first) not in missing:  # the same at each run
            tables = first + np.flatnonzero(~self.is_sent[end][first : first + count])
            missing[end, first] = Edges(tables, np.full(tables.size, end == 1))
        edges = missing[end, first]
        if edges.tables.size:
            places = self._selection(edges).places
            known = self.backend.take(self.cavities[1 - end], places, self.axis)
            self.backend.put(self.sent[end], places, self._told(edges, known), self.axis)
        return self.backend.take(self.sent[end], slice(first * self.sets, (first + count) * self.sets), self.axis)

    def _put_tables(self, places: Index, tables: Array) -> None:
        self.backend.put(self.tables, places, tables, self.table_axis)

    def _cavities(self, end: int, places: Index) -> Array:
        return self.backend.take(self.cavities[end], places, self.axis)

    @abstractmethod
    def _turned(self, tables: Array) -> Array:
        """Tables seen from the other end."""

    @abstractmethod
    def _through(self, tables: Array, weights: Array) -> Array:
        """Messages to the tables' first variables, from what is known of their second ones."""

    @abstractmethod
    def _product(self, left: Array, weights: Array, right: Array) -> Array:
        """Tables without the variables between two each, of which this is known."""

    @abstractmethod
    def write(self) -> bool:
        """Messages of the original edges, as the engine keeps them; False, and nothing written, where there are none."""

    def _device(self, index: np.ndarray) -> Index:
        """Items' places on the device, each set's own; a slice where they follow each other. Kept for arrays of the rounds."""
        key = id(index), self.sets
        if key not in self.places or self.places[key][0] is not index:
            self.places[key] = index, self._place(index)
        return self.places[key][1]

    def _place(self, index: np.ndarray) -> Index:
        if self.sets > 1:
            index = (index[:, None] * self.sets + np.arange(self.sets)).reshape(-1)
        step = int(index[1] - index[0]) if index.size > 1 else 1
        if step > 0 and index.size and bool((np.diff(index) == step).all()):
            return slice(int(index[0]), int(index[-1]) + 1, step)  # as along a chain: nothing is gathered
        return self.backend.index_array(index)

    def forward(self) -> None:
        """Sum variables out, round by round."""
        for step in self.contraction.rounds:
            if isinstance(step, Rake):
                message = self._said(step.edges, self._weights(self._device(step.leaf)))
                self.ups.append(message)
                self._add(self._device(step.target), message)
                continue
            if isinstance(step, Narrow):
                self._put_tables(self._device(step.tables), self._narrowed(step))
                continue
            found = self._product(
                self._oriented(step.left),
                self._weights(self._device(step.middle)),
                self._oriented(step.right),
            )
            self._put_tables(self._new(step), found)

    def _new(self, step: Compress) -> slice:
        return slice(step.first * self.sets, (step.first + len(step.middle)) * self.sets)

    def backward(self) -> None:
        """Tell whoever was summed out what the rest says; each table gets the cavities of its ends."""
        for step in reversed(self.contraction.rounds):
            if isinstance(step, Rake):
                target, leaf = (self._device(places) for places in (step.target, step.leaf))
                cavity, own = self._weights(target, self.ups.pop()), self._weights(leaf)
                self._keep(step.edges, cavity, own)
                # Tables were taken with the leaf second.
                self._add(leaf, self._said(step.edges.back, cavity))
                continue
            if isinstance(step, Narrow):
                self._tell_narrow(step)
                continue
            outer = [self._cavities(end, self._new(step)) for end in range(2)]
            middle = self._device(step.middle)
            own = self._weights(middle)
            from_left = self._said(step.left.back, outer[0])
            from_right = self._said(step.right, outer[1])
            self._keep(step.left, outer[0], self._plus(own, from_right))
            self._keep(step.right, self._plus(own, from_left), outer[1])
            self._add(middle, from_left)
            self._add(middle, from_right)

    def _keep(self, edges: Edges, first: Array, second: Array) -> None:
        """Cavities of the ends of tables, given in the order in which the tables were taken."""
        for part, known in zip(self._selection(edges).turned, ((first, second), (second, first)), strict=True):
            if part is not None:
                for cavities, one in zip(self.cavities, known, strict=True):
                    self.backend.put(cavities, part.places, self._rows(one, part), self.axis)
