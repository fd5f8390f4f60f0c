"""From layer sizes to a factor graph, its schedules and its controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import factorgraph as fg
from nets.perceptron import MEMORY_LIMIT, Perceptron


class Network:
    """
    A multi-layer perceptron, on one mini-batch, as a factor graph; by default with weights of +-1 and sign activations.

    Blocks are named ``weights1``, ``weights2``, ..., ``activations1``, ..., ``input`` and ``output``, factors ``layer1``,
    ``layer2``, ...

    Parameters
    ----------
    sizes : sequence of int
        Inputs, hidden units of each layer, outputs: 1 for two classes (a sign), K > 1 for K classes (the largest).
    batch_size : int
        Number of patterns M.
    method, cavity : str, or sequence of str with one for each layer
        See `Perceptron`.
    memory_limit : int
        Bytes for the temporary arrays of exact cavities.
    masks : sequence of (K_l, N_l) arrays of bool or None, one for each layer, optional
        Which weights there are.
    argmax : see `Perceptron`
    weight_type : VariableType, default spins
        What weights are: any type whose values are numbers.
    activation : {"sign", "relu", "identity"}, or sequence of str with one for each hidden layer
        Sums of real activations are divided by the square root of their number of terms.
    biases : bool, default False
        Whether each neuron has weights for constant inputs of 1, as many as the square root of its inputs: as strong as
        these, together.
    real_output : bool, default False
        Whether outputs are numbers, weighted sums of the last hidden units over the square root of their number.
    counted : bool, default False
        Whether there are data ``counts`` (M,): how many times each pattern is there.

    Attributes
    ----------
    graph : FactorGraph
    weights : list of Variables, (K_l, N_l) of each layer, biases last
    activations : list of Variables, (N_l, M) spins, or normal variables, of each hidden layer
    input : Variables, (N, M) data
    output : Variables, (1, M) spins, (M,) categorical, or (K, M) normal variables
    counts : Variables, (M,) data, or None
    """

    def __init__(
        self,
        sizes: Sequence[int],
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
    ) -> None:
        if len(sizes) < 2 or any(size < 1 for size in sizes):
            raise ValueError(f"layer sizes must be at least 1, and at least two of them, not {tuple(sizes)}")
        self.sizes = tuple(int(size) for size in sizes)
        self.batch_size = batch_size
        self.graph = fg.FactorGraph()
        self.input = self.graph.add_variables("input", fg.Data(), (self.sizes[0], batch_size))
        self.counts = self.graph.add_variables("counts", fg.Data(), (batch_size,)) if counted else None
        self.weights: list[fg.Variables] = []
        self.activations: list[fg.Variables] = []
        methods, cavities = (one_for_each(name, len(self.sizes) - 1) for name in (method, cavity))
        self.real_output = real_output
        hidden = [*one_for_each(activation, len(self.sizes) - 2, "hidden layers"), "identity" if real_output else "sign"]
        kind = fg.Spin() if weight_type is None else weight_type
        below = self.input
        for layer, (size, neurons) in enumerate(zip(self.sizes, self.sizes[1:], strict=False), start=1):
            constants = constants_of(size) if biases else 0
            self.weights.append(self.graph.add_variables(f"weights{layer}", kind, (neurons, size + constants)))
            active = hidden[layer - 1]
            if layer < len(self.sizes) - 1:
                output = fg.Spin() if active == "sign" else fg.Gaussian()
                above = self.graph.add_variables(f"activations{layer}", output, (neurons, batch_size))
                self.activations.append(above)
            elif real_output:
                above = self.graph.add_variables("output", fg.Gaussian(), (neurons, batch_size))
            elif neurons == 1:
                above = self.graph.add_variables("output", fg.Spin(), (1, batch_size))
            else:
                above = self.graph.add_variables("output", fg.Categorical(neurons), (batch_size,))
            mask = None if masks is None else masks[layer - 1]
            perceptron = Perceptron(
                methods[layer - 1],
                cavities[layer - 1],
                memory_limit,
                mask,
                argmax,
                active,
                (size + constants) ** -0.5,
                constants,
                counted,
            )
            counts = [] if self.counts is None else [self.counts]
            self.graph.add_factors(f"layer{layer}", perceptron, self.weights[-1], below, above, *counts)
            below = above
        self.output = below

    @property
    def num_layers(self) -> int:
        """Number of weight layers."""
        return len(self.weights)

    def training_schedule(self) -> fg.Sweep:
        """Forward through the hidden layers, then backward; each layer's weights are updated on the way back."""
        forward: list[tuple[str, Any]] = [(f"layer{layer}", "output") for layer in range(1, self.num_layers)]
        backward: list[tuple[str, Any]] = [(f"layer{layer}", ("weights", "input")) for layer in range(self.num_layers, 1, -1)]
        return fg.Sweep([*forward, *backward, ("layer1", "weights")], partial=True)

    def prediction_schedule(self) -> fg.Sweep:
        """Forward only, to the output."""
        return fg.Sweep([(f"layer{layer}", "output") for layer in range(1, self.num_layers + 1)], partial=True)

    def damping(self, strengths: Sequence[float]) -> dict[str, fg.Damping]:
        """
        Damping of each weight layer, as the paper has it.

        Means of the weights are damped, except at an argmax output, whose fields are.
        """
        rules = {}
        for layer, strength in enumerate(strengths, start=1):
            natural = layer == self.num_layers and self.sizes[-1] > 1 and not self.real_output
            rules[f"weights{layer}"] = fg.Damping(strength, "natural" if natural else "mean")
        return rules


def constants_of(size: int) -> int:
    """Number of constant inputs that a neuron of so many inputs has where there are biases."""
    return max(1, round(size**0.5))


def one_for_each(name: str | Sequence[str], layers: int, what: str = "weight layers") -> list[str]:
    """A setting of each layer, from one for all or a sequence."""
    names = [name] * layers if isinstance(name, str) else list(name)
    if len(names) != layers:
        raise ValueError(f"{names} has {len(names)} entries for {layers} {what}")
    return names
