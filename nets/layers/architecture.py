"""All layers of a network: their shapes, and what is known about them before there is a graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nets.layers.base import Layer, Shape, Weighted
from nets.layers.dense import Dense


@dataclass(frozen=True)
class Architecture:
    """
    Inputs, hidden layers and outputs of a network.

    Attributes
    ----------
    input_shape : (inputs,), or (channels, height, width)
    hidden : the hidden layers
    outputs : 1 for two classes (a sign), K > 1 for K classes (the largest), or the number of real outputs

    Raises
    ------
    ValueError
        A layer does not fit on the one below.
    """

    input_shape: Shape
    hidden: tuple[Layer, ...]
    outputs: int

    def __post_init__(self) -> None:
        if not self.input_shape or min(*self.input_shape, self.outputs) < 1:
            raise ValueError(f"layer sizes must be at least 1, not {self.input_shape} inputs and {self.outputs} outputs")
        self.shapes  # noqa: B018  refused now, if at all

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The hidden layers and the output layer."""
        return *self.hidden, Dense(self.outputs)

    @property
    def shapes(self) -> list[Shape]:
        """Shapes of the inputs and of the units of each layer."""
        found = [self.input_shape]
        for number, layer in enumerate(self.layers, start=1):
            try:
                found.append(layer.shape(found[-1]))
            except ValueError as error:
                raise ValueError(f"layer {number}: {error}") from error
        return found

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return math.prod(self.input_shape)

    @property
    def weighted(self) -> list[Weighted]:
        """The layers that have weights. The output layer is the last one."""
        return [layer for layer in self.layers if isinstance(layer, Weighted)]

    @property
    def weights(self) -> list[tuple[int, int, int]]:
        """
        For each layer with weights: the number K of neurons, N of weights of each neuron without biases, and P of places of
        each.
        """
        return [(layer.neurons, *layer.weights(below)) for layer, below in self.stages if isinstance(layer, Weighted)]

    @property
    def stages(self) -> list[tuple[Layer, Shape]]:
        """Each layer, and the shape of the units below it."""
        return list(zip(self.layers, self.shapes, strict=False))

    @property
    def hidden_units(self) -> list[int]:
        """Number of units of each hidden layer."""
        return [math.prod(shape) for shape in self.shapes[1:-1]]

    @property
    def widest(self) -> int:
        """The largest size that one array has for a pattern: inputs or sums of all neurons at all places."""
        return max(places * max(neurons, size) for neurons, size, places in self.weights)

    def last(self) -> Architecture:
        """The architecture of only the output layer, on the last hidden units."""
        return Architecture((math.prod(self.shapes[-2]),), (), self.outputs)

    def __str__(self) -> str:
        return "-".join("x".join(map(str, shape)) for shape in self.shapes)


def architecture_of(sizes: Sequence[Any] | Architecture) -> Architecture:
    """Return an architecture as it is, or build one of dense layers from their sizes: inputs, hidden units, outputs."""
    if isinstance(sizes, Architecture):
        return sizes
    if len(sizes) < 2 or any(size < 1 for size in sizes):
        raise ValueError(f"layer sizes must be at least 1, and there must be at least two of them, not {tuple(sizes)}")
    inputs, *hidden, outputs = (int(size) for size in sizes)
    return Architecture((inputs,), tuple(Dense(units) for units in hidden), outputs)
