"""Activation channels: what a neuron's output says of its pre-activation, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from factorgraph import Categorical, VariableType
from nets.channels.argmax import Argmax
from nets.channels.base import Channel
from nets.channels.real import FUNCTIONS, Real
from nets.channels.sign import Sign

CHANNELS: dict[str, Callable[[float], Channel]] = {
    "sign": lambda scale: Sign(),
    **{name: partial(Real, name, function) for name, function in FUNCTIONS.items()},
}
"""Channels by the name of their activation, given what sums are multiplied by."""

ACTIVATIONS = tuple(CHANNELS)
ARGMAX = {"pairwise": False, "exact": True}


def channel_of(activation: str, scale: float, argmax: str, output: VariableType) -> Channel:
    """The channel of an activation; of categorical outputs, that of the largest."""
    return Argmax(ARGMAX[argmax]) if isinstance(output, Categorical) else CHANNELS[activation](scale)


__all__ = ["ACTIVATIONS", "ARGMAX", "CHANNELS", "Argmax", "Channel", "Real", "Sign", "channel_of"]
