"""What a layer is: the contract, and what layers with weights share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

import factorgraph as fg
from nets.channels import ACTIVATIONS
from nets.methods import CAVITIES, METHODS

Shape = tuple[int, ...]  # (units,), or (channels, height, width)


@dataclass(frozen=True)
class Image:
    """
    Units of one layer, as the next layer receives them.

    Attributes
    ----------
    units : Variables, (number, M): all units for M patterns, channel by channel and row by row
    shape : shape of the units of one pattern
    """

    units: fg.Variables
    shape: Shape


class Layer(ABC):
    """
    A hidden layer. Each kind of layer is a small frozen dataclass with its settings, its shapes, and what it adds to a graph.

    Examples
    --------
    ``nets/layers/pool.py`` is one without weights.
    """

    def __repr__(self) -> str:
        """As it would be written, without settings that have their default value."""
        words: list[str] = []
        for number, field in enumerate(sorted(fields(self), key=lambda field: bool(field.kw_only))):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value is not field.default and not (np.isscalar(value) and value == field.default):
                words.append(repr(value) if number == len(words) and not field.kw_only else f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(words)})"

    @abstractmethod
    def shape(self, below: Shape) -> Shape:
        """
        Return the shape of the layer's units, given the shape of the units below.

        Raises
        ------
        ValueError
            The layer does not fit on such units.
        """

    @abstractmethod
    def add(self, graph: fg.FactorGraph, number: int, below: Image) -> tuple[Image, str]:
        """
        Add the layer's units and factors to a graph. Their names contain the layer's number, which starts from 1.

        Returns
        -------
        image : the units
        factors : name of a block with the ports ``input`` and ``output``
        """


@dataclass(frozen=True, kw_only=True, repr=False)
class Weighted(Layer):
    """
    A layer of neurons with weights. Where a setting is None, the network's setting is used.

    Parameters
    ----------
    method, cavity : see `nets.Perceptron`
    activation : see `nets.BPClassifier`
    density, prior_strength, damping : see `nets.BPClassifier`
    skip : float, default 0
        Strength of a residual connection from the unit below at the same place, in units of the root of the number of a unit's
        weights. 0 means no connection, and 0.5 is a usual one. The layer below must be signs of the same shape.
    """

    method: str | None = None
    cavity: str | None = None
    activation: str | None = None
    density: Any = None
    prior_strength: float | None = None
    damping: float | None = None
    skip: float = 0.0

    def __post_init__(self) -> None:
        if np.ndim(self.density) == 2:  # so that layers can be compared
            object.__setattr__(self, "density", tuple(tuple(bool(one) for one in row) for row in self.density))
        for name, allowed in (("method", tuple(METHODS)), ("cavity", CAVITIES), ("activation", ACTIVATIONS)):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, not {value!r}")
        for name, high in (("prior_strength", math.inf), ("damping", 1.0)):
            value = getattr(self, name)
            if not (value is None or (is_number(value) and 0.0 <= value < high)):
                raise ValueError(f"{name} must be at least 0{' and below 1' if high == 1.0 else ''}, not {value!r}")
        if not (is_number(self.skip) and 0.0 <= self.skip < math.inf):
            raise ValueError(f"skip must be a finite number of at least 0, not {self.skip!r}")

    def add(self, graph: fg.FactorGraph, number: int, below: Image) -> tuple[Image, str]:
        raise NotImplementedError("only a network adds layers with weights, because it knows their settings")

    @property
    @abstractmethod
    def neurons(self) -> int:
        """Number K of different neurons: units, or channels."""

    @abstractmethod
    def weights(self, below: Shape) -> tuple[int, int]:
        """Number N of weights of each neuron, without biases, and number P of places at which the neuron is used."""

    @abstractmethod
    def columns(self, below: Image) -> fg.Variables:
        """The inputs of a neuron at all its places: (N, M), or (N, P, M)."""


def is_number(value: Any) -> bool:
    """Whether a setting is a finite number."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool) and bool(np.isfinite(value))


def whole_number(name: str, value: Any, least: int = 1) -> None:
    """Refuse a value that is not a whole number, or is too small."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")


def image_shape(layer: Layer, below: Shape) -> tuple[int, int, int]:
    """Channels, height and width of the units below, or an error if these units are no image."""
    if len(below) != 3:
        raise ValueError(f"{layer!r} needs an image (channels, height, width) as the layer below, not units of shape {below}")
    channels, height, width = below
    return channels, height, width


def own_settings(layers: Sequence[Weighted], name: str, values: Sequence[Any]) -> list[Any]:
    """A setting for each layer: the layer's own value if it has one, else that of the network."""
    own = [getattr(layer, name) for layer in layers]
    return [value if mine is None else mine for mine, value in zip(own, values, strict=True)]
