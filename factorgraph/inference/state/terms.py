"""What is said of variables beside messages: the prior, its reinforcement, and a centre of replicas."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from factorgraph.backends import Array
from factorgraph.inference.state.record import ARRAY, FLAG, Record


class Base(StrEnum):
    """How the sum of prior and reinforcement is known, on which messages are added."""

    KNOWN = "known"
    """As it stands: the reinforced prior where there is one, else the prior."""

    TO_COME = "to come"
    """The prior is still to be reinforced by the belief as it is now."""

    IN_BELIEF = "in the belief"
    """Only as the belief less all messages: a type's single pass made the belief from it, and did not write it."""


@dataclass(eq=False, repr=False)
class Terms(Record):
    """
    What is said of a pool's variables beside messages.

    The prior, and its reinforcement, may be left to follow from the belief. A variable type that makes a new belief in a
    single pass works them out on the way (`VariableType.update`, by `PlateState.update_belief`); in all other cases
    `PoolState.settle_prior` and `PoolState.settle_base` do so, when they are asked for and before the belief changes.

    Attributes
    ----------
    strength : r of the reinforcement, prior + r * belief: a number, or one for each variable, on the device
    reinforces : whether some r is above 0
    prior : (*param_shape, V) natural parameters; of no meaning while ``power`` is a number
    power : the prior is to be the belief raised to this power; None where the prior is known
    prior_is_finite : False where some prior may be infinite; where none is, and no message, no evidence can be impossible
    base : how the sum of prior and reinforcement is known
    reinforced : the prior with reinforcement, once that was worked out
    centre : message from the centre of replicas, beside the prior

    Notes
    -----
    Held by `check`: arrays are of one shape. What only the belief knows (`Base.IN_BELIEF`) is not kept as ``reinforced`` too.
    Without reinforcement the base is known.
    """

    strength: float | Array
    reinforces: bool
    prior: Array = field(default=None, init=False, metadata=ARRAY)
    reinforced: Array | None = field(default=None, init=False, metadata=ARRAY)
    centre: Array | None = field(default=None, init=False, metadata=ARRAY)
    power: float | None = field(default=None, init=False, metadata=FLAG)
    prior_is_finite: bool = field(default=True, init=False, metadata=FLAG)
    base: Base = field(default=Base.KNOWN, init=False, metadata=FLAG)

    def put(self, prior: Array) -> None:
        """A prior that is known, in place of the one before."""
        self.prior, self.power = prior, None

    def raise_belief(self, power: float) -> None:
        """The prior is to be the belief as it is now, raised to a power."""
        self.power = power

    def settle_prior(self, belief: Array) -> None:
        """Work out the prior that is to follow from the belief."""
        assert self.power is not None
        with np.errstate(over="ignore"):
            self.put(self.power * belief)

    def reinforce(self) -> None:
        """The belief of now is to be added to the prior of the iteration to come: prior + r * belief."""
        if self.reinforces:
            self.base = Base.TO_COME

    def settle_reinforcement(self, belief: Array) -> None:
        """Work out the reinforced prior; the prior is known."""
        self.reinforced, self.base = self.prior + self.strength * belief, Base.KNOWN

    def forget_reinforcement(self) -> None:
        """Begin with the prior alone."""
        self.reinforced, self.base = None, Base.KNOWN

    def with_centre(self, base: Array) -> Array:
        """A base, and what the centre of replicas says."""
        return base if self.centre is None else base + self.centre

    def without_centre(self, belief: Array) -> Array:
        """A belief without what the centre of replicas said, which is no evidence."""
        return belief if self.centre is None else belief - self.centre

    def check(self) -> None:
        """Refuse what contradicts the class's description: for tests."""
        for held in (self.reinforced, self.centre):
            assert held is None or held.shape == self.prior.shape
        assert self.base is not Base.IN_BELIEF or self.reinforced is None
        assert self.reinforces or (self.base is Base.KNOWN and self.reinforced is None)
        if self.power is None and self.prior_is_finite:
            assert np.isfinite(self.backend.to_host(self.prior)).all()
