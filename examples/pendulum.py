"""
A pendulum: extended and unscented Kalman smoothers
===================================================

The angle and the speed of a pendulum are found from noisy measurements of where its end is. The motion and the measurement
are functions and not matrices. Each is a factor, which is made linear where the state is believed to be. When messages are
sent once forward and once back, they are the extended and the unscented Kalman smoothers of the textbooks, which is checked
against recursions that are written out. When they are sent until they settle, tangents are laid where the whole path is by
then believed to be. The result is a locally most probable path, the one that a solver of nonlinear least squares finds from
there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from scipy.optimize import least_squares

import factorgraph as fg

STEPS, DT = 60, 0.05
DRIVE = 0.05 * np.array([[DT**3 / 3, DT**2 / 2], [DT**2 / 2, DT]])  # noise of the angular acceleration
NOISE = 0.1
START, SPREAD = np.array([1.2, 0.0]), np.diag([0.3, 0.3])


def swing(x: np.ndarray) -> np.ndarray:
    """Angle and speed a moment later, from arrays with the components first."""
    return np.stack([x[0] + DT * x[1], x[1] - 9.81 * DT * np.sin(x[0])])


def sight(x: np.ndarray, seen: np.ndarray | float = 0.0) -> np.ndarray:
    """How far to the side the end is, less what was seen."""
    return np.sin(x[0]) - seen


class ForwardAndBack(fg.Schedule):
    """The motion's and the sight's message of each step in turn, then the motion's messages back."""

    def plan(self, graph: fg.FactorGraph) -> fg.Plan:
        order = [("sight", 0, 0)]
        for t in range(1, STEPS):
            order += [("motion", 0, t - 1), ("sight", 0, t)]
        order += [("motion", 1, t - 1) for t in range(STEPS - 1, 0, -1)]
        return fg.Plan([(fg.Step(block, (port,), np.array([factor])),) for block, port, factor in order])


def smoothed(seen: np.ndarray, method: str, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and covariances by belief propagation, once forward and back, or so many times that it settles."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(2), STEPS)
    graph.set_prior(x[0], fg.Gaussian(2).from_moments(START, SPREAD))
    # Once: laid at the messages that come in, as the textbook does; else at the beliefs.
    settings = {"method": method, "iterations": 1 if rounds == 1 else 20}
    graph.add_factors("motion", fg.Nonlinear(swing, DRIVE, explicit=True, **settings), x[1:], x[:-1])
    graph.add_factors("sight", fg.Nonlinear(sight, NOISE, data=[seen], **settings), x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fg.ConvergenceWarning)  # one round is meant to be all
        moments = fg.Inference(graph, ForwardAndBack()).run(rounds, check_every=1).marginals(x)
    return moments[:, 0], moments[:, 1:]


def textbook(seen: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """The extended, or the unscented, Kalman filter, and Rauch, Tung and Striebel's way back."""
    Moments = tuple[np.ndarray, np.ndarray, np.ndarray]

    def moments(function: Callable[[np.ndarray], np.ndarray], m: np.ndarray, p: np.ndarray) -> Moments:
        """Mean and covariance of a function's values, and their covariance with x."""
        if method == "linearise":
            step = 1e-6 * np.eye(2)
            slope = np.stack([(function(m + e) - function(m - e)) / 2e-6 for e in step], axis=-1).reshape(-1, 2)
            return np.atleast_1d(function(m)), slope @ p @ slope.T, p @ slope.T
        root = np.sqrt(3.0) * np.linalg.cholesky(p)
        points = np.concatenate([m[:, None], m[:, None] + root, m[:, None] - root], axis=1)
        weights = np.array([1 / 3, *[1 / 6] * 4])
        values = np.atleast_2d(function(points))
        centre = values @ weights
        apart = values - centre[:, None]
        return centre, (weights * apart) @ apart.T, (weights * (points - m[:, None])) @ apart.T

    m, p = START, SPREAD
    filtered, predicted = [], []
    for t, y in enumerate(seen):
        if t:
            centre, spread, cross = moments(swing, m, p)
            m, p = centre, spread + DRIVE
            predicted.append((m, p, cross))
        centre, spread, cross = moments(sight, m, p)
        gain = cross @ np.linalg.inv(spread + NOISE)
        m, p = m + gain @ (y - centre), p - gain @ (spread + NOISE) @ gain.T
        filtered.append((m, p))
    means, covariances = [m], [p]
    for (m_f, p_f), (m_p, p_p, cross) in zip(filtered[-2::-1], predicted[::-1], strict=True):
        gain = cross @ np.linalg.inv(p_p)
        m, p = m_f + gain @ (m - m_p), p_f + gain @ (p - p_p) @ gain.T
        means.append(m)
        covariances.append(p)
    return np.array(means[::-1]), np.array(covariances[::-1])


def most_probable(seen: np.ndarray, first: np.ndarray) -> np.ndarray:
    root = np.linalg.inv(np.linalg.cholesky(DRIVE))

    def residuals(values: np.ndarray) -> np.ndarray:
        x = values.reshape(STEPS, 2)
        motion = root @ (x[1:].T - swing(x[:-1].T))
        return np.concatenate([(x[0] - START) / np.sqrt(np.diag(SPREAD)), motion.ravel(), sight(x.T, seen) / NOISE**0.5])

    return least_squares(residuals, first.ravel(), xtol=1e-14, ftol=1e-14, gtol=1e-14).x.reshape(STEPS, 2)


def main() -> None:
    rng = np.random.default_rng(0)
    state, path = np.array([1.5, 0.0]), []
    for _ in range(STEPS):
        path.append(state)
        state = swing(state) + np.linalg.cholesky(DRIVE) @ rng.normal(size=2)
    truth = np.array(path)
    seen = sight(truth.T) + NOISE**0.5 * rng.normal(size=STEPS)

    found = {}
    for name, method in (("extended", "linearise"), ("unscented", "sigma-points")):
        found[name] = smoothed(seen, method, rounds=1)
        gaps = [np.abs(ours - theirs).max() for ours, theirs in zip(found[name], textbook(seen, method), strict=True)]
        print(f"{name} smoother against the textbook's: means {gaps[0]:.0e}, covariances {gaps[1]:.0e}")
        assert max(gaps) < 1e-6
    found["settled"] = smoothed(seen, "linearise", rounds=50)
    gap = np.abs(found["settled"][0] - most_probable(seen, found["settled"][0])).max()
    print(f"settled tangents against the most probable path: {gap:.0e}")
    assert gap < 1e-4
    for name, (means, _) in found.items():
        print(f"error of the angle, {name}: {np.sqrt(np.mean((means[:, 0] - truth[:, 0]) ** 2)):.3f}")
    picture(truth, seen, found)


def picture(truth: np.ndarray, seen: np.ndarray, found: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return
    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
    time = DT * np.arange(STEPS)
    mean, spread = found["settled"][0][:, 0], np.sqrt(found["settled"][1][:, 0, 0])
    axes.fill_between(time, mean - 2 * spread, mean + 2 * spread, alpha=0.25, label="settled, 2 deviations")
    axes.plot(time, truth[:, 0], "k", lw=1, label="angle")
    axes.plot(time, seen, ".", color="0.6", ms=4, label="seen: its sine")
    for name, style in (("extended", "C1--"), ("unscented", "C5:")):
        axes.plot(time, found[name][0][:, 0], style, label=name)
    axes.set(xlabel="time (s)", ylabel="angle (rad)")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig("pendulum.png", dpi=120)
    print("picture: pendulum.png")


if __name__ == "__main__":
    main()
