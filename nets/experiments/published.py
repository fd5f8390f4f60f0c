"""The experiments of Lucibello, Pittorino, Perugini and Zecchina 2022, with their settings and figures."""

from __future__ import annotations

import numpy as np

from nets.classifier import BPClassifier
from nets.datasets import Dataset
from nets.experiments.base import Case, Experiment, Published
from nets.experiments.continual import continual

_METHODS = {"BP": "bpi", "AMP": "amp", "MF": "mf"}


def _settings(hidden: tuple[int, ...], method: str, rho: tuple[float, ...], psi: object = 0.8, **others: object) -> dict:
    return {
        "hidden_layer_sizes": hidden,
        "method": method,
        "prior_strength": list(rho),
        "damping": psi,
        "averaging": False,
        "replicas": 1,
        **others,
    }


def _errors(point: tuple[float, float], train: float | None = None) -> Published:
    published = {"point-wise": point}
    return published if train is None else {**published, "train": (train, 0.0)}


def _table1() -> tuple[Case, ...]:
    """Table 1 and 2: 501-501, after 100 epochs; means and deviations from the archived curves."""
    rows = {
        ("mnist", True): ((1.430, 0.156, 0.0), (1.430, 0.115, 0.001), (1.337, 0.159, 0.001)),
        ("mnist", False): ((2.593, 0.029, 0.119), (2.623, 0.035, 0.119), (2.340, 0.089, 0.028)),
        ("fashion-mnist", True): ((2.347, 0.051, 0.061), (2.387, 0.015, 0.060), (2.307, 0.015, 0.093)),
        ("fashion-mnist", False): ((11.820, 0.229, 3.384), (11.917, 0.248, 3.692), (12.110, 0.197, 2.455)),
    }
    cases = []
    for (dataset, two), figures in rows.items():
        for (name, method), (mean, deviation, train) in zip(_METHODS.items(), figures, strict=True):
            settings = _settings((501, 501), method, (1.0001, 1.0001, 0.9))
            label = f"{dataset}, {'two' if two else 'ten'} classes, {name}"
            cases.append(Case(label, dataset, settings, two, _errors((mean, deviation), train)))
    return tuple(cases)


def _architectures() -> tuple[Case, ...]:
    """Figures 1 and 6: Fashion-MNIST, ten classes."""
    rows = {
        (101, 101): ((14.490, 0.141, 8.28), (14.407, 0.240, 8.25), (14.503, 0.100, 9.28)),
        (101, 101, 101): ((14.937, 0.480, 7.10), (15.037, 0.176, 7.43), (14.753, 0.119, 9.26)),
        (501, 501): ((11.820, 0.229, 3.384), (11.917, 0.248, 3.692), (12.110, 0.197, 2.455)),
        (501, 501, 501): ((12.450, 0.339, 0.75), (12.343, 0.224, 0.79), (12.480, 0.355, 1.40)),
    }
    cases = []
    for hidden, figures in rows.items():
        for (name, method), (mean, deviation, train) in zip(_METHODS.items(), figures, strict=True):
            rho, psi = 1.0001, [0.8] * (len(hidden) + 1)
            if hidden == (101, 101, 101):
                rho = 1.001 if name == "MF" else 1.0
            if hidden == (501, 501, 501):
                psi = [0.1, 0.1, 0.1, 0.9]
            settings = _settings(hidden, method, (*(rho,) * len(hidden), 0.9), psi)
            label = f"{'-'.join(map(str, hidden))}, {name}"
            cases.append(Case(label, "fashion-mnist", settings, False, _errors((mean, deviation), train)))
    return tuple(cases)


def _bayes() -> tuple[Case, ...]:
    """Figure 2: MNIST, two classes, 101-101; the two predictions come from runs of their own."""
    point = _settings((101, 101), "bpi", (1.0001, 1.0001, 0.9))
    bayes = _settings((101, 101), "bpi", (0.9999, 0.9999, 0.9))
    return (
        Case("run for point-wise predictions", "mnist", point, True, {"point-wise": (2.310, 0.099), "train": (0.126, 0.0)}),
        Case("run for Bayesian predictions", "mnist", bayes, True, {"Bayesian": (1.393, 0.047)}),
    )


