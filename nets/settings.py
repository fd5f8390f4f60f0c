"""Settings of `nets.BPClassifier`: checks, values that were left open, and one value for each layer."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from factorgraph import DiscreteType, Gaussian, Levels, Spin, VariableType
from nets.channels import ACTIVATIONS, ARGMAX
from nets.encoding import CODES, Code
from nets.layers import Architecture, Convolution, Dense, Layer, Shape, Weighted, layer_of
from nets.layers.base import is_number, own_settings
from nets.layers.notation import layer_as_dict
from nets.methods import CAVITIES, METHODS
from nets.network import constants_of

MANY_ROWS = 10_000
FEW_ROWS = 1_000
TABLE_WEIGHTS = (-3, -2, -1, 1, 2, 3)  # where each feature has its own scale
TABLE_NOISE = 0.1
DEEP = 4  # hidden layers through which weights of mean square 0.4 hand nothing on
_NARROW = 10
LEARNT_WITH = 128  # rows of a batch with which settings were chosen
MOST_EVIDENCE = 512  # rows whose messages fields can take at once
LARGE_BATCH = 256  # rows from which on old weights count more
_LEFT_OPEN = ("method", "replicas", "batch_size", "temperature", "init_scale", "activation_noise")  # may be None


def check_settings(model: Any, by_parts: bool = False) -> None:
    """Refuse settings that make no sense, with a ValueError that names the setting. ``by_parts`` means `partial_fit`."""
    if by_parts and model.early_stopping:
        raise ValueError("early_stopping needs all rows at once: use fit, or call partial_fit without early_stopping")
    _check_choices(model)
    _check_numbers(model)
    _check_layers(model)
    _check_class_weight(model.class_weight, by_parts)
    if not _few_values(model) and (model.replicas or 1) > 1:
        raise ValueError(
            f"replicas must be 1 or None for real weights, not {model.replicas!r}: focusing needs a finite set of values"
        )


def _check_choices(model: Any) -> None:
    for name, allowed in (
        ("method", tuple(METHODS)),
        ("cavity", CAVITIES),
        ("argmax", tuple(ARGMAX)),
        ("activation", ACTIVATIONS),
        ("encoding", ("auto", *CODES)),
        ("prediction", ("bayesian", "point")),
    ):
        value = getattr(model, name)
        if value is None and name in _LEFT_OPEN:
            continue
        if any(one not in allowed for one in ([value] if isinstance(value, str) or not np.ndim(value) else value)):
            raise ValueError(f"{name} must be one of {allowed}, not {value!r}")
    for name in ("early_stopping", "averaging", "biases"):
        value = getattr(model, name)
        if not (isinstance(value, (bool, np.bool_)) or (value is None and name == "biases")):
            raise ValueError(f"{name} must be True or False, not {value!r}")


def _check_numbers(model: Any) -> None:
    for name in ("epochs", "batch_size", "iterations", "n_epochs_no_change", "replicas"):
        value = getattr(model, name)
        if value is None and name in _LEFT_OPEN:
            continue
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    for name, value in (("init_scale", model.init_scale), ("memory_limit", model.memory_limit)):
        if not ((is_number(value) and value > 0) or (value is None and name in _LEFT_OPEN)):
            raise ValueError(f"{name} must be a finite number above 0, not {value!r}")
    for name in ("temperature", "coupling", "reinforcement", "activation_noise"):
        value = getattr(model, name)
        if not ((is_number(value) and value >= 0) or (value is None and name in _LEFT_OPEN)):
            raise ValueError(f"{name} must be a finite number of at least 0, not {value!r}")
    for name, high, told in (("prior_strength", np.inf, ""), ("damping", 1.0, " and below 1")):
        value = getattr(model, name)
        each = [] if value is None else list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
        if not all(is_number(v) and 0.0 <= v < high for v in each):
            raise ValueError(
                f"{name} must be at least 0{told}: one number for all layers, or one for each layer, not {value!r}"
            )
    if not (is_number(model.validation_fraction) and 0.0 < model.validation_fraction < 1.0):
        raise ValueError(f"validation_fraction must be above 0 and below 1, not {model.validation_fraction!r}")


def _check_layers(model: Any) -> None:
    if model.input_shape is not None and (
        np.ndim(model.input_shape) != 1 or len(model.input_shape) != 3 or not all(_is_whole(n) for n in model.input_shape)
    ):
        raise ValueError(f"input_shape must be (channels, height, width), not {model.input_shape!r}")
    sizes = model.hidden_layer_sizes
    if not isinstance(sizes, (list, tuple, np.ndarray)) or any(not isinstance(n, (int, np.integer)) or n < 1 for n in sizes):
        raise ValueError(f"hidden_layer_sizes must be a sequence of whole numbers of at least 1, not {sizes!r}")
    if not (model.layers is None or isinstance(model.layers, (list, tuple))):
        raise ValueError(f"layers must be a list of layers, not {model.layers!r}")
    first = next(iter(hidden_layers(model)), None)
    if model.encoding == "thermometer" and not isinstance(first, (Dense, type(None))):
        raise ValueError(
            f"encoding='thermometer' makes nine inputs of each feature, so {first!r} cannot use the features as an image"
        )
    density = model.density
    if not all(
        is_number(d) or isinstance(d, np.ndarray) for d in (density if isinstance(density, (list, tuple)) else [density])
    ):
        raise ValueError(f"density must be a number, an array of bool, or a list of these, not {density!r}")


def _check_class_weight(each: Any, by_parts: bool) -> None:
    if not (each is None or isinstance(each, dict) or (isinstance(each, str) and each == "balanced")):
        raise ValueError(f"class_weight must be None, 'balanced', or a dict of labels and numbers, not {each!r}")
    if isinstance(each, dict) and not all(is_number(value) and value >= 0 for value in each.values()):
        raise ValueError(f"class_weight must contain numbers of at least 0, not {each!r}")
    if by_parts and isinstance(each, str):
        raise ValueError(
            "class_weight='balanced' needs all rows at once: use fit, or set class_weight to a dict for partial_fit"
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= 1)


def settings_of(model: Any, code: Code, rows: int, classes: int) -> dict[str, Any]:
    """
    The values that are chosen for settings that were left open: `BPClassifier.settings_`.

    - Signals fade from layer to layer. If inputs have the mean square p and weights have the mean square q, the signs of their
      sums have the mean square ``2 / pi arcsin(q p)``, because the sums are nearly normal. Initial fields with the standard
      deviation 1 have q = 0.4, and those with 3 have q = 0.8.
    - Narrow networks cannot satisfy all labels, so that their weights would never settle.
    - Labels that are certain may push real weights without bounds, until all ReLUs are below 0.
    - All rows of a batch answer to the same beliefs. Together they may push weights too far: see `evidence_of`.

    The values were chosen on held-out rows: see ``docs/experiments/log.md``.
    """
    method, replicas = choose_learning(model, rows, code)
    # So that a small set has more than a few batches, and rare classes are heard. A filter hears of many places in each row.
    small = rows < FEW_ROWS or is_convolutional(model)
    size = (32 if small else 128) if model.batch_size is None else int(model.batch_size)
    hidden = [layer.neurons for layer in weighted_layers(model)]
    certain = only_signs(model) and min(hidden, default=0) >= max(_NARROW, classes)
    weights, noise = weights_of(model, code)
    return {
        **encoding_of(model, code),
        "weights": weights,
        "activation_noise": noise,
        "method": method,
        "replicas": replicas,
        "batch_size": size,
        "damping": (0.8 if size <= LARGE_BATCH else 0.9) if model.damping is None else model.damping,
        "temperature": (0.0 if certain else 0.5) if model.temperature is None else float(model.temperature),
        "init_scale": init_scale_of(model),
    }


def encoding_of(model: Any, code: Code) -> dict[str, Any]:
    """The name of the encoding, and whether there are biases. Filters of one-bit weights need thresholds too."""
    encoding = next(name for name, kind in CODES.items() if isinstance(code, kind))
    needed = code.biases or is_convolutional(model)
    return {"encoding": encoding, "biases": needed if model.biases is None else bool(model.biases)}


def weights_of(model: Any, code: Code) -> tuple[Any, float]:
    """
    The values of weights, and the noise of the sums.

    A table has few features, each on its own scale, and some of them need stronger weights than others. An image has many
    pixels, and convolutions keep one bit. The sum of a unit with few inputs may be certain, and its messages to the weights are
    then without bounds, so noise is added. No weight is 0: if 0 were among the values, a layer that knows nothing yet would
    settle there. The values were chosen on other splits than the reported ones: see ``docs/experiments/log.md``.
    """
    dense = all(isinstance(layer, Dense) for layer in hidden_layers(model))
    table = code.biases and dense and only_signs(model) and "bp" not in np.ravel(model.method or "bpi")
    noise = (TABLE_NOISE if table else 0.0) if model.activation_noise is None else float(model.activation_noise)
    return (TABLE_WEIGHTS if table else "binary") if model.weights is None else model.weights, noise


def evidence_of(model: Any, rows: int) -> float:
    """Factor of each row's messages to weights: 1 up to 512 rows in a batch, so that more rows count as 512 together."""
    counted = "exact" not in np.ravel(model.cavity) and "bp" not in np.ravel(model.method or "mf")
    return min(1.0, MOST_EVIDENCE / rows) if counted and only_signs(model) else 1.0


