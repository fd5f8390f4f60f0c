"""The arrays of one pool of variables: evidence, messages, beliefs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from factorgraph.backends import Array, Index
from factorgraph.inference.layout.pools import Pool
from factorgraph.inference.layout.program import Read, Refresh
from factorgraph.inference.state.evidence import Evidence
from factorgraph.inference.state.record import ARRAY, FLAG, Record
from factorgraph.inference.state.terms import Base, Terms


@dataclass(eq=False, repr=False)
class PoolState(Record):
    """
    The arrays of one pool. In a batch all have one more axis, of length B, after those named here.

    A belief is its base (`terms`) and all messages to it, or what evidence says. Verbs that change one of these leave the
    belief as it is, and note in ``stale`` that `refresh` is to sum it anew; `State.prepare` does so before an iteration.
    Properties change nothing.

    Attributes
    ----------
    pool : what of it never changes
    terms : prior, reinforcement and a centre of replicas
    evidence : what is observed
    messages : (*param_shape, E + 1) messages from edgewise factors; the last entry is zero
    totals : messages from block factors, by (block, port), each ``(*param_shape, V)``
    remote, remote_infinite : what factors of other ranks say, as ``total`` and ``infinite``; None for nothing
    total : (*param_shape, V) beliefs; where ``infinite`` is set, their finite part
    infinite : counts of infinite terms, kept apart only in hard pools
    version : counts the changes of the belief
    mean, mean_variance : mean parameters that block factors are handed, and their variance where it came with them
    mean_version : the version of the belief that they are of
    candidates, residual : the next value of each message, as ``messages``, and how far that is, ``(E + 1,)``; only where
        updates are chosen by priority
    change : how far each message went at the last check, ``(E + 1,)``
    hard : whether messages may be infinite, so that infinite terms are counted apart
    may_grow : whether messages may grow without end, where none is infinite, as on loops of hard factors
    stale : whether the belief is to be summed anew
    step : how far a message goes towards its update: one for all, one for each set of a batch, or one for each edge

    Notes
    -----
    Held by `check`: shapes are those above; the last message is zero; only hard pools that are up to date count infinite
    terms; candidates have a residual.
    """

    pool: Pool
    terms: Terms = field(init=False)
    evidence: Evidence = field(init=False)
    totals: dict[tuple[str, int], Array] = field(default_factory=dict, init=False)
    messages: Array = field(default=None, init=False, metadata=ARRAY)
    remote: Array | None = field(default=None, init=False, metadata=ARRAY)
    remote_infinite: Array | None = field(default=None, init=False, metadata=ARRAY)
    total: Array = field(default=None, init=False, metadata=ARRAY)
    infinite: Array | None = field(default=None, init=False, metadata=ARRAY)
    version: int = field(default=0, init=False)
    mean: Array | None = field(default=None, init=False, metadata=ARRAY)
    mean_variance: Array | None = field(default=None, init=False, metadata=ARRAY)
    mean_version: int = field(default=-1, init=False)
    candidates: Array | None = field(default=None, init=False, metadata=ARRAY)
    residual: Array | None = field(default=None, init=False, metadata=ARRAY)
    change: Array | None = field(default=None, init=False, metadata=ARRAY)
    hard: bool = field(default=False, init=False, metadata=FLAG)
    may_grow: bool = field(default=False, init=False, metadata=FLAG)
    stale: bool = field(default=True, init=False, metadata=FLAG)

    def __post_init__(self) -> None:
        pool, backend, shape = self.pool, self.backend, self.pool.type.param_shape
        reinforces = bool(np.any(pool.reinforcement))
        self.terms = Terms(backend, self.batch, self._strengths(pool.reinforcement), reinforces)
        self.terms.put(backend.zeros((*shape, pool.size, *self.batch)))
        self.evidence = Evidence(backend, self.batch, pool)
        self.messages = backend.zeros((*shape, pool.num_edges + 1, *self.batch))
        self.total = backend.zeros((*shape, pool.size, *self.batch))
        self.slots = [(rows, backend.index_array(slots)) for rows, slots in pool.rows]
        # The variable of each edge, in a tuple, for types whose messages are measured by beliefs: see `changes`.
        self.edge_places: tuple[Array, ...] = (backend.index_array(pool.edge_place),) if pool.type.has_scale else ()
        strength = pool.damping.strength
        self.step_by_edge = np.ndim(strength) > 0
        self.step: float | Array = 1.0
        if self.step_by_edge:
            self.step = self._strengths(np.append(1.0 - np.asarray(strength)[pool.edge_place], 0.0))
        else:
            self.set_damping(strength)

    def set_damping(self, strength: float | np.ndarray) -> None:
        """Damp from now on with one strength, or with one for each set of a batch."""
        self.step = 1.0 - float(strength) if np.ndim(strength) == 0 else self.backend.asarray(1.0 - strength)

    def _strengths(self, strength: float | np.ndarray) -> float | Array:
        """A number, or one for each variable or edge, on the device."""
        if np.ndim(strength) == 0:
            return strength
        device = self.backend.asarray(strength)
        return self.backend.xp.expand_dims(device, axis=-1) if self.batch else device

    def check(self) -> None:
        """Refuse what contradicts the descriptions of the classes of this pool's state: for tests."""
        self.terms.check()
        self.evidence.check()
        shape, batch = self.pool.type.param_shape, self.batch
        assert self.terms.prior.shape == self.total.shape == (*shape, self.pool.size, *batch)
        assert self.messages.shape == (*shape, self.pool.num_edges + 1, *batch)
        last = self.backend.take(self.messages, slice(self.pool.num_edges, None), self.pool.axis)
        assert not self.backend.to_host(last).any()
        assert all(total.shape == self.total.shape for total in self.totals.values())
        assert self.infinite is None or self.hard or self.stale
        assert self.candidates is None or (self.candidates.shape == self.messages.shape and self.residual is not None)

    def select(self, sets: np.ndarray) -> Self:
        """The arrays of some sets of a batch, copied."""
        self.settle_prior()
        return super().select(sets)

    def take_back(self, sets: np.ndarray, other: Self) -> None:
        """Put the arrays of some sets of a batch in place, from what `select` gave; evidence is left alone."""
        if other.hard and not self.hard:
            self.hard, self.infinite = True, None
        self.settle_prior()
        other.settle_prior()
        super().take_back(sets, other)
        self.version += 1

    def copy(self) -> Self:
        """An independent copy."""
        twin = super().copy()
        twin.totals = {key: self.backend.xp.asarray(total, copy=True) for key, total in self.totals.items()}
        return twin

    # Evidence.

    def upload_evidence(self) -> None:
        """Bring the host's evidence to the device; the belief is to be summed anew."""
        self.evidence.upload()
        self.stale = True

    def fix(self, positions: np.ndarray) -> None:
        """Observe variables at the best state of their beliefs as their messages make them now."""
        kind, backend, axis = self.pool.type, self.backend, self.pool.axis
        self.evidence.make_room()
        groups = [(backend.index_array(p), backend.index_array(s)) for p, s in self.pool.slots(positions)]
        self.refresh(Refresh(-1, groups))
        device = backend.index_array(positions)
        values = backend.to_host(kind.mode(backend.take(self.belief, device, axis), backend))
        self.evidence.put(positions, values, device)
        self.refresh(Refresh(-1, groups))

    # Priors.

    def settle_prior(self) -> Array:
        """The prior, ``(*param_shape, V)``; worked out now, where it is to follow from the belief."""
        if self.terms.power is not None:
            self.terms.settle_prior(self.belief)
        return self.terms.prior

    def settle_base(self) -> Array:
        """What beliefs are without messages, ``(*param_shape, V)``; worked out now, where it is to follow from the belief."""
        terms = self.terms
        if terms.base is Base.TO_COME:
            self.settle_prior()
            terms.settle_reinforcement(self.belief)
        if terms.base is Base.IN_BELIEF:
            return self.total - sum(self.totals.values())
        return terms.with_centre(self.settle_prior() if terms.reinforced is None else terms.reinforced)

    def take_posterior(self, strength: float, positions: np.ndarray | None) -> None:
        """
        Belief, raised to a power, as the prior of some variables or all; messages are forgotten, the belief stays.

        What a centre of replicas said is no evidence, and leaves the belief.
        """
        self.bring_up_to_date()
        terms = self.terms
        terms.prior_is_finite &= not (self.hard or self.evidence.any_observed)
        if positions is None:
            self.total, terms.centre = terms.without_centre(self.total), None
            terms.raise_belief(strength)
            self.forget_totals()
            if self.pool.num_edges:
                self.messages[...] = 0.0
            return
        index, axis = self.backend.index_array(positions), self.pool.axis
        if terms.centre is not None:
            total = self.backend.take(self.total, index, axis) - self.backend.take(terms.centre, index, axis)
            self.backend.put(self.total, index, total, axis)
            self.backend.put(terms.centre, index, self.backend.xp.zeros_like(total), axis)
        self.backend.put(self.settle_prior(), index, strength * self.backend.take(self.belief, index, axis), axis)
        edges = np.flatnonzero(np.isin(self.pool.edge_place, positions))
        if edges.size:
            zeros = self.backend.zeros((*self.pool.type.param_shape, edges.size, *self.batch))
            self.backend.put(self.messages, self.backend.index_array(edges), zeros, axis)

    def focus(self, positions: np.ndarray | None, replicas: int, strength: float) -> None:
        """Hear of the other replicas of some variables, or of all, from the next message on: see `Inference.focus`."""
        self.bring_up_to_date()
        terms, own = self.terms, self.own_belief
        if positions is None:
            terms.centre = self.pool.type.from_centre(own, replicas, strength, self.backend)
            return
        index, axis = self.backend.index_array(positions), self.pool.axis
        said = self.pool.type.from_centre(self.backend.take(own, index, axis), replicas, strength, self.backend)
        if terms.centre is None:
            terms.centre = self.backend.zeros(own.shape)
        self.backend.put(terms.centre, index, said, axis)

    # Beliefs.

    @property
    def belief(self) -> Array:
        """Natural parameters of all beliefs, infinite ones joined in."""
        if self.infinite is None:
            return self.total
        return self.pool.type.join(self.total, self.infinite, self.backend)

    @property
    def own_belief(self) -> Array:
        """`belief` without what a centre of replicas said, which is no evidence."""
        return self.terms.without_centre(self.belief)

    @property
    def has_certainty(self) -> bool:
        """Whether something is certain beforehand: evidence, or an infinite prior."""
        return self.pool.type.can_be_random and (self.evidence.any_observed or not self.terms.prior_is_finite)

    def harden(self) -> None:
        """Count infinite terms apart from now on."""
        if not self.hard:
            self.hard, self.stale = True, True

    def reset(self) -> None:
        """Forget all messages."""
        if self.pool.num_edges:
            self.messages[...] = 0.0
        self.forget_totals()
        self.candidates = self.terms.centre = None
        self.hard, self.stale = False, True

    def forget_totals(self) -> None:
        """Forget what block factors and other ranks have said."""
        self.totals.clear()
        self.remote = self.remote_infinite = None

    def bring_up_to_date(self) -> None:
        """Sum beliefs anew, if something that they follow from has changed."""
        if self.stale:
            self.refresh()

    def refresh(self, which: Refresh | None = None) -> None:
        """Sum beliefs anew: all of them, or the positions that ``which`` names."""
        axis = self.pool.axis
        if which is None or which.groups is None:
            total, self.infinite = self.evidence.clamped(*self.unclamped())
            self.total = total if self.pool.is_plate else self.backend.settle(self.total, total)
        else:
            for positions, slots in which.groups:
                base = self.backend.take(self.settle_base(), positions, axis)
                total, infinite = self._with_remote(*self.summed(slots, base), positions)
                total, infinite = self.evidence.clamped_at(positions, total, infinite)
                self.backend.put(self.total, positions, total, axis)
                if infinite is not None:
                    self.backend.put(self.infinite, positions, infinite, axis + 1)
        self.version += 1
        self.stale = False

    def unclamped(self) -> tuple[Array, Array | None]:
        """Finite part and infinite counts of the beliefs as if nothing were observed: prior and all messages."""
        xp, axis = self.backend.xp, self.pool.axis
        if self.pool.num_edges == 0 and not self.hard and self.remote is None:
            total = None
            for message in self.totals.values():
                total = self.backend.apply("add", self.settle_base() if total is None else total, message, out=total)
            return (xp.asarray(self.settle_base(), copy=True) if total is None else total), None
        parts = [self.summed(slots, self.backend.take(self.settle_base(), rows, axis)) for rows, slots in self.slots]
        total = parts[0][0] if len(parts) == 1 else xp.concat([part[0] for part in parts], axis=axis)
        infinite = None
        if self.hard:
            counts = [part[1] for part in parts]
            infinite = counts[0] if len(parts) == 1 else xp.concat(counts, axis=axis + 1)
        for message in self.totals.values():
            total = total + message
        return self._with_remote(total, infinite, None)

    def summed(self, slots: Array, base: Array) -> tuple[Array, Array | None]:
        """Finite part and infinite counts of sums of messages and a base, ``(*param_shape, n)``."""
        kind, backend, axis = self.pool.type, self.backend, self.pool.axis
        if not self.hard:
            return backend.sum_slots(self.messages, slots, axis) + base, None
        finite, infinite = kind.split(backend.gather_slots(self.messages, slots, axis), backend)
        base_finite, base_infinite = kind.split(base, backend)
        return (
            backend.xp.sum(finite, axis=axis) + base_finite,
            backend.xp.sum(infinite, axis=axis + 1) + base_infinite,
        )

    def _with_remote(self, total: Array, infinite: Array | None, positions: Array | None) -> tuple[Array, Array | None]:
        """Sums of some beliefs, or of all, and what other ranks say of them."""
        for number, remote in enumerate((self.remote, self.remote_infinite)):
            if remote is None:
                continue
            part = remote if positions is None else self.backend.take(remote, positions, self.pool.axis + number)
            if number == 0:
                total = total + part
            else:
                infinite = part if infinite is None else infinite + part
        return total, infinite

    # Messages.

    def cavities(self, read: Read) -> Array:
        """Beliefs less the own message of each edge that is read."""
        finite, infinite = self.cavity_parts(read)
        return finite if infinite is None else self.pool.type.join(finite, infinite, self.backend)

    def cavity_parts(self, read: Read) -> tuple[Array, Array | None]:
        """`cavities`, infinite terms apart."""
        backend, axis = self.backend, self.pool.axis
        if self.infinite is None:
            return backend.gather_subtract(self.total, read.places, self.messages, read.edges, axis), None
        finite, infinite = self.pool.type.split(backend.take(self.messages, read.edges, axis), backend)
        return (
            backend.take(self.total, read.places, axis) - finite,
            backend.take(self.infinite, read.places, axis + 1) - infinite,
        )

    def write(self, edges: Index, outgoing: Array, undamped: bool) -> Array:
        """Take in new messages, normalised and damped; return how far each went."""
        kind, backend, axis = self.pool.type, self.backend, self.pool.axis
        outgoing = self.prepared(outgoing)
        step: float | Array = 1.0 if undamped else self.step
        if self.step_by_edge and not undamped:
            step = backend.take(step, edges, 0)
        if self.pool.damping.parameters == "mean" and not (isinstance(step, float) and step == 1.0):
            if not kind.proper_messages:
                raise ValueError(
                    f"messages to {kind!r} have no mean parameters where they are flat: damp in natural parameters"
                )
            old = kind.mean(backend.take(self.messages, edges, axis), backend)
            outgoing = kind.from_mean(old + step * (kind.mean(outgoing, backend) - old), backend)
            outgoing, step = kind.normalize(outgoing, backend), 1.0
        relax = backend.relax_infinite if self.hard else backend.relax
        return relax(self.messages, edges, outgoing, step, axis)

    def prepared(self, outgoing: Array) -> Array:
        """New messages normalised, and held where they may grow without end, unless the run notices that by itself."""
        outgoing = self.pool.type.normalize(outgoing, self.backend)
        grows = (self.may_grow or self.hard) and not self.pool.type.can_diverge
        return self.backend.hold(outgoing) if grows else outgoing

    def unless_observed(self, change: Array, places: Array) -> Array:
        """Changes of beliefs, none where the variable is observed."""
        if self.evidence.mask is None:
            return change
        mask = self.backend.take(self.evidence.mask, places, 0)
        return self.backend.xp.where(mask, self.backend.xp.zeros_like(change), change)
