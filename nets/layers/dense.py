"""Layers in which each unit sees all units below."""

from __future__ import annotations

from dataclasses import dataclass

import factorgraph as fg
from nets.layers.base import Image, Shape, Weighted, whole_number


@dataclass(frozen=True, repr=False)
class Dense(Weighted):
    """
    Units that see all units below.

    Parameters
    ----------
    units : int
        Number of units.
    **settings : settings of a layer with weights
        ``method`` and ``cavity`` as in `nets.Perceptron`; ``activation``, ``density``, ``prior_strength`` and ``damping`` as in
        `nets.BPClassifier`; and ``skip`` (float, default 0), the strength of a residual connection from the unit below at the
        same place, in units of the root of the number of a unit's weights. Where a setting is None, the network's setting is
        used.

    Examples
    --------
    >>> Dense(501, density=0.5).shape((32, 7, 7))
    (501,)
    """

    units: int

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("units", self.units)

    def shape(self, below: Shape) -> Shape:
        return (self.units,)

    @property
    def neurons(self) -> int:
        return self.units

    def weights(self, below: Shape) -> tuple[int, int]:
        size = 1
        for length in below:
            size *= length
        return size, 1

    def columns(self, below: Image) -> fg.Variables:
        return below.units
