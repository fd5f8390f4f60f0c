"""Settings of `nets.BPClassifier`: what is refused, and one value for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from factorgraph import DiscreteType, Gaussian, Levels, Spin, VariableType
from nets.network import constants_of
from nets.perceptron import ACTIVATIONS, ARGMAX, CAVITIES, METHODS

MANY_ROWS = 10_000
_LEFT_OPEN = ("method", "replicas")  # may be None


def check_settings(model: Any) -> None:
    """Refuse settings that make no sense, with a ValueError that names the setting."""
    for name, allowed in (
        ("method", METHODS),
        ("cavity", CAVITIES),
        ("argmax", ARGMAX),
        ("activation", ACTIVATIONS),
        ("encoding", ("auto", "standardize", "thermometer")),
        ("prediction", ("bayesian", "point")),
    ):
        value = getattr(model, name)
        if value is None and name in _LEFT_OPEN:
            continue
        if any(one not in allowed for one in ([value] if isinstance(value, str) or not np.ndim(value) else value)):
            raise ValueError(f"{name} must be one of {allowed}, not {value!r}")
    for name in ("epochs", "batch_size", "iterations", "n_epochs_no_change", "replicas"):
        value = getattr(model, name)
        if value is None and name in _LEFT_OPEN:
            continue
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    sizes = model.hidden_layer_sizes
    if isinstance(sizes, (int, np.integer)) or any(not isinstance(n, (int, np.integer)) or n < 1 for n in sizes):
        raise ValueError(f"hidden_layer_sizes must be a sequence of whole numbers of at least 1, not {sizes!r}")
    if not model.init_scale > 0:
        raise ValueError(f"init_scale must be above 0 to tell hidden units apart, not {model.init_scale!r}")
    for name in ("temperature", "coupling"):
        if not getattr(model, name) >= 0:
            raise ValueError(f"{name} must be at least 0, not {getattr(model, name)!r}")
    if not isinstance(weight_type(model.weights), DiscreteType) and (model.replicas or 1) > 1:
        raise ValueError(
            f"replicas must be 1 or None for real weights, not {model.replicas!r}: focusing needs a finite set of values"
        )


def weight_type(weights: Any) -> VariableType:
    """
    What a setting of weights means.

    Raises
    ------
    ValueError
        It is neither a known name nor at least two different numbers.
    """
    if isinstance(weights, str):
        known: dict[str, VariableType] = {"binary": Spin(), "ternary": Levels((-1, 0, 1)), "real": Gaussian()}
        if weights not in known:
            raise ValueError(f"weights must be one of {tuple(known)} or numbers that they can be, not {weights!r}")
        return known[weights]
    kind = Levels(weights)
    if len(kind.values) < 2:
        raise ValueError(f"weights must have at least two values to choose from, not {weights!r}")
    return kind


def choose_learning(model: Any, rows: int) -> tuple[str | Sequence[str], int]:
    """
    Method and number of replicas: those set, else ``mf`` and 7 from 10,000 training rows on, ``bpi`` and 1 below.

    With replicas weights learn in fewer epochs, but worse in the first few hundred batches, which are all that a small set
    has; with them ``mf`` errs less than ``bpi``. Real weights have none, and activations other than signs lose by them.
    Chosen on held-out rows: see ``docs/experiments.md``.
    """
    signs = isinstance(weight_type(model.weights), DiscreteType) and set(np.ravel(model.activation)) == {"sign"}
    method, replicas = ("mf", 7) if signs and rows >= MANY_ROWS else ("bpi", 1)
    return method if model.method is None else model.method, replicas if model.replicas is None else model.replicas


def one_for_each_layer(value: Any, default: Sequence[float], layers: int, name: str) -> list[float]:
    """Numbers of each layer, from one for all, a sequence, or None for the default."""
    if value is None:
        return list(default)
    values = [float(v) for v in ([value] * layers if np.ndim(value) == 0 else value)]
    if len(values) != layers:
        raise ValueError(f"{name} has {len(values)} values for {layers} weight layers")
    return values


def choose_masks(density: Any, sizes: Sequence[int], rng: np.random.Generator, biases: bool = False) -> list[np.ndarray | None]:
    """
    Which weights of each layer there are: None for all.

    Parameters
    ----------
    density : float in (0, 1] or (K, N) array of bool, or a list with one of these for each layer
        A share of the weights is drawn at random; each neuron gets one weight at least.
    sizes : inputs, and units of each layer
    biases : whether there are biases, all of which there are

    Raises
    ------
    ValueError
        A share is not in (0, 1], or an array has another shape or a neuron without weights.
    """
    layers = len(sizes) - 1
    each = list(density) if isinstance(density, (list, tuple)) else [density] * layers
    if len(each) != layers:
        raise ValueError(f"density has {len(each)} values for {layers} weight layers")
    masks: list[np.ndarray | None] = []
    for number, (part, size, neurons) in enumerate(zip(each, sizes, sizes[1:], strict=False), start=1):
        if np.ndim(part) == 0:
            if not 0.0 < part <= 1.0:
                raise ValueError(f"density must be above 0 and at most 1, not {part!r}")
            mask = None if part == 1.0 else rng.random((neurons, size)) < part
            if mask is not None:
                mask[np.arange(neurons), rng.integers(size, size=neurons)] = True
        else:
            mask = np.asarray(part, dtype=np.bool_)
            if mask.shape != (neurons, size):
                raise ValueError(f"density of layer {number} has shape {mask.shape}; its weights have {(neurons, size)}")
            if not mask.any(axis=1).all():
                raise ValueError(f"density of layer {number} leaves neuron {int(np.argmin(mask.any(axis=1)))} without weights")
        if biases and mask is not None:
            mask = np.concatenate([mask, np.ones((neurons, constants_of(size)), dtype=np.bool_)], axis=1)
        masks.append(mask)
    return masks
