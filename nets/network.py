"""From layer sizes to a factor graph, its schedules and its controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import factorgraph as fg
from nets.layers import Architecture, Image, Weighted, architecture_of
from nets.layers.base import own_settings
from nets.perceptron import MEMORY_LIMIT, Perceptron


class Network:
    """
    A network on one mini-batch as a factor graph. By default, weights are -1 or 1, and activations are signs.

    Blocks of variables are named ``weights1``, ``weights2``, ..., ``activations1``, ..., ``input`` and ``output``, and factors
    ``layer1``, ``layer2``, .... Those of layers without weights are named by the kind of layer.

    Parameters
    ----------
    sizes : sequence of int, or Architecture
        Number of inputs, of units of each dense hidden layer, and of outputs: 1 output for two classes (a sign), K > 1 for K
        classes (the largest).
    batch_size : int
        Number of patterns M.
    method, cavity : str, or sequence of str with one for each layer
        See `Perceptron`.
    memory_limit : int
        Bytes for the temporary arrays of exact cavities.
    masks : sequence of (K_l, N_l) arrays of bool or None, one for each layer, optional
        Masks of the weights to keep. None keeps all.
    argmax : see `Perceptron`
    weight_type : VariableType, default spins
        Variable type of the weights: any type whose values are numbers.
    activation : {"sign", "relu", "identity"}, or sequence of str with one for each hidden layer
        Sums of real activations are divided by the square root of their number of terms.
    biases : bool, default False
        Whether each neuron has weights for constant inputs of 1, as many as the square root of the number of its inputs.
        Together, the biases are then as strong as the inputs.
    real_output : bool, default False
        Whether outputs are numbers: weighted sums of the last hidden units, divided by the square root of their number.
    noise : float, default 0
        Variance of a normal number that is added to each unit's sum: see `Perceptron`.
    counted : bool, default False
        Whether there are data ``counts`` (M,): how many times each pattern counts.

    Attributes
    ----------
    graph : FactorGraph
    weights : list of Variables, (K_l, N_l) for each layer that has weights, with biases last
    activations : list of Variables, (N_l, M) spins or normal variables for each hidden layer; (K_l, P_l, M) for images
    input : Variables, (N, M) data
    output : Variables, (1, M) spins, (M,) categorical, or (K, M) normal variables
    counts : Variables, (M,) data, or None
    """

    def __init__(
        self,
        sizes: Sequence[int] | Architecture,
        batch_size: int,
        method: str | Sequence[str] = "bpi",
        cavity: str | Sequence[str] = "first-order",
        memory_limit: int = MEMORY_LIMIT,
        masks: Sequence[np.ndarray | None] | None = None,
        argmax: str = "pairwise",
        weight_type: fg.VariableType | None = None,
        activation: str | Sequence[str] = "sign",
        biases: bool = False,
        counted: bool = False,
        real_output: bool = False,
        noise: float = 0.0,
    ) -> None:
        self.architecture = architecture_of(sizes)
        self.batch_size = batch_size
        self.real_output = real_output
        self.graph = fg.FactorGraph()
        self.input = self.graph.add_variables("input", fg.Data(), (self.architecture.inputs, batch_size))
        self.counts = self.graph.add_variables("counts", fg.Data(), (batch_size,)) if counted else None
        self.weights: list[fg.Variables] = []
        self.activations: list[fg.Variables] = []
        self._forward: list[tuple[str, Any]] = []
        self._backward: list[tuple[str, Any]] = []
        weighted = self.architecture.weighted
        number = len(weighted)
        methods = own_settings(weighted, "method", one_for_each(method, number))
        cavities = own_settings(weighted, "cavity", one_for_each(cavity, number))
        active = own_settings(weighted[:-1], "activation", one_for_each(activation, number - 1, "hidden layers"))
        kind = fg.Spin() if weight_type is None else weight_type
        below, layers = Image(self.input, self.architecture.input_shape), self.architecture.layers
        for place, layer in enumerate(layers):
            if isinstance(layer, Weighted):
                number = len(self.weights)
                is_output = layer is layers[-1]
                channel = ("identity" if real_output else "sign") if is_output else active[number]
                size, _ = layer.weights(below.shape)
                constants = constants_of(size) if biases else 0
                self.weights.append(self.graph.add_variables(f"weights{number + 1}", kind, (layer.neurons, size + constants)))
                perceptron = Perceptron(
                    methods[number],
                    cavities[number],
                    memory_limit,
                    None if masks is None else masks[number],
                    argmax,
                    channel,
                    (size + constants) ** -0.5,
                    constants,
                    counted,
                    layer.skip * (size + constants) ** 0.5,
                    noise,
                )
                below = self._add_weighted(layer, perceptron, below, channel, is_output)
            else:
                below, name = layer.add(self.graph, place + 1, below)
                self.activations.append(self.graph.variables(below.units.name))
                self._forward.append((name, "output"))
                self._backward.append((name, "input"))

    def _add_weighted(self, layer: Weighted, perceptron: Perceptron, below: Image, channel: str, is_output: bool) -> Image:
        """Add the units and the factor block of a layer whose weights are the last ones; what the next layer stands on."""
        number, (_, places) = len(self.weights), layer.weights(below.shape)
        columns = layer.columns(below)
        shape = (layer.neurons, *columns.shape[1:])
        if is_output and layer.neurons > 1 and not self.real_output:
            units = self.graph.add_variables("output", fg.Categorical(layer.neurons), (self.batch_size,))
        else:
            name = "output" if is_output else f"activations{number}"
            units = self.graph.add_variables(name, fg.Spin() if channel == "sign" else fg.Gaussian(), shape)
        ports = [self.weights[-1], columns, units]
        if self.counts is not None:  # a pattern counts as often at all its places
            ports.append(self.counts if len(shape) == 2 else self.counts.reshape(1, -1)[np.zeros(places, dtype=int)])
        if layer.skip:
            ports.append(skipped(layer, below, units))
        name = self.graph.add_factors(f"layer{number}", perceptron, *ports).name
        down = ("weights", "input", "skip") if layer.skip else ("weights", "input")
        self._backward.append((name, down if number > 1 else "weights"))
        if is_output:
            self.output = units
            return below
        self.activations.append(units)
        self._forward.append((name, "output"))
        image = units.reshape(-1, self.batch_size) if len(shape) > 2 else units
        return Image(image, layer.shape(below.shape))

    @property
    def num_layers(self) -> int:
        """Number of weight layers."""
        return len(self.weights)

    def training_schedule(self) -> fg.Sweep:
        """
        Messages go forward through the hidden layers, and then backward. On the way back, the weights of each layer are
        updated.
        """
        return fg.Sweep([*self._forward, *self._backward[::-1]], partial=True)

    def prediction_schedule(self) -> fg.Sweep:
        """Messages go only forward, from the inputs to the output."""
        return fg.Sweep([*self._forward, (f"layer{self.num_layers}", "output")], partial=True)

    def damping(self, strengths: Sequence[float]) -> dict[str, fg.Damping]:
        """
        Damping rules for the weights of each layer, as in the paper.

        The means of the weights are damped. With an argmax output, the fields of the last layer's weights are damped instead.
        """
        rules = {}
        for layer, strength in enumerate(strengths, start=1):
            natural = layer == self.num_layers and self.architecture.outputs > 1 and not self.real_output
            rules[f"weights{layer}"] = fg.Damping(strength, "natural" if natural else "mean")
        return rules


def skipped(layer: Weighted, below: Image, units: fg.Variables) -> fg.Variables:
    """The units below, in the shape of the units of a layer to which they are added."""
    if not isinstance(below.units.type, fg.Spin):
        kind = below.units.type
        raise ValueError(
            f"{layer!r} has a residual connection, so the layer below must be hidden units with activation 'sign', not {kind!r}"
        )
    if below.units.size != units.size or layer.shape(below.shape) != below.shape:
        raise ValueError(
            f"{layer!r} has a residual connection, so the layer below must have the shape of its own units, not {below.shape}"
        )
    return below.units.reshape(*units.shape)


def constants_of(size: int) -> int:
    """Number of constant inputs of a neuron that has this many inputs, if there are biases."""
    return max(1, round(size**0.5))


def one_for_each(name: str | Sequence[str], layers: int, what: str = "weight layers") -> list[str]:
    """A setting for each layer, given one for all layers or a sequence."""
    names = [name] * layers if isinstance(name, str) else list(name)
    if len(names) != layers:
        raise ValueError(f"{names} has {len(names)} entries for {layers} {what}")
    return names
