"""
A plane followed by radar
=========================

The position and the speed of a plane are found from noisy positions. Many measurements are missing, and some give one
coordinate alone. A state is one vector of four numbers. Its motion is a matrix, with noise only along the two accelerations,
so that the covariance of the noise is singular. What was not measured is not observed: it is NaN. On this chain belief
propagation is the Kalman smoother. Means, covariances and the likelihood are checked against sparse linear algebra, and
against a filter that is written out step by step.
"""

from __future__ import annotations

import numpy as np

import factorgraph as fg

STEPS, DT = 120, 1.0
DRIVE, NOISE = 0.02, 3.0  # variances of the accelerations, and of positions as they are seen
MOTION = np.eye(4) + DT * np.eye(4, k=2)  # (left, up, speed left, speed up)
PUSH = np.vstack([0.5 * DT**2 * np.eye(2), DT * np.eye(2)])
START = np.diag([100.0, 100.0, 4.0, 4.0])


def flight(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """True states, and what was seen of their positions."""
    state, states = np.array([-40.0, 20.0, 1.5, 0.0]), []
    for _ in range(STEPS):
        states.append(state)
        state = MOTION @ state + PUSH @ (np.sqrt(DRIVE) * rng.normal(size=2))
    seen = np.array(states)[:, :2] + np.sqrt(NOISE) * rng.normal(size=(STEPS, 2))
    seen[rng.random(STEPS) < 0.4] = np.nan  # missed
    seen[60:80] = np.nan  # behind a mountain
    seen[rng.random((STEPS, 2)) < 0.1] = np.nan  # one coordinate alone is lost
    return np.array(states), seen


def filtered(seen: np.ndarray) -> np.ndarray:
    """The Kalman filter's means, step by step."""
    mean, covariance, means = np.zeros(4), START, []
    for t, y in enumerate(seen):
        if t:
            mean, covariance = MOTION @ mean, MOTION @ covariance @ MOTION.T + DRIVE * PUSH @ PUSH.T
        h = np.eye(4)[:2][~np.isnan(y)]
        gain = covariance @ h.T @ np.linalg.inv(h @ covariance @ h.T + NOISE * np.eye(len(h)))
        mean, covariance = mean + gain @ (y[~np.isnan(y)] - h @ mean), covariance - gain @ h @ covariance
        means.append(mean)
    return np.array(means)


def main() -> None:
    states, seen = flight(np.random.default_rng(7))
    graph = fg.FactorGraph()
    x = graph.add_variables("state", fg.Gaussian(4), STEPS)
    y = graph.add_variables("position", fg.Gaussian(2), STEPS)
    graph.set_prior(x[0], fg.Gaussian(4).from_moments(np.zeros(4), START))
    graph.add_factors("motion", fg.LinearGaussian([1, -MOTION], DRIVE * PUSH @ PUSH.T), x[1:], x[:-1])
    graph.add_factors("radar", fg.LinearGaussian([1, -np.eye(4)[:2]], NOISE), y, x)
    graph.observe(y, seen)
    result = fg.run(graph)
    moments = result.marginals(x)  # mean in the first row, covariance below it

    exact = fg.exact(graph)
    gaps = [
        np.abs(result.mean(x) - exact.mean(x)).max(),
        max(np.abs(moments[t, 1:] - exact.covariance(x[t])).max() for t in range(0, STEPS, 7)),
        abs(result.log_partition - exact.log_partition),
        np.abs(result.mean(x[-1]) - filtered(seen)[-1]).max(),
    ]
    print("largest difference from linear algebra: mean {:.0e}, covariance {:.0e}, log-likelihood {:.0e}".format(*gaps))
    print(f"the last state differs from the filter's by {gaps[3]:.0e}")
    assert max(gaps) < 1e-8
    error = [np.linalg.norm(found[:, :2] - states[:, :2], axis=1) for found in (result.mean(x), filtered(seen))]
    whole, part = (~np.isnan(seen)).all(axis=1).sum(), (~np.isnan(seen)).any(axis=1).sum()
    print(
        f"{whole} of {STEPS} positions seen, {part - whole} more in part; error of the smoother {error[0].mean():.2f}, "
        f"of the filter {error[1].mean():.2f}"
    )
    apart = states[:, :2] - moments[:, 0, :2]
    inside = np.einsum("ti,tij,tj->t", apart, np.linalg.inv(moments[:, 1:3, :2]), apart) < 5.99
    print(f"{inside.mean():.0%} of the true positions are inside their 95 % ellipses")
    picture(states, seen, moments)


def picture(states: np.ndarray, seen: np.ndarray, moments: np.ndarray) -> None:
    try:
        import matplotlib.pyplot as plt
        from matplotlib.patches import Ellipse
    except ImportError:
        return
    plt.style.use("tableau-colorblind10")
    figure, axes = plt.subplots(figsize=(5.5, 6), layout="constrained")
    for mean, covariance in zip(moments[:, 0, :2], moments[:, 1:3, :2], strict=True):
        sizes, vectors = np.linalg.eigh(covariance)
        angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
        width, height = 2 * np.sqrt(5.99 * sizes[::-1])
        axes.add_patch(Ellipse(mean, width, height, angle=angle, color="C0", alpha=0.12, lw=0))
    axes.plot(*states[:, :2].T, color="0.2", lw=1, label="flight")
    axes.plot(*seen.T, ".", color="C1", ms=5, label="radar")
    axes.plot(*moments[:, 0, :2].T, color="C0", lw=1.5, label="smoothed, 95 % ellipses")
    axes.set(aspect="equal", xlabel="east (km)", ylabel="north (km)")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig("tracking.png", dpi=120)
    print("picture: tracking.png")


if __name__ == "__main__":
    main()
