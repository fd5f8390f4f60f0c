"""Continual learning: one network learns tasks one after another, each MNIST with its pixels in another order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nets.classifier import BPClassifier
from nets.datasets import Dataset
from nets.experiments.base import Case, Experiment

TASKS = 6
_KINDS = {", point-wise": "", ", Bayesian": "_bayes"}


def learn_in_turn(
    model: BPClassifier, data: Dataset, epochs: int, seed: int, on_epoch: Callable[[BPClassifier], Any] | None = None
) -> dict[str, Any]:
    """
    Train on six permutations of the inputs in turn, going on from the beliefs as they are, and from where the model was left.

    Parameters
    ----------
    epochs : of each task
    on_epoch : called with the model after each epoch

    Returns
    -------
    dict with ``metrics``, accuracies in percent after the last task, of both predictions: of each task, of all, and what was
    lost since a task was learnt; and ``history``: for each task learnt so far the accuracies on all tasks
    """
    orders = orders_of_inputs(data.X_train.shape[1], seed)
    classes = np.unique(data.y_train)
    for epoch in range(getattr(model, "n_iter_", 0), TASKS * epochs):
        model.partial_fit(data.X_train[:, orders[epoch // epochs]], data.y_train, classes)
        if (epoch + 1) % epochs == 0:
            for task, order in enumerate(orders, start=1):
                errors = model.evaluate(data.X_test[:, order], data.y_test)
                model.history_[-1] |= {f"task {task}{kind}": 100.0 - errors["test_error" + key] for kind, key in _KINDS.items()}
        if on_epoch is not None:
            on_epoch(model)
    history = [{name: row[name] for name in row if name.startswith("task")} for row in model.history_[epochs - 1 :: epochs]]
    metrics = dict(history[-1])
    for kind in _KINDS:
        last = [history[-1][f"task {task}{kind}"] for task in range(1, TASKS + 1)]
        when_learnt = [history[task - 1][f"task {task}{kind}"] for task in range(1, TASKS + 1)]
        metrics |= {f"all tasks{kind}": float(np.mean(last)), f"lost{kind}": float(np.mean(when_learnt) - np.mean(last))}
    return {"metrics": metrics, "history": history}


def orders_of_inputs(features: int, seed: int) -> list[np.ndarray]:
    """The order that the inputs have in each task."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(features) for _ in range(TASKS)]


def continual() -> Experiment:
    """Figure 3, published without numbers: 2001-2001, 40 epochs a task, rho 1 and psi 0.8. Labels in doubt are ours."""
    cases, quick = [], []
    for hidden in ((501, 501), (2001, 2001)):
        for name, method, temperature in (("BP", "bpi", 0.0), ("MF", "mf", 0.0), ("BP, labels in doubt", "bpi", 1.0)):
            label = f"{'-'.join(map(str, hidden))}, {name}"
            settings = {
                "hidden_layer_sizes": hidden,
                "method": method,
                "temperature": temperature,
                "replicas": 1,
                "prior_strength": [1.0] * 3,
                "damping": 0.8,
            }
            cases.append(Case(label, "mnist", settings))
            quick += [label] if hidden == (501, 501) else []
    return Experiment(
        "Six permuted MNIST tasks in turn: accuracies",
        "figure 3, no numbers given",
        tuple(cases),
        quick_epochs=1,
        full_epochs=40,
        quick_cases=tuple(quick),
        protocol=learn_in_turn,
    )
