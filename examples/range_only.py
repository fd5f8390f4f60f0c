"""
A path from distances alone
===========================

Somebody walks in the plane, and noisy distances to four beacons are measured. Some measurements are missing. A distance is no
linear measurement: it is a circle around the beacon. The factor is the function itself, and belief propagation replaces it by
a straight line where the path is believed to be, again and again. Where this settles, the path is the most probable one,
which is checked by a solver of nonlinear least squares.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

import factorgraph as fg

STEPS, NOISE = 60, 0.15  # deviation of distances
MOTION = np.eye(4) + np.eye(4, k=2)
DRIVES = np.array([1e-4, 1e-4, 0.02, 0.02])  # variances of what a step adds to place and speed
START = np.array([4.0, 4.0, 0.1, 0.1])
BEACONS = np.array([[-3.0, -2.0], [4.0, -1.0], [3.0, 4.0], [-2.0, 3.5]])


def distance(state: np.ndarray, left: np.ndarray, below: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """How far the place is from a beacon, less what was measured."""
    return np.hypot(state[0] - left, state[1] - below) - seen


def main() -> None:
    rng = np.random.default_rng(4)
    turn = 2 * np.pi * np.arange(STEPS) / 45
    path = np.stack([2.0 * np.sin(turn), 1.5 * np.sin(2 * turn + 0.5)], axis=1)
    step, beacon = np.nonzero(rng.random((STEPS, len(BEACONS))) < 0.5)  # half of the distances are missed
    ranges = np.linalg.norm(path[step] - BEACONS[beacon], axis=1) + NOISE * rng.normal(size=step.size)

    graph = fg.FactorGraph()
    state = graph.add_variables("state", fg.Gaussian(4), STEPS)  # place and speed
    graph.set_prior(state[0], fg.Gaussian(4).from_moments(np.zeros(4), np.diag(START)))
    graph.add_factors("motion", fg.LinearGaussian([1, -MOTION], np.diag(DRIVES)), state[1:], state[:-1])
    seen = fg.Nonlinear(distance, NOISE**2, data=[*BEACONS[beacon].T, ranges])
    graph.add_factors("ranges", seen, state[step])
    result = fg.run(graph)
    found = result.marginals(state)

    def residuals(values: np.ndarray) -> np.ndarray:
        x = values.reshape(STEPS, 4)
        circles = (np.linalg.norm(x[step, :2] - BEACONS[beacon], axis=1) - ranges) / NOISE
        motion = (x[1:] - x[:-1] @ MOTION.T) / np.sqrt(DRIVES)
        return np.concatenate([circles, motion.ravel(), x[0] / np.sqrt(START)])

    speeds = np.diff(path, axis=0, append=2 * path[-1:] - path[-2:-1])
    best = least_squares(residuals, np.hstack([path, speeds]).ravel(), xtol=1e-12, ftol=1e-12, gtol=1e-12).x
    gap = np.abs(found[:, 0] - best.reshape(STEPS, 4)).max()
    error = np.linalg.norm(found[:, 0, :2] - path, axis=1)
    print(f"{result}: {step.size} distances, {STEPS} places")
    print(f"farthest from the most probable path {gap:.1e}, from the true one {error.max():.2f}; median {np.median(error):.2f}")
    assert gap < 1e-3
    picture(path, found[:, 0, :2], np.einsum("tii->ti", found[:, 1:3, :2]))


def picture(path: np.ndarray, found: np.ndarray, variance: np.ndarray) -> None:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return
    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    axes.plot(*path.T, color="0.7", lw=4, label="path")
    axes.errorbar(*found.T, *(2 * np.sqrt(variance.T))[::-1], fmt="C0.-", lw=1, elinewidth=0.5, label="as found, 2 deviations")
    axes.plot(*BEACONS.T, "k^", label="beacons")
    axes.set(aspect="equal", xlabel="x (arbitrary units)", ylabel="y (arbitrary units)", xlim=(-4.0, 5.0), ylim=(-2.7, 4.7))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig("range_only.png", dpi=120)
    print("picture: range_only.png")


if __name__ == "__main__":
    main()
