"""The estimator that the command line asks for, and models that it has saved."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nets.classifier import BPClassifier
from nets.datasets import Dataset, DatasetError
from nets.model_file import kind_of
from nets.regressor import BPRegressor

_EPOCHS, _ACTIVATION = {False: 20, True: 40}, {False: ["sign"], True: ["relu"]}  # of labels, and of numbers
_OF_BOTH = (
    "layers", "input_shape", "batch_size", "backend", "dtype", "products", "biases", "averaging", "prediction", "init_scale",
)  # fmt: skip
_OF_LABELS = (
    "cavity", "reinforcement", "iterations", "argmax", "activation_noise", "temperature", "replicas", "coupling",
)  # fmt: skip


def estimator_of(options: argparse.Namespace, ranks: Any) -> BPClassifier | BPRegressor:
    """
    Build the estimator with the settings of ``nets train``.

    Settings that were left open and that depend on the targets are also set in ``options``.

    Parameters
    ----------
    options : argparse.Namespace
    ranks : Communicator

    Raises
    ------
    ValueError
        An option is not for numbers.
    """
    options.epochs = _EPOCHS[options.regression] if options.epochs is None else options.epochs
    options.activation = options.activation or _ACTIVATION[options.regression]
    settings = {name: getattr(options, name) for name in _OF_BOTH}
    settings |= {name: one_or_many(getattr(options, name)) for name in ("prior_strength", "density", "activation")}
    settings |= {"epochs": options.epochs, "memory_limit": options.memory_limit << 20, "random_state": options.seed}
    settings |= {"communicator": ranks, "verbose": True}
    weights, damping = weights_of(options.weights), one_or_many(options.damping)
    if not options.regression:
        settings |= {name: getattr(options, name) for name in _OF_LABELS}
        return BPClassifier(options.hidden, method=options.method, weights=weights, damping=damping, **settings)
    given = [name for name in _OF_LABELS if getattr(options, name) != options.left_open[name]]
    if given:
        raise ValueError(f"--regression cannot be combined with {', '.join('--' + name.replace('_', '-') for name in given)}")
    for name, value in (("method", options.method), ("weights", weights), ("damping", damping)):
        settings |= {} if value is None else {name: value}
    return BPRegressor(options.hidden, **settings)


def check_targets(data: Dataset, regression: bool) -> None:
    """
    Refuse text where numbers are needed, and numbers that are not labels.

    Raises
    ------
    DatasetError
    """
    y = data.y_train
    numbers = y.dtype.kind in "biuf"
    if regression and not numbers:
        example = np.unique(y)[:3].tolist()
        raise DatasetError(
            f"{data.name}: --regression needs numbers as targets, not {example}; for labels, leave out --regression"
        )
    if not regression and y.dtype.kind == "f" and (y != np.round(y)).any():
        raise DatasetError(
            f"{data.name}: targets such as {y[y != np.round(y)][0]:g} are not labels; for numbers, add --regression"
        )


def load_saved(path: str | Path) -> BPClassifier | BPRegressor:
    """
    Load a model of either kind that ``nets train --save`` wrote.

    Raises
    ------
    FileNotFoundError
    ValueError
        The file is not complete.
    """
    return BPRegressor.load(path) if kind_of(path) == "nets.BPRegressor" else BPClassifier.load(path)


def weights_of(words: Sequence[str] | None) -> str | list[float] | None:
    """A name, or numbers, or None."""
    if words is None:
        return None
    try:
        return [float(word) for word in words]
    except ValueError:
        if len(words) > 1:
            raise ValueError(f"--weights takes one name or a list of numbers, not {' '.join(words)}") from None
        return words[0]


def one_or_many(values: Sequence[Any] | None) -> Any:
    """A single value on its own, and several values as they are."""
    return values[0] if values is not None and len(values) == 1 else values