def evidence_of_batch(model: Any, rows: int) -> float:
    """Number of rows that a batch counts as when the output forgets. Small tables were learnt with a step of 128."""
    size = rows * evidence_of(model, rows)
    return size if is_convolutional(model) else max(LEARNT_WITH, size)


def is_convolutional(model: Any) -> bool:
    """Whether at least one layer has filters."""
    return any(isinstance(layer, Convolution) for layer in hidden_layers(model))


def init_scale_of(model: Any) -> float:
    """Standard deviation of the first fields. It is larger where signals would fade in many layers."""
    deep = only_signs(model) and len(weighted_layers(model)) >= DEEP
    return (3.0 if deep else 1.0) if model.init_scale is None else float(model.init_scale)


def hidden_layers(model: Any) -> tuple[Layer, ...]:
    """An estimator's hidden layers: those of ``layers``, or dense layers of ``hidden_layer_sizes``."""
    return tuple(layer_of(value) for value in (model.hidden_layer_sizes if model.layers is None else model.layers))


def input_shape_of(model: Any, inputs: int) -> Shape:
    """
    The shape of the image that this many inputs form. If no layer needs an image, inputs are in a row.

    Raises
    ------
    ValueError
        The number of inputs is not the number of pixels; or it is not a square, and no shape is given.
    """
    hidden = hidden_layers(model)
    if not hidden or isinstance(hidden[0], Dense):
        return (inputs,)
    side = round(inputs**0.5)
    shape = (1, side, side) if model.input_shape is None else tuple(int(length) for length in model.input_shape)
    if len(shape) != 3 or math.prod(shape) != inputs:
        given = "is not a square image" if model.input_shape is None else f"is not an image of shape {shape}"
        raise ValueError(
            f"a row of {inputs} inputs {given}: set input_shape=(channels, height, width), with one input for each pixel"
        )
    return shape


