"""
A path in the plane, found by noisy distances to four beacons alone; some are missed.

A distance is no linear measurement: it is a circle about the beacon. The factor is the function itself. Belief propagation
makes it a straight line where the path is believed to be, again and again; where that settles, the path is the most probable
one of all, which is checked by a solver of nonlinear least squares.

    python examples/range_only.py
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

import factorgraph as fg

STEPS, DRIVE, NOISE = 60, 0.02, 0.15  # deviations of the changes of speed, and of distances
BEACONS = np.array([[-3.0, -2.0], [4.0, -1.0], [3.0, 4.0], [-2.0, 3.5]])


def distance(x: np.ndarray, y: np.ndarray, left: np.ndarray, below: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """How far the place is from a beacon, less what was measured."""
    return np.hypot(x - left, y - below) - seen


def main() -> None:
    rng = np.random.default_rng(4)
    turn = 2 * np.pi * np.arange(STEPS) / 45
    path = np.stack([2.0 * np.sin(turn), 1.5 * np.sin(2 * turn + 0.5)], axis=1)
    step, beacon = np.nonzero(rng.random((STEPS, len(BEACONS))) < 0.5)  # half of the distances are missed
    ranges = np.linalg.norm(path[step] - BEACONS[beacon], axis=1) + NOISE * rng.normal(size=step.size)

    graph = fg.FactorGraph()
    place = graph.add_variables("place", fg.Gaussian(), (STEPS, 2))
    speed = graph.add_variables("speed", fg.Gaussian(), (STEPS, 2))
    graph.set_prior(place[0], fg.Gaussian.from_moments(0.0, 4.0))
    graph.set_prior(speed[0], fg.Gaussian.from_moments(0.0, 0.1))
    graph.add_factors("moves", fg.LinearGaussian([1.0, -1.0, -1.0], 1e-4), place[1:], place[:-1], speed[:-1])
    graph.add_factors("turns", fg.LinearGaussian([1.0, -1.0], DRIVE), speed[1:], speed[:-1])
    seen = fg.Nonlinear(distance, NOISE**2, data=[*BEACONS[beacon].T, ranges])
    graph.add_factors("ranges", seen, place[step, 0], place[step, 1])
    result = fg.run(graph, damping=0.3, max_iterations=5000)
    found = result.mean(place)

    def residuals(values: np.ndarray) -> np.ndarray:
        p, v = values.reshape(2, STEPS, 2)
        circles = (np.linalg.norm(p[step] - BEACONS[beacon], axis=1) - ranges) / NOISE
        moves, turns = (p[1:] - p[:-1] - v[:-1]) / 1e-2, (v[1:] - v[:-1]) / DRIVE**0.5
        return np.concatenate([circles, moves.ravel(), turns.ravel(), p[0] / 2.0, v[0] / 0.1**0.5])

    speeds = np.diff(path, axis=0, append=2 * path[-1:] - path[-2:-1])
    best = least_squares(residuals, np.stack([path, speeds]).ravel(), xtol=1e-12, ftol=1e-12, gtol=1e-12).x
    gap = np.abs(found - best.reshape(2, STEPS, 2)[0]).max()
    error = np.linalg.norm(found - path, axis=1)
    print(f"{result}: {step.size} distances, {STEPS} places")
    print(f"farthest from the most probable path {gap:.1e}, from the true one {error.max():.2f}; median {np.median(error):.2f}")
    assert gap < 1e-3
    picture(path, found, result.marginals(place)[..., 1])


def picture(path: np.ndarray, found: np.ndarray, variance: np.ndarray) -> None:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return
    figure, axes = plt.subplots(figsize=(5.5, 5), layout="constrained")
    axes.plot(*path.T, color="0.7", lw=4, label="path")
    axes.errorbar(*found.T, *(2 * np.sqrt(variance.T))[::-1], fmt="C0.-", lw=1, elinewidth=0.5, label="as found, 2 deviations")
    axes.plot(*BEACONS.T, "k^", label="beacons")
    axes.set(aspect="equal", xlim=(-4.0, 5.0), ylim=(-2.7, 4.7))
    axes.legend(loc="upper center", fontsize=8)
    figure.savefig("range_only.png", dpi=120)
    print("picture: range_only.png")


if __name__ == "__main__":
    main()
