"""The arrays of one pool of variables: evidence, messages, beliefs."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from factorgraph.backends import Array, Backend
from factorgraph.inference.layout.pools import Pool
from factorgraph.inference.layout.program import Read, Refresh
from factorgraph.inference.state.observed import Observed

# All arrays that change, and all else that does: copies, batches and files go by these.
ARRAYS = (
    "_prior", "messages", "total", "infinite", "mean", "mean_variance",
    "change", "reinforced", "centre", "candidates", "residual", "remote", "remote_infinite",
)  # fmt: skip
EVIDENCE = ("mask", "certain")  # made from observed values
FLAGS = ("_power", "prior_is_finite", "hard", "may_grow", "stale", "_to_reinforce", "_base_in_belief")


class PoolState(Observed):
    """
    The arrays of one pool. In a batch all have one more axis, of length B, after those named here.

    Attributes
    ----------
    prior : (*param_shape, V) natural parameters
    messages : (*param_shape, E + 1) messages from edgewise factors; the last entry is zero
    totals : messages from block factors, by (block, port), each ``(*param_shape, V)``
    total : (*param_shape, V) beliefs; where ``infinite`` is set, their finite part
    infinite : counts of infinite terms, kept apart only in hard pools
    mean : mean parameters that block factors are handed
    version : counts the changes of the belief
    remote, remote_infinite : what factors of other ranks say, as ``total`` and ``infinite``; None for nothing
    candidates, residual : the next value of each message, as ``messages``, and how far that is, ``(E + 1,)``; only where
        updates are chosen by priority
    """

    def __init__(self, pool: Pool, backend: Backend, batch: int | None = None) -> None:
        self.pool = pool
        self.backend = backend
        shape = pool.type.param_shape
        self.batch = () if batch is None else (batch,)
        self._prior = backend.zeros((*shape, pool.size, *self.batch))
        self._power: float | None = None  # the prior is to be the belief raised to this power, once it is asked for
        self.prior_is_finite = True  # where it is, and no message is infinite, no evidence can be impossible
        self.messages = backend.zeros((*shape, pool.num_edges + 1, *self.batch))
        self.totals: dict[tuple[str, int], Array] = {}
        self.total = backend.zeros((*shape, pool.size, *self.batch))
        self.infinite: Array | None = None
        self.hard = False
        self.may_grow = False  # on loops of hard factors messages may grow without end, where none is infinite
        self.mean: Array | None = None
        self.mean_variance: Array | None = None  # where it came with the mean
        self.mean_version = -1
        self.version = 0
        self.change: Array | None = None
        self.reinforced: Array | None = None
        self.centre: Array | None = None  # message from the centre of replicas, beside the prior
        self._to_reinforce = False  # the prior is to be reinforced by the belief, once it is asked for
        self._base_in_belief = False  # prior and reinforcement are known by the belief alone
        self.remote: Array | None = None
        self.remote_infinite: Array | None = None
        self.candidates: Array | None = None
        self.residual: Array | None = None
        self.observed = np.zeros((pool.size, *self.batch), dtype=np.bool_)
        # Of vectors, a component of which nothing is known is NaN.
        unknown: Any = np.nan if pool.type.value_shape else 0
        self.values = np.full((*pool.type.value_shape, pool.size, *self.batch), unknown)
        self.mask: Array | None = None  # on the device; None where nothing is observed
        self.certain: Array | None = None  # natural parameters of the observed values
        self.stale = True
        self.slots = [(rows, backend.index_array(slots)) for rows, slots in pool.rows]
        # The variable of each edge, in a tuple, for types whose messages are measured by beliefs: see `changes`.
        self.edge_places: tuple[Array, ...] = (backend.index_array(pool.edge_place),) if pool.type.has_scale else ()
        self.reinforcement = self._strengths(pool.reinforcement)
        # How far a message goes towards its update: one for all, one for each set of a batch, or one for each edge.
        strength = pool.damping.strength
        self.step_by_edge = np.ndim(strength) > 0
        self.step: float | Array = 1.0
        if self.step_by_edge:
            self.step = self._strengths(np.append(1.0 - np.asarray(strength)[pool.edge_place], 0.0))
        else:
            self.set_damping(strength)

    def set_damping(self, strength: Any) -> None:
        """Damp from now on with one strength, or with one for each set of a batch."""
        self.step = 1.0 - float(strength) if np.ndim(strength) == 0 else self.backend.asarray(1.0 - strength)

    def _strengths(self, strength: Any) -> Any:
        """A number, or one for each variable or edge, on the device."""
        if np.ndim(strength) == 0:
            return strength
        device = self.backend.asarray(strength)
        return self.backend.xp.expand_dims(device, axis=-1) if self.batch else device

    def select(self, sets: np.ndarray) -> PoolState:
        """The arrays of some sets of a batch, copied."""
        _ = self.prior  # as an array
        twin = copy.copy(self)
        twin.batch = (sets.size,)
        index = self.backend.index_array(sets)
        for name in (*ARRAYS, "certain"):
            array = getattr(self, name)
            if array is not None:
                setattr(twin, name, self.backend.take(array, index, array.ndim - 1))
        twin.observed, twin.values = self.observed[:, sets], self.values[..., sets]
        if self.mask is not None:
            twin.mask = self.backend.take(self.mask, index, 1)
        return twin

    def take_back(self, sets: np.ndarray, other: PoolState) -> None:
        """Put the arrays of some sets of a batch in place, from what `select` gave."""
        index = self.backend.index_array(sets)
        if other.hard and not self.hard:
            self.hard, self.infinite = True, None
        _ = self.prior, other.prior  # as arrays
        for name in ARRAYS:
            theirs = getattr(other, name)
            if theirs is None:
                continue
            mine = getattr(self, name)
            if mine is None:
                mine = self.backend.zeros((*theirs.shape[:-1], *self.batch))
                setattr(self, name, mine)
            self.backend.put(mine, index, theirs, mine.ndim - 1)
        self.version += 1

    def copy(self) -> PoolState:
        """An independent copy."""
        twin = copy.copy(self)
        for name in (*ARRAYS, *EVIDENCE):
            array = getattr(self, name)
            if array is not None:
                setattr(twin, name, self.backend.xp.asarray(array, copy=True))
        twin.totals = {key: self.backend.xp.asarray(array, copy=True) for key, array in self.totals.items()}
        twin.observed = self.observed.copy()
        twin.values = self.kept_values()
        return twin

    # Evidence.

    def upload_evidence(self) -> None:
        """Bring the host's evidence to the device, as natural parameters of certainty."""
        if self.all_observed and self.pool.is_plate:
            mean = self.pool.type.certain_mean(self.values)
            self.mean = self.backend.asarray(mean.reshape(*mean.shape[:-1], *self.pool.blocks[0].shape))
            self.mean_variance = None
            self.version += 1
        if not self.any_observed or not self.pool.type.can_be_random:
            self.mask = self.certain = None
            return
        values = self.possible_values
        self.mask = self.backend.settle(self.mask, self.backend.mask_array(self.fixed))
        self.certain = self.backend.settle(self.certain, self.backend.asarray(self.pool.type.observe(values)))

    def fix(self, positions: np.ndarray) -> None:
        """Observe variables at the best state of their beliefs as their messages make them now."""
        kind, backend, axis = self.pool.type, self.backend, self.pool.axis
        if self.mask is None or self.certain is None:
            self.mask = backend.mask_array(np.zeros(self.observed.shape, dtype=np.bool_))
            self.certain = backend.zeros(self.total.shape)
        groups = [(backend.index_array(p), backend.index_array(s)) for p, s in self.pool.slots(positions)]
        self.refresh(Refresh(-1, groups))
        device = backend.index_array(positions)
        values = backend.to_host(kind.mode(backend.take(self.belief, device, axis), backend))
        self.values = self.values.astype(np.result_type(self.values, values), copy=False)
        place: tuple[Any, ...] = (..., positions, *(slice(None) for _ in self.batch))
        self.values[place] = values
        self.mark_observed(positions, True)
        backend.put(self.certain, device, backend.asarray(kind.observe(values)), axis)
        backend.put(self.mask, device, backend.mask_array(np.ones((positions.size, *self.batch), dtype=np.bool_)), 0)
        self.refresh(Refresh(-1, groups))

    # Priors.

    @property
    def prior(self) -> Array:
        """Natural parameters of the priors, ``(*param_shape, V)``."""
        if self._power is not None:
            with np.errstate(over="ignore"):
                self._prior, self._power = self._power * self.belief, None
        return self._prior

    @prior.setter
    def prior(self, prior: Array) -> None:
        self._prior, self._power = prior, None

    def take_posterior(self, strength: float, positions: np.ndarray | None) -> None:
        """
        Belief, raised to a power, as the prior of some variables or all; messages are forgotten, the belief stays.

        What a centre of replicas said is no evidence, and leaves the belief.
        """
        if self.stale:
            self.refresh()
        self.prior_is_finite &= not (self.hard or self.any_observed)
        if positions is None:
            if self.centre is not None:
                self.total, self.centre = self.total - self.centre, None
            self._power = strength
            self.forget_totals()
            if self.pool.num_edges:
                self.messages[...] = 0.0
            return
        index, axis = self.backend.index_array(positions), self.pool.axis
        if self.centre is not None:
            total = self.backend.take(self.total, index, axis) - self.backend.take(self.centre, index, axis)
            self.backend.put(self.total, index, total, axis)
            self.backend.put(self.centre, index, self.backend.xp.zeros_like(total), axis)
        self.backend.put(self.prior, index, strength * self.backend.take(self.belief, index, axis), axis)
        edges = np.flatnonzero(np.isin(self.pool.edge_place, positions))
        if edges.size:
            zeros = self.backend.zeros((*self.pool.type.param_shape, edges.size, *self.batch))
            self.backend.put(self.messages, self.backend.index_array(edges), zeros, axis)

    def reinforce(self) -> None:
        """Add the belief of now to the prior of the iteration to come: prior + r * belief."""
        strength = self.pool.reinforcement
        self._to_reinforce = strength != 0 if isinstance(strength, float) else bool(np.any(strength))

    @property
    def base(self) -> Array:
        """Prior, with reinforcement where there is any."""
        if self._to_reinforce:
            self.reinforced = self.prior + self.reinforcement * self.belief
            self._to_reinforce = self._base_in_belief = False
        if self._base_in_belief:
            return self.total - sum(self.totals.values())
        base = self.prior if self.reinforced is None else self.reinforced
        return base if self.centre is None else base + self.centre

    def focus(self, positions: np.ndarray | None, replicas: int, strength: float) -> None:
        """Hear of the other replicas of some variables, or of all, from the next message on: see `Inference.focus`."""
        own = self.evidence
        if positions is None:
            self.centre = self.pool.type.from_centre(own, replicas, strength, self.backend)
            return
        index, axis = self.backend.index_array(positions), self.pool.axis
        said = self.pool.type.from_centre(self.backend.take(own, index, axis), replicas, strength, self.backend)
        if self.centre is None:
            self.centre = self.backend.zeros(own.shape)
        self.backend.put(self.centre, index, said, axis)

    def forget_reinforcement(self) -> None:
        """Begin with the prior alone."""
        self.reinforced, self._to_reinforce, self._base_in_belief = None, False, False

    # Beliefs.

    @property
    def belief(self) -> Array:
        """Natural parameters of all beliefs, infinite ones joined in."""
        if self.infinite is None:
            return self.total
        return self.pool.type.join(self.total, self.infinite, self.backend)

    @property
    def evidence(self) -> Array:
        """`belief`, up to date, without what a centre of replicas said, which is no evidence."""
        if self.stale:
            self.refresh()
        return self.belief if self.centre is None else self.belief - self.centre

    @property
    def has_certainty(self) -> bool:
        """Whether something is certain beforehand: evidence, or an infinite prior."""
        return self.pool.type.can_be_random and (self.any_observed or not self.prior_is_finite)

    def harden(self) -> None:
        """Count infinite terms apart from now on."""
        if not self.hard:
            self.hard, self.stale = True, True

    def reset(self) -> None:
        """Forget all messages."""
        if self.pool.num_edges:
            self.messages[...] = 0.0
        self.forget_totals()
        self.candidates = self.centre = None
        self.hard, self.stale = False, True

    def forget_totals(self) -> None:
        """Forget what block factors and other ranks have said."""
        self.totals.clear()
        self.remote = self.remote_infinite = None

    def refresh(self, which: Refresh | None = None) -> None:
        """Sum beliefs anew: all of them, or the positions that ``which`` names."""
        axis = self.pool.axis
        if which is None or which.groups is None:
            total, self.infinite = self.unclamped()
            if self.mask is not None:
                total, self.infinite = self._clamped(total, self.infinite, self.mask, self.certain)
            self.total = total if self.pool.is_plate else self.backend.settle(self.total, total)
        else:
            for positions, slots in which.groups:
                base = self.backend.take(self.base, positions, axis)
                total, infinite = self._with_remote(*self.summed(slots, base), positions)
                if self.mask is not None:
                    mask = self.backend.take(self.mask, positions, 0)
                    certain = self.backend.take(self.certain, positions, axis)
                    total, infinite = self._clamped(total, infinite, mask, certain)
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
                total = self.backend.add(self.base if total is None else total, message, total)
            return (xp.asarray(self.base, copy=True) if total is None else total), None
        parts = [self.summed(slots, self.backend.take(self.base, rows, axis)) for rows, slots in self.slots]
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

    def _clamped(self, total: Array, infinite: Array | None, mask: Array, certain: Array) -> tuple[Array, Array | None]:
        return self.pool.type.clamped(total, infinite, mask, certain, self.backend)

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

    def write(self, edges: Any, outgoing: Array, undamped: bool) -> Array:
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
        if self.mask is None:
            return change
        mask = self.backend.take(self.mask, places, 0)
        return self.backend.xp.where(mask, self.backend.xp.zeros_like(change), change)