def _sparsity() -> tuple[Case, ...]:
    """Figure 1, right: MNIST, ten classes, 101-101, weights left out at random; accuracies as errors."""
    levels = range(0, 100, 10)
    accuracies = {
        "BP": (
            (95.68, 95.76, 95.66, 95.52, 94.98, 94.53, 94.06, 92.92, 90.54, 80.43),
            (96.26, 96.36, 96.31, 96.14, 95.96, 95.63, 95.48, 95.22, 94.24, 90.72),
        ),
        "AMP": (
            (95.49, 95.18, 94.42, 93.92, 92.94, 91.81, 89.72, 84.49, 76.93, 62.43),
            (95.72, 95.35, 94.62, 94.28, 93.09, 91.89, 90.33, 86.67, 75.42, 59.52),
        ),
        "MF": (
            (95.34, 95.13, 95.13, 94.06, 93.91, 92.79, 91.02, 89.26, 83.23, 75.47),
            (97.10, 97.17, 96.90, 96.86, 96.65, 96.26, 95.67, 94.78, 93.07, 89.70),
        ),
    }
    protocols: dict[str, tuple[tuple[float, ...], list[float]]] = {
        "BP": ((1.0, 1.0, 0.9), [0.8] * 3),
        # The published AMP took the output's rho as 0 and its damping as 0.99; its code left the mask out of the variances.
        "AMP": ((1.0, 1.0, 0.9), [0.8] * 3),
        "MF": ((1.0001, 1.0001, 0.9), [0.8] * 3),
    }
    cases = []
    for name, (point, bayes) in accuracies.items():
        for level, p, b in zip(levels, point, bayes, strict=True):
            rho, psi = protocols[name]
            settings = _settings((101, 101), _METHODS[name], rho, psi, density=1.0 - level / 100)
            published: Published = {"point-wise": (100 - p, 0.0), "Bayesian": (100 - b, 0.0)}
            cases.append(Case(f"{level} % sparse, {name}", "mnist", settings, False, published, float(level), name))
    return tuple(cases)


def overlap_metrics(model: BPClassifier, data: Dataset) -> dict[str, float]:
    """Of each layer: mean squared magnetisation q0, and the mean overlap of two neurons, both times 100."""
    found = {}
    for layer, mean in enumerate(model.weight_means_, start=1):
        overlaps = mean @ mean.T / mean.shape[1]
        others = overlaps[~np.eye(len(mean), dtype=bool)]
        found[f"q0, layer {layer}"] = 100 * float(np.mean(np.diag(overlaps)))
        found[f"qab, layer {layer}"] = 100 * float(np.mean(others))
    return found


def _overlaps() -> tuple[Case, ...]:
    """Figure 8: Fashion-MNIST, ten classes, 501-501, after 100 epochs."""
    rows = {
        "BP": ((0.979, 0.914, 0.046), (0.0019, 0.0014, 0.0)),
        "AMP": ((0.944, 0.945, 0.045), (0.0138, 0.0063, 0.0)),
        "MF": ((0.976, 0.986, 0.051), (0.0019, 0.0016, 0.0)),
    }
    cases = []
    for name, (own, other) in rows.items():
        published: Published = {}
        for layer in (1, 2, 3):
            published |= {
                f"q0, layer {layer}": (100 * own[layer - 1], 0.0),
                f"qab, layer {layer}": (100 * other[layer - 1], 0.0),
            }
        settings = _settings((501, 501), _METHODS[name], (1.0001, 1.0001, 0.9))
        cases.append(Case(name, "fashion-mnist", settings, False, published))
    return tuple(cases)


