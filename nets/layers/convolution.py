"""Layers of filters, each of which sees a window of the image below at many places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import factorgraph as fg
from nets.layers.base import Image, Shape, Weighted, image_shape, whole_number
from nets.windows import windows


@dataclass(frozen=True, repr=False)
class Convolution(Weighted):
    """
    Filters that have the same weights at all places of an image.

    A weight receives messages from all places, so that filters become certain soon. If a filter has few weights, its sums are
    far from normal: in the first layer, 5 x 5 learns better than 3 x 3.

    Parameters
    ----------
    channels : int
        Number of filters.
    size : int
        Side length of the square window that each filter sees, in all channels below.
    stride : int, default 1
        Number of pixels from one place to the next.
    padding : int, default 0
        Number of pixels by which windows may reach over each edge. There are no inputs there.
    **settings : settings of a layer with weights
        ``method`` and ``cavity`` as in `nets.Perceptron`; ``activation``, ``density``, ``prior_strength`` and ``damping`` as in
        `nets.BPClassifier`; and ``skip`` (float, default 0), the strength of a residual connection from the unit below at the
        same place, in units of the root of the number of a unit's weights. Where a setting is None, the network's setting is
        used.

    Examples
    --------
    >>> Convolution(32, 5, stride=2).shape((1, 28, 28))
    (32, 12, 12)
    """

    channels: int
    size: int
    stride: int = 1
    padding: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("channels", "size", "stride"):
            whole_number(name, getattr(self, name))
        whole_number("padding", self.padding, 0)

    def shape(self, below: Shape) -> Shape:
        return self.channels, *self._windows(below)[1]

    @property
    def neurons(self) -> int:
        return self.channels

    def weights(self, below: Shape) -> tuple[int, int]:
        taps, places = self._windows(below)[0].shape
        return taps, places

    def columns(self, below: Image) -> fg.Variables:
        return below.units.gather(self._windows(below.shape)[0])

    def _windows(self, below: Shape) -> tuple[np.ndarray, tuple[int, int]]:
        return windows(image_shape(self, below), self.size, self.stride, self.padding)
