"""A forest of relations contracted: messages between variables of one type that has no finite set of states."""

from __future__ import annotations

from typing import Any

from factorgraph.backends import Array
from factorgraph.inference.contracting import Contracting
from factorgraph.inference.contraction import Contraction
from factorgraph.inference.layout import Segment
from factorgraph.inference.state import State
from factorgraph.semiring import Semiring


class RelationContracting(Contracting):
    """The arrays of one run, items last: ``(*param_shape, n)`` of variables, ``(*shape, tables)``."""

    def __init__(self, contraction: Contraction, state: State, semiring: Semiring) -> None:
        super().__init__(contraction, state, semiring)
        self.kind = state.pools[0].pool.type
        relations = self.kind.relations(self.backend)
        assert relations is not None
        self.relations = relations
        self.axis, self.table_axis = len(self.kind.param_shape), len(relations.shape)
        nothing = self.backend.zeros((*self.kind.param_shape, contraction.variables * self.sets))
        self.finite, self.infinite = self.kind.split(nothing, self.backend)
        self.tables = self.backend.zeros((*relations.shape, contraction.tables * self.sets))
        self.cavities = [self.backend.zeros((*self.kind.param_shape, contraction.tables * self.sets)) for _ in range(2)]
        for start, pool in zip(contraction.starts.tolist(), state.pools, strict=True):
            prior = pool.prior
            if pool.mask is not None:
                mask = self.xp.reshape(pool.mask, (*(1,) * self.axis, *pool.mask.shape))
                prior = self.xp.where(mask, pool.certain, prior)
            said = self.xp.reshape(prior, (*self.kind.param_shape, -1))
            self._add(slice(start * self.sets, (start + pool.pool.size) * self.sets), said)
        for name in contraction.singles:
            self._add(self._places_of(*self._slots(name)[0]), self._message_of(name))
        first = 0
        for name in contraction.pairs:
            count = state.layout.groups[name].count
            part = slice(first * self.sets, (first + count) * self.sets)
            self._put_tables(part, self._relations_of(name))
            first += count

    def _flat(self, array: Array, lead: tuple[int, ...], count: int) -> Array:
        """``(*lead, count or 1)``, with an axis of the sets or not, as ``(*lead, count sets)``."""
        whole = array if array.ndim > len(lead) + 1 else array[..., None]
        return self.xp.reshape(self.xp.broadcast_to(whole, (*lead, count, self.sets)), (*lead, count * self.sets))

    def _message_of(self, name: str) -> Array:
        """What factors of one variable say."""
        kernel, count = self.state.potentials[name].kernel, self.state.layout.groups[name].count
        nothing = self.backend.zeros((*self.kind.param_shape, count, *self.state.pools[0].batch))
        (message,) = kernel.messages([nothing], self._parameters_of(name), [0], self.semiring)
        return self._flat(message, self.kind.param_shape, count)

    def _relations_of(self, name: str) -> Array:
        """Factors as relations of the two variables in the rounds, what is known of the others put in."""
        group = self.state.layout.groups[name]
        core = self.contraction.wide.get(name, (0, 1))
        nothing = self.backend.zeros((*self.kind.param_shape, 1, *self.state.pools[0].batch))
        incoming = [
            nothing if port in core else self._params(self._weights(self._places_of(segment, edges)), segment)
            for port, (segment, edges) in enumerate(self._slots(name))
        ]
        factor = self.state.potentials[name].kernel.factor
        found = factor.relation(incoming, self._parameters_of(name), core, self.semiring)
        return self._flat(found, self.relations.shape, group.count)

    def _params(self, weights: Array, segment: Segment) -> Array:
        return self.xp.reshape(weights, (*self.kind.param_shape, segment.count, *self.state.pools[0].batch))

    def _add(self, places: Any, message: Array) -> None:
        for total, part in zip((self.finite, self.infinite), self.kind.split(message, self.backend), strict=True):
            if isinstance(places, slice):
                total[..., places] += part
            else:
                self.backend.add_at(total, places, part, total.ndim - 1)

    def _weights(self, places: Any, without: Array | None = None) -> Array:
        parts = [self.backend.take(total, places, total.ndim - 1) for total in (self.finite, self.infinite)]
        if without is not None:
            parts = [part - less for part, less in zip(parts, self.kind.split(without, self.backend), strict=True)]
        return self.kind.join(parts[0], parts[1], self.backend)

    def _plus(self, one: Array, other: Array) -> Array:
        (finite, infinite), (more, counts) = self.kind.split(one, self.backend), self.kind.split(other, self.backend)
        return self.kind.join(finite + more, infinite + counts, self.backend)

    def _turned(self, tables: Array) -> Array:
        return self.relations.turned(tables)

    def _through(self, tables: Array, weights: Array) -> Array:
        return self.relations.through(tables, weights)

    def _product(self, left: Array, weights: Array, right: Array) -> Array:
        return self.relations.product(left, weights, right)

    def write(self) -> bool:
        state, first = self.state, 0
        messages: list[tuple[Segment, Array]] = []
        for name in self.contraction.pairs:
            group = state.layout.groups[name]
            part = slice(first * self.sets, (first + group.count) * self.sets)
            first += group.count
            if name in self.contraction.wide:
                messages += self._wide_messages(name, part)
                continue
            tables = self.tables[..., part]
            for end, segment in enumerate(group.segments):
                message = self._through(self._turned(tables) if end else tables, self._cavities(1 - end, part))
                messages.append((segment, self._params(message, segment)))
        for name in self.contraction.singles:
            (segment,) = state.layout.groups[name].segments
            messages.append((segment, self._params(self._message_of(name), segment)))
        if self._any_nan(messages):
            return False
        self._send(messages)
        for pool in state.pools:
            pool.refresh()
        state.iteration += 1
        return True
