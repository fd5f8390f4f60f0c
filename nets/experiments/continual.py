"""Continual learning: one network learns tasks one after another, each MNIST with its pixels in another order."""

from __future__ import annotations

from typing import Any

import numpy as np

from nets.datasets import Dataset
from nets.estimator import BPClassifier
from nets.experiments.base import Case, Experiment

TASKS = 6


def learn_in_turn(model: BPClassifier, data: Dataset, epochs: int, seed: int) -> dict[str, Any]:
    """
    Train on six permutations of the inputs in turn, going on from the beliefs as they are.

    Returns
    -------
    dict with ``metrics``, accuracies in percent after the last task (of each task, of all, and what was lost since a task was
    learnt), and ``history``: for each task learnt so far the accuracies on all tasks
    """
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(data.X_train.shape[1]) for _ in range(TASKS)]
    classes = np.unique(data.y_train)
    history: list[dict[str, float]] = []
    for number, order in enumerate(orders, start=1):
        rows = data.X_train[:, order]
        for _ in range(epochs):
            model.partial_fit(rows, data.y_train, classes)
        accuracies = [100.0 * model.score(data.X_test[:, other], data.y_test) for other in orders]
        history.append({f"task {task}": accuracy for task, accuracy in enumerate(accuracies, start=1)} | {"learnt": number})
    last = {f"task {task}": history[-1][f"task {task}"] for task in range(1, TASKS + 1)}
    when_learnt = [history[task - 1][f"task {task}"] for task in range(1, TASKS + 1)]
    mean = float(np.mean(list(last.values())))
    return {"metrics": {**last, "all tasks": mean, "forgotten": float(np.mean(when_learnt)) - mean}, "history": history}


def continual() -> Experiment:
    """Figure 3: published as a figure only; 2001-2001, 40 epochs a task, rho 1 and psi 0.8 in every layer."""
    cases = []
    for hidden, quick in (((501, 501), True), ((2001, 2001), False)):
        for name, method in (("BP", "bpi"), ("MF", "mf")):
            for prediction in ("point", "bayesian"):
                settings = {
                    "hidden_layer_sizes": hidden,
                    "method": method,
                    "prior_strength": [1.0] * 3,
                    "damping": 0.8,
                    "prediction": prediction,
                }
                label = f"{'-'.join(map(str, hidden))}, {name}, {'point-wise' if prediction == 'point' else 'Bayesian'}"
                cases.append((Case(label, "mnist", settings), quick))
    return Experiment(
        "Six permuted MNIST tasks in turn: accuracies",
        "figure 3, no numbers given",
        tuple(case for case, _ in cases),
        quick_epochs=1,
        full_epochs=40,
        quick_cases=tuple(case.label for case, quick in cases if quick and "MF" not in case.label),
        protocol=learn_in_turn,
    )
