"""Layers that join neighbouring pixels of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import factorgraph as fg
from factorgraph.backends import Array
from nets.layers.base import Image, Layer, Shape, image_shape, whole_number
from nets.windows import windows

_MOST = 40.0  # field that is as good as certain
_LEAST = -1e-30  # logarithm of a share that is as good as all


@dataclass(frozen=True, repr=False)
class Pool(Layer):
    """
    Each unit is +1 if at least one unit in a square window of its channel is +1. This is max pooling of signs.

    Parameters
    ----------
    size : int, default 2
        Side length of the windows, which do not overlap. Pixels at the right and lower edges that do not fill a window are left
        out.

    Examples
    --------
    >>> Pool(2).shape((32, 24, 24))
    (32, 12, 12)
    """

    size: int = 2

    def __post_init__(self) -> None:
        whole_number("size", self.size)

    def shape(self, below: Shape) -> Shape:
        channels, height, width = image_shape(self, below)
        return channels, *windows((1, height, width), self.size, self.size)[1]

    def add(self, graph: fg.FactorGraph, number: int, below: Image) -> tuple[Image, str]:
        channels, height, width = image_shape(self, below.shape)
        if not isinstance(below.units.type, fg.Spin):
            kind = below.units.type
            raise ValueError(f"{self!r} needs signs: the layer below must have activation 'sign', not units of type {kind!r}")
        places, image = windows((1, height, width), self.size, self.size)
        patterns = below.units.shape[-1]
        shape = (channels, *image)
        pooled = graph.add_variables(f"pooled{number}", fg.Spin(), (channels, places.shape[1], patterns))
        # (taps, channels, places): the windows of one channel again in all others.
        apart = places[:, None] + height * width * np.arange(channels)[:, None]
        graph.add_factors(f"pool{number}", AnyOf(), below.units.gather(apart), pooled)
        return Image(pooled.reshape(-1, patterns), shape), f"pool{number}"


class AnyOf(fg.BlockFactor):
    """
    Each output is +1 if at least one of its inputs is: spins ``input`` (n, *shape) and ``output`` (*shape).

    Let q_i be the probability that input i is -1 without this factor, and r the probability that the output is +1. Messages, as
    half log-odds, are

    - up: ``log((1 - prod q) / prod q) / 2``,
    - down to i, with Q the product of the others' q: ``log(r / (r (1 - Q) + (1 - r) Q)) / 2``.

    Inputs have no other block above them, so their belief without this factor is what comes from below.
    """

    ports = ("input", "output")

    def bind(self, types: Sequence[fg.VariableType], shapes: Sequence[tuple[int, ...]]) -> None:
        if not all(isinstance(kind, fg.Spin) for kind in types):
            raise TypeError(f"input and output must be spins, not {list(types)}")
        if shapes[0][1:] != shapes[1]:
            raise ValueError(f"input must have the shape (n, *shape) and output (*shape), not {shapes[0]} and {shapes[1]}")

    def update(
        self, ports: Sequence[fg.Port], memory: dict[str, Any], asked: Sequence[int], backend: fg.Backend
    ) -> list[Array]:
        xp = backend.xp
        fields, above = (xp.clip(port.incoming, -_MOST, _MOST) for port in ports)  # evidence is infinite
        low = -backend.log_add_exp(2.0 * fields, xp.zeros_like(fields))  # log q
        total = xp.sum(low, axis=0)
        found = {}
        if 1 in asked:
            found[1] = 0.5 * (_log_of_rest(total, backend) - total)
        if 0 in asked:
            others = total - low
            # log(r / (r (1 - Q) + (1 - r) Q)) = -log(1 - Q + Q exp(-log-odds of r))
            found[0] = -0.5 * backend.log_add_exp(_log_of_rest(others, backend), others - 2.0 * above)
        return [found[port] for port in asked]

    def carried(self, observed: Sequence[bool]) -> Sequence[str] | None:
        return ()


def _log_of_rest(log_share: Array, backend: fg.Backend) -> Array:
    """``log(1 - Q)`` from ``log Q``, finite where Q is 1."""
    xp = backend.xp
    return xp.log(-xp.expm1(xp.clip(log_share, None, _LEAST)))
