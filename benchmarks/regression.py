"""
Small tables of numbers: `BPRegressor` as it comes beside scikit-learn's regressors, medians of splits.

    python benchmarks/regression.py [--only TEXT] [--splits 3] [--seed 0]

Root mean square error in units of the training numbers' deviation / negative log-likelihood / coverage of the central nine
tenths in percent, the last two for those that say how sure they are. All come after StandardScaler; the Gaussian process learns
a scale for each feature. A third is held out. With ``--seed`` other than 0 other splits are drawn: settings are chosen on
those, and the table is of seed 0.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import StandardScaler

from nets import BPRegressor
from nets.targets import judge_numbers


def tables() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, features and numbers of each."""
    yield "diabetes", *datasets.load_diabetes(return_X_y=True, scaled=False)
    yield "Friedman 1", *datasets.make_friedman1(1000, noise=1.0, random_state=0)
    yield "Friedman 2", *datasets.make_friedman2(1000, noise=100.0, random_state=0)
    yield "Friedman 3", *datasets.make_friedman3(1000, noise=0.1, random_state=0)
    yield "linear, 40 features", *datasets.make_regression(600, 40, n_informative=10, noise=40.0, random_state=0)
    X = np.random.default_rng(0).normal(size=(1500, 6))
    yield "products", X, X[:, 0] * X[:, 1] + np.abs(X[:, 2]) + 0.3 * np.random.default_rng(1).normal(size=1500)


def figures(model: Any, X: np.ndarray, y: np.ndarray, seed: int) -> list[float]:
    """Error in deviations, negative log-likelihood of standardised numbers, coverage."""
    train_X, test_X, train_y, test_y = train_test_split(X, y, test_size=1 / 3, random_state=seed)
    scaler, mean, deviation = StandardScaler().fit(train_X), train_y.mean(), train_y.std()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(scaler.transform(train_X), (train_y - mean) / deviation)
    sure = not isinstance(model, MLPRegressor)
    found = model.predict(scaler.transform(test_X), **({"return_std": True} if sure else {}))
    told, spread = found if sure else (found, np.full(len(test_y), np.nan))
    return list(judge_numbers(told, spread, (test_y - mean) / deviation).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="tables whose names have this text")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    models = {
        "ours": lambda seed, _: BPRegressor(random_state=seed),
        "ours, bits": lambda seed, _: BPRegressor(weights="binary", activation="sign", random_state=seed),
        "MLP": lambda seed, _: MLPRegressor(max_iter=1000, random_state=seed),
        "ridge": lambda *_: BayesianRidge(),
        "process": lambda _, n: GaussianProcessRegressor(
            ConstantKernel() * RBF(3.0 * np.ones(n)) + WhiteKernel(0.1), normalize_y=True
        ),
    }
    print(f"{'':<22}" + "".join(f"{name:>22}" for name in models))
    for name, X, y in tables():
        if options.only not in name:
            continue
        cells = ""
        for make in models.values():
            runs = [figures(make(seed, X.shape[1]), X, y, 100 * options.seed + seed) for seed in range(options.splits)]
            error, nll, coverage = np.median(runs, axis=0)
            cells += f"{f'{error:.3f} / {nll:.2f} / {coverage:.0f}' if np.isfinite(nll) else f'{error:.3f}':>22}"
        print(f"{name:<22}{cells}", flush=True)


if __name__ == "__main__":
    main()