def weighted_layers(model: Any) -> list[Weighted]:
    """The hidden layers that have weights."""
    return [layer for layer in hidden_layers(model) if isinstance(layer, Weighted)]


def only_signs(model: Any) -> bool:
    """Whether weights have finitely many values and all hidden units are signs."""
    layers = weighted_layers(model)
    given = [model.activation] * len(layers) if isinstance(model.activation, str) else list(model.activation)
    active = own_settings(layers, "activation", given) if len(given) == len(layers) else given
    return _few_values(model) and set(active) <= {"sign"}


def _few_values(model: Any) -> bool:
    """Whether weights have finitely many values. This is so for weights that are left open."""
    return model.weights is None or isinstance(weight_type(model.weights), DiscreteType)


def plain_settings(model: Any) -> dict[str, Any]:
    """An estimator's settings as JSON writes them: tuples become lists, and NumPy's numbers become numbers."""
    return dict(json.loads(json.dumps(params_of(model), default=plain)))


def params_of(model: Any) -> dict[str, Any]:
    """An estimator's settings. Dictionaries become lists of pairs (JSON's keys are strings), and layers become dictionaries."""
    params = {name: list(map(list, v.items())) if isinstance(v, dict) else v for name, v in model.get_params().items()}
    if params["layers"] is not None:
        params["layers"] = [layer_as_dict(layer_of(layer)) for layer in params["layers"]]
    return params


