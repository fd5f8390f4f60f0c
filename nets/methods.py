"""Methods: how a layer takes one input, or its own messages, out of its sums (Lucibello et al. 2022, eqs. 60-118)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from factorgraph import Backend, Port
from factorgraph.backends import Array
from nets.cavities import CavityMessages, exact_totals
from nets.channels import Channel
from nets.moments import Moments, Reaction, evaluate


@dataclass(frozen=True)
class Backward:
    """
    A layer's way back: what all methods may need.

    Attributes
    ----------
    moments, channel, ports, memory : of the layer
    asked : weights (0) and inputs (1), if they are asked for
    second : those of them that take curvatures, and so fields around their means
    counts : (M,) how many times each pattern is there; None for once
    g, gamma : (K, M) derivatives; None where `Method.takes_derivatives` is false and nothing else needs them
    """

    moments: Moments
    channel: Channel
    ports: Sequence[Port]
    memory: dict[str, Any]
    asked: Sequence[int]
    second: set[int]
    counts: Array | None
    g: Array | None
    gamma: Array | None
    backend: Backend


class Method(ABC):
    """
    A way to make cavities. A new one is such a class here, entered in `METHODS`.

    Attributes
    ----------
    takes_derivatives : whether `fields` needs ``g`` and Gamma
    takes_counts : whether patterns may count more than once
    carried : entries of the memory that a step reads from the step before; None: steps cannot be recorded
    spins_alone : whether only spins can be weights and inputs
    shifts : whether ``g`` is taken where the one input is missing, to first order
    """

    takes_derivatives = True
    takes_counts = True
    carried: Sequence[str] | None = ("reaction",)
    spins_alone = False
    shifts = False

    def omega(self, moments: Moments, ports: Sequence[Port], memory: dict[str, Any], backend: Backend) -> Array:
        """Means of the pre-activations, where the sums are not of the means themselves."""
        return moments.omega

    @abstractmethod
    def fields(self, back: Backward) -> dict[int, Array]:
        """Fields to the weights and inputs that are asked for."""


class MeanField(Method):
    """Nothing is taken out."""

    def fields(self, back: Backward) -> dict[int, Array]:
        assert back.g is not None
        sums = {}
        for port in back.asked:
            gamma = back.gamma if self.shifts or port in back.second else None
            if port == 0:
                sums[port] = back.moments.to_weights(back.g, gamma, back.counts, back.backend)
            else:
                sums[port] = back.moments.to_inputs(back.g, gamma, back.backend)
        return dict(zip(sums, evaluate(list(sums.values()), back.backend), strict=True))


class FirstOrder(MeanField):
    """One input is taken out of each sum, to first order: ``g(omega - m x)`` is ``g + m x Gamma``."""

    shifts = True


class Onsager(FirstOrder):
    """And the layer's own messages out of the means, to first order, by what is kept of the sweep before."""

    def fields(self, back: Backward) -> dict[int, Array]:
        assert back.g is not None
        found = super().fields(back)
        # Plates may be updated in place.
        copied = [back.backend.xp.asarray(array, copy=True) for array in (back.moments.m, back.moments.x)]
        back.memory["reaction"] = Reaction(copied[0], back.g, copied[1])
        return found


class ExactCavities(Method):
    """One input is taken out of each sum, exactly: K N M evaluations of g, in tiles."""

    takes_derivatives = False
    takes_counts = False

    def __init__(self, memory_limit: int) -> None:
        self._memory_limit = memory_limit

    def fields(self, back: Backward) -> dict[int, Array]:
        gradient, above = back.channel.gradient(back.backend), back.channel.above(back.ports[2], back.backend)
        return dict(enumerate(exact_totals(back.moments, gradient, above, self._memory_limit, back.backend)))


class TrueCavities(Method):
    """Belief propagation: one input out of each sum, and each message out of the means that made it."""

    takes_derivatives = False
    takes_counts = False
    carried = None
    spins_alone = True

    def __init__(self, memory_limit: int) -> None:
        self._memory_limit = memory_limit

    def omega(self, moments: Moments, ports: Sequence[Port], memory: dict[str, Any], backend: Backend) -> Array:
        cavities = memory.setdefault("cavities", CavityMessages(self._memory_limit))
        return cavities.omega(moments, ports[0], ports[1], backend) if cavities.started else moments.omega

    def fields(self, back: Backward) -> dict[int, Array]:
        gradient, above = back.channel.gradient(back.backend), back.channel.above(back.ports[2], back.backend)
        return dict(enumerate(back.memory["cavities"].totals(back.moments, gradient, above, back.ports[1], back.backend)))


METHODS: dict[str, Callable[[str, int], Method]] = {
    "bp": lambda cavity, memory_limit: TrueCavities(memory_limit),
    "bpi": lambda cavity, memory_limit: FirstOrder() if cavity == "first-order" else ExactCavities(memory_limit),
    "amp": lambda cavity, memory_limit: Onsager(),
    "mf": lambda cavity, memory_limit: MeanField(),
}
"""Methods by name, given how ``bpi`` takes an input out, and the bytes for temporary arrays."""

CAVITIES = ("first-order", "exact")
