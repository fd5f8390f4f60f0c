"""What ranks refuse together: prints the messages of all ranks as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

import factorgraph as fg
from nets import BPClassifier, BPRegressor, load_dataset

ranks = fg.get_communicator("mpi")
data = load_dataset("digits")
X, y = data.X_train[:200], data.y_train[:200]


def fit(scale: float = 1.0, seed: int = 0, **settings: Any) -> None:
    BPClassifier((5,), random_state=seed, communicator=ranks, **{"epochs": 1, **settings}).fit(scale * X, y)


def chain(
    kind: fg.VariableType | None = None, schedule: fg.Schedule | None = None, field: float = 0.0, shared: Any = "ends"
) -> Any:
    """A chain of three on each rank, of which the ends meet."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", kind or fg.Categorical(2), 3)
    graph.add_factors("bonds", fg.Potts(0.5), x[:-1], x[1:])
    graph.set_prior(x[2 if ranks.rank == 0 else 0], field * np.arange(len(x.type.states)))
    numbers = {x: np.arange(3) + 2 * ranks.rank} if isinstance(shared, str) else shared and shared(x)
    return fg.Inference(graph, schedule or fg.Flooding(), communicator=ranks, shared=numbers).run()


def contradiction() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 2)
    graph.add_factors("equal", fg.Equality(), x[0], x[1])
    graph.observe(x[0], 1 - 2 * ranks.rank)
    fg.Inference(graph, communicator=ranks, shared={x[1]: 7}).run()


def plates() -> None:
    graph = fg.FactorGraph()
    w = graph.add_variables("w", fg.Gaussian(), (1, 2 + ranks.rank))
    x, z = graph.add_variables("x", fg.Data(), (2 + ranks.rank, 3)), graph.add_variables("z", fg.Spin(), (1, 3))
    from nets import Perceptron

    graph.add_factors("layer", Perceptron(), w, x, z)
    fg.Inference(graph, fg.Flooding(), communicator=ranks, shared=[w])


CASES: dict[str, Callable[[], Any]] = {
    "settings": lambda: fit(epochs=1 + ranks.rank),
    "seeds": lambda: fit(seed=ranks.rank),
    "rows": lambda: fit(scale=1.0 + ranks.rank),
    "few rows": lambda: fit(batch_size=1),
    "regression": lambda: BPRegressor((3 + ranks.rank,), communicator=ranks).fit(X, y),
    "priors": lambda: chain(field=float(ranks.rank)),
    "nothing shared": lambda: chain(shared=None),
    "exact schedule": lambda: chain(schedule=fg.Tree()),
    "by priority": lambda: chain(schedule=fg.Residual()),
    "types": lambda: chain(kind=fg.Categorical(2 + ranks.rank)),
    "numbers": lambda: chain(shared=lambda x: {x: np.zeros(3, dtype=int)}),
    "too few numbers": lambda: chain(shared=lambda x: {x: np.arange(2)}),
    "negative numbers": lambda: chain(shared=lambda x: {x: np.arange(3) - 1}),
    "contradiction": contradiction,
    "plates": plates,
}

found = {}
for name, case in CASES.items():
    try:
        case()
        told = "nothing is refused"
    except ValueError as error:
        told = str(error)
    found[name] = ranks.gather(told)
if ranks.rank == 0:
    print(json.dumps(found))