def flatness_metrics(model: BPClassifier, data: Dataset) -> dict[str, float]:
    """Rise of the point-wise training error when each weight is flipped with probability p, mean of 10 draws, in percent."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(data.X_train))[:10_000]
    X, y = data.X_train[rows], data.y_train[rows]
    point = BPClassifier(**{**model.get_params(), "prediction": "point"})
    point.__dict__ |= {name: value for name, value in vars(model).items() if name not in point.get_params()}
    signs = [np.where(mean < 0, -1.0, 1.0) * (mean != 0) for mean in model.weight_beliefs_]
    found, base = {}, 100 * (1 - point.score(X, y))
    for p in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35):
        errors = []
        for _ in range(10):
            point.weight_beliefs_ = [sign * rng.choice([-1.0, 1.0], p=[p, 1 - p], size=sign.shape) for sign in signs]
            errors.append(100 * (1 - point.score(X, y)) - base)
        found[f"p = {p}"] = float(np.mean(errors))
    return found


def _flatness() -> tuple[Case, ...]:
    """Figure 7: the archived figure, Fashion-MNIST, two classes, 501-501."""
    rises = (0.0110, 0.0179, 0.0257, 0.0376, 0.0571, 0.1028, 0.1814)
    probabilities = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
    published: Published = {f"p = {p}": (100 * rise, 0.0) for p, rise in zip(probabilities, rises, strict=True)}
    return (Case("BP", "fashion-mnist", _settings((501, 501), "bpi", (1.0001, 1.0001, 0.9)), True, published),)


def seconds_metrics(model: BPClassifier, data: Dataset) -> dict[str, float]:
    """Seconds per epoch, the fastest."""
    return {"seconds": min(row["seconds"] for row in model.history_)}


def _times() -> tuple[Case, ...]:
    """Figure 9's kind: Fashion-MNIST, two classes, 101-101; published on an RTX 2080 Ti."""
    rows = {"BP": (7.5, 2.5, 2.5), "BPI": (6.3, 1.2, 0.8), "AMP": (6.5, 0.8, 0.3), "MF": (6.1, 0.7, 0.2)}
    methods = {"BP": "bpi", "BPI": "bpi", "AMP": "amp", "MF": "mf"}
    cases = []
    for name, seconds in rows.items():
        for size, value in zip((16, 128, 1024), seconds, strict=True):
            cavity = "exact" if name == "BP" else "first-order"
            own = _settings((101, 101), methods[name], (1.0001, 1.0001, 0.9), batch_size=size, cavity=cavity)
            cases.append(
                Case(f"{name}, batch {size}", "fashion-mnist", own, True, {"seconds": (value, 0.0)}, float(size), name)
            )
    return tuple(cases)


EXPERIMENTS: dict[str, Experiment] = {
    "table1": Experiment("Test errors of 501-501", "tables 1 and 2", _table1(), 3),
    "architectures": Experiment("Architectures on Fashion-MNIST", "figures 1 and 6", _architectures(), 3),
    "bayes": Experiment("Point-wise and Bayesian predictions", "figure 2", _bayes(), 20),
    "sparsity": Experiment(
        "Sparse networks on MNIST",
        "figure 1, right",
        _sparsity(),
        8,
        quick_cases=tuple(f"{level} % sparse, {name}" for name in _METHODS for level in (0, 50, 90)),
        axis="sparsity, %",
    ),
    "continual": continual(),
    "overlaps": Experiment(
        "Polarisation and overlaps of neurons", "figure 8", _overlaps(), 10, metrics=overlap_metrics, unit="x 0.01"
    ),
    "flatness": Experiment("Errors when weights are flipped", "figure 7", _flatness(), 10, metrics=flatness_metrics),
    "times": Experiment(
        "Seconds per epoch",
        "figure 9",
        _times(),
        1,
        full_epochs=3,
        quick_cases=tuple(f"{name}, batch {size}" for name in ("BPI", "AMP", "MF") for size in (128, 1024)),
        metrics=seconds_metrics,
        unit="s",
        axis="batch size",
    ),
}
