"""A forest of relations contracted: messages between variables of one type that has no finite set of states."""

from __future__ import annotations

import numpy as np

from factorgraph.backends import Array, Backend, Index
from factorgraph.inference.executors.contracting import Contracting
from factorgraph.inference.layout.contraction import Contraction, Edges, Narrow
from factorgraph.inference.layout.layout import Segment
from factorgraph.inference.layout.program import edge_call
from factorgraph.inference.state.ports import incoming
from factorgraph.inference.state.state import State
from factorgraph.schedules import Step
from factorgraph.semiring import Semiring
from factorgraph.variables import VariableType


class Known:
    """What is said of variables of one type, ``(*param_shape, n)``, certain parts counted apart where there may be some."""

    may_be_certain = True

    def __init__(self, kind: VariableType, count: int, backend: Backend) -> None:
        self.kind, self.backend = kind, backend
        self.finite, self.infinite = kind.split(backend.zeros((*kind.param_shape, count)), backend)

    def add(self, places: Index, message: Array) -> None:
        """Some variables are told something."""
        if not self.may_be_certain:
            parts = [(self.finite, message)]
        else:
            parts = list(zip((self.finite, self.infinite), self.kind.split(message, self.backend), strict=True))
        for total, part in parts:
            if isinstance(places, slice):
                total[..., places] += part
            else:
                self.backend.add_at(total, places, part, total.ndim - 1)

    def weights(self, places: Index, without: Array | None = None) -> Array:
        """Natural parameters of some variables, without some message."""
        if not self.may_be_certain:
            finite = self.backend.take(self.finite, places, self.finite.ndim - 1)
            return finite if without is None else finite - without
        parts = [self.backend.take(total, places, total.ndim - 1) for total in (self.finite, self.infinite)]
        if without is not None:
            parts = [part - less for part, less in zip(parts, self.kind.split(without, self.backend), strict=True)]
        return self.kind.join(parts[0], parts[1], self.backend)


