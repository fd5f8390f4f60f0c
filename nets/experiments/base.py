"""What an experiment is: networks to train on data sets, and what was published of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nets.classifier import BPClassifier
from nets.datasets import Dataset, load_dataset

Published = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Case:
    """
    A network on a data set.

    Attributes
    ----------
    label : the row it has in tables
    dataset : a name that `nets.load_dataset` knows
    settings : of `BPClassifier`
    two_classes : whether labels are odd or even instead of themselves
    published : mean and standard deviation of each metric of `metrics`; a deviation of 0 is one that was not given
    x, curve : its place on the figure's axis, where that is a number, and the curve that it lies on
    """

    label: str
    dataset: str
    settings: dict[str, Any]
    two_classes: bool = False
    published: Published = field(default_factory=dict)
    x: float | None = None
    curve: str = ""

    def data(self, folder: str | None) -> Dataset:
        """The data set, with labels odd and even for two classes."""
        data = load_dataset(self.dataset, folder)
        if not self.two_classes:
            return data
        return Dataset(f"{data.name}, odd or even", data.X_train, data.y_train % 2, data.X_test, data.y_test % 2)

    def model(self, epochs: int, seed: int) -> BPClassifier:
        """The network, not yet trained."""
        return BPClassifier(epochs=epochs, random_state=seed, **self.settings)


Metrics = Callable[[BPClassifier, Dataset], dict[str, float]]
Protocol = Callable[[BPClassifier, Dataset, int, int, Callable[[BPClassifier], None]], dict[str, Any]]


def error_metrics(model: BPClassifier, data: Dataset) -> dict[str, float]:
    """Test errors of both predictions at the last epoch, as they were taken then, and the training error."""
    row = model.history_[-1]
    return {"point-wise": row["test_error"], "Bayesian": row["test_error_bayes"], "train": row["train_error"]}


@dataclass(frozen=True)
class Experiment:
    """
    Cases that belong together.

    Attributes
    ----------
    title, source : what it is, and where it was published
    cases : of the published protocol
    quick_cases : labels of those that a quick run keeps; None for all
    quick_epochs, full_epochs : epochs of a quick run, and as published
    metrics : what is measured of a trained model
    protocol : instead of fitting and `metrics`: ``protocol(model, data, epochs, seed, on_epoch)`` trains in its own way, from
        where a loaded model was left, calls ``on_epoch(model)`` after each epoch, and gives ``metrics`` and ``history``
    unit : of the metrics
    seeds : of the published protocol; a quick run takes the first
    axis : what the figure's axis is, where cases have an ``x``; else bars
    """

    title: str
    source: str
    cases: tuple[Case, ...]
    quick_epochs: int
    full_epochs: int = 100
    quick_cases: tuple[str, ...] | None = None
    metrics: Metrics = error_metrics
    protocol: Protocol | None = None
    unit: str = "%"
    seeds: tuple[int, ...] = (0, 1, 2)
    axis: str = ""

    def chosen(self, full: bool) -> list[Case]:
        """The cases of a full or a quick run."""
        return [case for case in self.cases if full or self.quick_cases is None or case.label in self.quick_cases]


def summary(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation over seeds; 0 for one."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
