"""Networks trained by all ranks together, against those of one. Prints the largest differences of the beliefs as JSON."""

from __future__ import annotations

import json

import numpy as np

import factorgraph as fg
from nets import BPClassifier, BPRegressor, load_dataset

ranks = fg.get_communicator("mpi")
data = load_dataset("digits")
X, y = data.X_train[:220], data.y_train[:220]

CASES = {
    "mf, replicas": {"method": "mf", "replicas": 7},
    "bpi": {"method": "bpi"},
    "bpi, exact, masks": {"method": "bpi", "cavity": "exact", "density": 0.5},
    "amp, two sweeps": {"method": "amp", "iterations": 2},
    "bp, two sweeps": {"method": "bp", "iterations": 2},
    "reinforced": {"method": "amp", "iterations": 2, "reinforcement": 0.1},
    "biases, three values": {"biases": True, "weights": "ternary"},
    "noise of the sums": {"activation_noise": 0.1, "weights": (-3, -1, 1, 3)},
    "real weights": {"weights": "real", "activation": "relu"},
    "labels in doubt": {"temperature": 0.5},
    "large batches": {"batch_size": 200},
    "convolution": {"layers": ["4c3", "pool2", "11"], "method": "mf", "replicas": 3},
    "early stopping": {"early_stopping": True, "epochs": 3, "n_epochs_no_change": 1},
    "validation": {"epochs": 2},
}


def beliefs(model: BPClassifier | BPRegressor) -> list[np.ndarray]:
    return [np.asarray(belief) for belief in model.weight_beliefs_]


def distance(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(float(np.abs(mine - theirs).max()) for mine, theirs in zip(one, other, strict=True))


found = {}
few = {"mf, replicas", "real weights", "convolution", "validation"}  # where the other number of ranks has seen all
for name, settings in CASES.items():
    if ranks.size == 2 and name not in few:
        continue
    given = {"hidden_layer_sizes": (13, 11), "batch_size": 50, "epochs": 1, "random_state": 0, "dtype": "float64", **settings}
    held = {"validation_data": (data.X_test[:101], data.y_test[:101])} if name == "validation" else {}
    together = BPClassifier(**given, communicator=ranks).fit(X, y, **held)
    alone = BPClassifier(**given).fit(X, y, **held)
    assert len(set(ranks.gather(b"".join(belief.tobytes() for belief in beliefs(together))))) == 1, name
    assert together.n_iter_ == alone.n_iter_, name
    if held:
        keys = [key for key in alone.history_[-1] if key != "seconds"]
        np.testing.assert_allclose(*[[m.history_[-1][key] for key in keys] for m in (together, alone)], rtol=1e-9)
    found[name] = distance(beliefs(together), beliefs(alone))

single = {"hidden_layer_sizes": (13, 11), "epochs": 1, "random_state": 0}
weights = np.random.default_rng(0).random(220)
models = [BPClassifier(**single, communicator=one).fit(X, y, sample_weight=weights) for one in (ranks, None)]
found["single precision, rows that count"] = distance(beliefs(models[0]), beliefs(models[1]))
models = [
    BPRegressor((13,), epochs=2, random_state=0, dtype="float64", communicator=one).fit(X, X[:, :2] + 1.0)
    for one in (ranks, None)
]
found["regression"] = distance(beliefs(models[0]), beliefs(models[1]))
parts = [BPClassifier(**single, communicator=one) for one in (ranks, None)]
for model in parts:
    for rows in (slice(0, 100), slice(100, 220)):
        model.partial_fit(X[rows], y[rows], classes=np.arange(10))
found["single precision, part by part"] = distance(beliefs(parts[0]), beliefs(parts[1]))
if ranks.rank == 0:
    print(json.dumps(found))