class RelationContracting(Contracting):
    """The arrays of one run, items last: ``(*param_shape, n)`` of variables, ``(*shape, tables)``."""

    def __init__(self, contraction: Contraction, state: State, semiring: Semiring) -> None:
        super().__init__(contraction, state, semiring)
        self.kind = next(pool.pool.type for pool, inside in zip(state.pools, contraction.inside, strict=True) if inside)
        relations = self.kind.relations(self.backend)
        assert relations is not None
        self.relations = relations
        self.axis, self.table_axis = len(self.kind.param_shape), len(relations.shape)
        self.known = Known(self.kind, contraction.variables * self.sets, self.backend)
        self.known.may_be_certain = any(
            pool.hard or pool.has_certainty for pool, inside in zip(state.pools, contraction.inside, strict=True) if inside
        )
        tables, edges, shape = contraction.tables * self.sets, len(self.is_sent[0]) * self.sets, self.kind.param_shape
        self.tables = self._room("tables", (*relations.shape, tables))
        self.cavities = [self._room(f"cavities {end}", (*shape, tables)) for end in range(2)]
        self.sent = [self._room(f"sent {end}", (*shape, edges)) for end in range(2)]
        # Of each pool what is known, and where it begins there.
        self.known_of: list[tuple[Known, int]] = []
        for start, inside, pool in zip(contraction.starts.tolist(), contraction.inside, state.pools, strict=True):
            kind = pool.pool.type
            known, first = (self.known, start) if inside else (Known(kind, pool.pool.size * self.sets, self.backend), 0)
            self.known_of.append((known, first))
            prior = pool.settle_prior()
            if pool.evidence.mask is not None:
                finite, infinite = kind.split(prior, self.backend)
                clamped = kind.clamped(finite, infinite, pool.evidence.mask, pool.evidence.certain, self.backend)
                prior = kind.join(clamped[0], clamped[1], self.backend)
            said = self.xp.reshape(prior, (*kind.param_shape, -1))
            known.add(slice(first * self.sets, (first + pool.pool.size) * self.sets), said)
        for name in contraction.singles:
            self.known_of[self._slots(name)[0][0].pool][0].add(self._places_of(*self._slots(name)[0]), self._message_of(name))
        self.from_hung = {name: self._from_hung(name) for name in contraction.hung}
        for name, message in self.from_hung.items():
            self._add(self._places_of(*self._slots(name)[contraction.hung[name]]), message)
        # Relations pass certainty on, and make none.
        if self.known.may_be_certain:
            self.known.may_be_certain = bool(self.backend.to_host(self.xp.any(self.known.infinite != 0)))
        relations.may_be_certain = self.known.may_be_certain
        first = 0
        for name in contraction.pairs:
            count = state.layout.groups[name].count
            if name not in contraction.wide:
                part = slice(first * self.sets, (first + count) * self.sets)
                self._put_tables(part, self._relations(name, self._seen(name)))
            first += count

    def _places_of(self, segment: Segment, edges: slice) -> Index:
        return self._place(self.known_of[segment.pool][1] + self.state.layout.pools[segment.pool].edge_place[edges])

    def _flat(self, array: Array, lead: tuple[int, ...], count: int) -> Array:
        """``(*lead, count or 1)``, with an axis of the sets or not, as ``(*lead, count sets)``."""
        whole = array if array.ndim > len(lead) + 1 else array[..., None]
        return self.xp.reshape(self.xp.broadcast_to(whole, (*lead, count, self.sets)), (*lead, count * self.sets))

    def _nothing(self, segment: Segment, count: int) -> Array:
        """Natural parameters that say nothing of the variables at a port."""
        return self.backend.zeros((*self.state.pools[segment.pool].pool.type.param_shape, count, *self.state.pools[0].batch))

    def _message_of(self, name: str) -> Array:
        """What factors of one variable say; approximate ones what they said last."""
        bound, (segment, edges) = self.state.potentials[name].bound, self._slots(name)[0]
        if name in self.contraction.sites:
            pool = self.state.pools[segment.pool]
            return self._flat(
                self.backend.take(pool.messages, edges, pool.pool.axis), bound.types[0].param_shape, segment.count
            )
        nothing = self._nothing(segment, segment.count)
        (message,) = bound.messages([nothing], self._parameters_of(name), [0], self.semiring)
        return self._flat(message, bound.types[0].param_shape, segment.count)

    def _from_hung(self, name: str) -> Array:
        """What factors say to their one variable in the rounds."""
        slots, slot = self._slots(name), self.contraction.hung[name]
        heard = [
            self._nothing(segment, segment.count) if number == slot else self._heard(segment, self._places_of(segment, edges))
            for number, (segment, edges) in enumerate(slots)
        ]
        (message,) = self.state.potentials[name].bound.messages(heard, self._parameters_of(name), [slot], self.semiring)
        return self._flat(message, self.kind.param_shape, slots[slot][0].count)

    def _to_hung(self, name: str) -> list[tuple[Segment, Array]]:
        """Messages of such factors to all their variables, after all rounds."""
        slots, slot = self._slots(name), self.contraction.hung[name]
        heard = [
            self._params(self.known.weights(self._places_of(segment, edges), self.from_hung[name]), segment)
            if number == slot
            else self._heard(segment, self._places_of(segment, edges))
            for number, (segment, edges) in enumerate(slots)
        ]
        bound = self.state.potentials[name].bound
        found = bound.messages(heard, self._parameters_of(name), range(len(slots)), self.semiring)
        return [(segment, message) for (segment, _), message in zip(slots, found, strict=True)]

    def _relations(
        self, name: str, heard: list[Array], core: tuple[int, int] = (0, 1), index: Index | None = None, count: int = -1
    ) -> Array:
        """Factors of a group, or some of them, as relations of two of their variables."""
        factor, parameters = self.state.potentials[name].bound.factor, self._parameters_of(name, index)
        found = factor.relation(heard, parameters, core, self.semiring)
        return self._flat(found, self.relations.shape, self.state.layout.groups[name].count if count < 0 else count)

    def _seen(self, name: str) -> list[Array]:
        """What pairs take their relations from: nothing, or for approximate ones all that is known at present."""
        if name not in self.contraction.tangents:
            return [self._nothing(segment, 1) for segment in self.state.layout.groups[name].segments]
        calls = self.contraction.calls
        if name not in calls:
            calls[name] = edge_call(Step(name, ()), self.state.layout, self.backend)
        return incoming(calls[name], self.state)

    def _narrowed(self, step: Narrow) -> Array:
        heard = [
            self._nothing(segment, 1) if slot in step.core else self._heard(segment, self._places_at(segment, nodes))
            for slot, (segment, nodes) in enumerate(zip(self._slots_of(step), step.nodes, strict=True))
        ]
        return self._relations(step.group, heard, step.core, self._index(step), step.factors.size)

    def _places_at(self, segment: Segment, nodes: np.ndarray) -> Index:
        start, base = int(self.contraction.starts[segment.pool]), self.known_of[segment.pool][1]
        return self._device(nodes) if start == base else self._place(nodes - start + base)

    def _heard(self, segment: Segment, places: Index) -> Array:
        return self._params(self.known_of[segment.pool][0].weights(places), segment)

    def _tell(self, segment: Segment, places: Index, message: Array) -> None:
        shape = self.state.pools[segment.pool].pool.type.param_shape
        self.known_of[segment.pool][0].add(places, self.xp.reshape(message, (*shape, -1)))

    def _params(self, weights: Array, segment: Segment) -> Array:
        shape = self.state.pools[segment.pool].pool.type.param_shape
        return self.xp.reshape(weights, (*shape, weights.shape[-1] // self.sets, *self.state.pools[0].batch))

    def _add(self, places: Index, message: Array) -> None:
        self.known.add(places, message)

    def _weights(self, places: Index, without: Array | None = None) -> Array:
        return self.known.weights(places, without)

    def _plus(self, one: Array, other: Array) -> Array:
        if not self.known.may_be_certain:
            return one + other
        (finite, infinite), (more, counts) = self.kind.split(one, self.backend), self.kind.split(other, self.backend)
        return self.kind.join(finite + more, infinite + counts, self.backend)

    def _turned(self, tables: Array) -> Array:
        return self.relations.turned(tables)

    def _through(self, tables: Array, weights: Array) -> Array:
        return self.relations.through(tables, weights)

    def _told(self, edges: Edges, weights: Array) -> Array:
        selection = self._selection(edges)
        tables = self.backend.take(self.tables, selection.places, self.table_axis)
        if not selection.some_turned:
            return self.relations.through(tables, weights)
        back = self.relations.back(tables, weights)
        if selection.mask is None:
            return back
        mask = self.xp.reshape(selection.mask, (*(1,) * self.axis, -1))
        return self.xp.where(mask, back, self.relations.through(tables, weights))

    def _product(self, left: Array, weights: Array, right: Array) -> Array:
        return self.relations.product(left, weights, right)

    def _send(self, messages: list[tuple[Segment, Array]]) -> None:
        """Write the messages of all edges of some ports."""
        for segment, message in messages:
            pool, edges = self.state.pools[segment.pool], segment.width * segment.count
            flat = self.xp.reshape(message, (*pool.pool.type.param_shape, edges, *pool.batch))
            self._write(pool, slice(segment.first, segment.first + edges), flat)

    def write(self) -> bool:
        state, first = self.state, 0
        messages: list[tuple[Segment, Array]] = []
        for name in self.contraction.pairs:
            group = state.layout.groups[name]
            if name not in self.contraction.wide:
                sent = [(segment, self._sent(end, first, group.count)) for end, segment in enumerate(group.segments)]
                messages += [(segment, self._params(message, segment)) for segment, message in sent]
            first += group.count
        for name in (name for name in self.contraction.singles if name not in self.contraction.sites):
            (segment,) = state.layout.groups[name].segments
            messages.append((segment, self._params(self._message_of(name), segment)))
        for name in self.contraction.hung:
            messages += self._to_hung(name)
        if self._any_nan([message for _, message in messages] + [message for *_, message in self.narrow]):
            return False
        self._send(messages)
        self._send_narrow()
        for pool in state.pools:
            pool.refresh()
        state.iteration += 1
        return True