def plain(value: Any) -> Any:
    """A setting for JSON: NumPy scalars become numbers, arrays become lists, and other objects become their text."""
    if isinstance(value, np.generic):
        return value.item()
    return value.tolist() if isinstance(value, np.ndarray) else repr(value)


def weight_type(weights: Any) -> VariableType:
    """
    The variable type of a setting of ``weights``.

    Raises
    ------
    ValueError
        The setting is neither a known name nor at least two different numbers.
    """
    if isinstance(weights, str):
        known: dict[str, VariableType] = {"binary": Spin(), "ternary": Levels((-1, 0, 1)), "real": Gaussian()}
        if weights not in known:
            raise ValueError(f"weights must be one of {tuple(known)} or a sequence of their values, not {weights!r}")
        return known[weights]
    kind = Levels(weights)
    if len(kind.values) < 2:
        raise ValueError(f"weights must have at least two values to choose from, not {weights!r}")
    return kind


def choose_learning(model: Any, rows: int, code: Code) -> tuple[str | Sequence[str], int]:
    """
    Method and number of replicas: those that are set, or else the default.

    From 10,000 training rows on, the default is 7 replicas with ``mf``, or with ``bpi`` if each feature is encoded by itself.
    Below, it is ``bpi`` and 1 replica. With replicas, weights learn in fewer epochs, but worse in the first few hundred
    batches, and a small set has no more. With replicas, ``mf`` has smaller errors than ``bpi`` on images, and larger ones on
    tables. Real weights have no replicas, and activations other than signs get worse with them. The defaults were chosen on
    held-out rows: see ``docs/experiments/log.md``.
    """
    method, replicas = ("bpi" if code.biases else "mf", 7) if only_signs(model) and rows >= MANY_ROWS else ("bpi", 1)
    return method if model.method is None else model.method, replicas if model.replicas is None else model.replicas


def one_for_each_layer(value: Any, default: Sequence[float], layers: int, name: str) -> list[float]:
    """A number for each layer, given one for all layers, a sequence, or None for the default."""
    if value is None:
        return list(default)
    values = [float(v) for v in ([value] * layers if np.ndim(value) == 0 else value)]
    if len(values) != layers:
        raise ValueError(f"{name} has {len(values)} values for {layers} weight layers")
    return values


def choose_masks(
    density: Any, architecture: Architecture, rng: np.random.Generator, biases: bool = False
) -> list[np.ndarray | None]:
    """
    Masks of the weights to keep in each layer; None keeps all.

    Parameters
    ----------
    density : float in (0, 1] or (K, N) array of bool, or a list with one of these for each layer
        Fraction of the weights to keep, which are drawn at random, or a mask. Each neuron keeps at least one weight.
    architecture : Architecture
    biases : whether there are biases; all of them are kept

    Raises
    ------
    ValueError
        A fraction is not in (0, 1], or a mask has another shape or a neuron without weights.
    """
    layers = len(architecture.weights)
    each = list(density) if isinstance(density, (list, tuple)) else [density] * layers
    if len(each) != layers:
        raise ValueError(f"density has {len(each)} values for {layers} weight layers")
    masks: list[np.ndarray | None] = []
    each = own_settings(architecture.weighted, "density", each)
    for number, (part, (neurons, size, _)) in enumerate(zip(each, architecture.weights, strict=True), start=1):
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
