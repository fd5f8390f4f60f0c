"""Relations by a discrete state: against sums over all states, and what is refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import factorgraph as fg


def test_one_switch_is_exact() -> None:
    """Means, variances and probabilities of the mixture of two relations."""
    graph = fg.FactorGraph()
    s, x, y = (
        graph.add_variables("s", fg.Spin()),
        graph.add_variables("x", fg.Gaussian()),
        graph.add_variables("y", fg.Gaussian()),
    )
    graph.set_prior(s, 0.4)
    graph.set_prior(x, fg.Gaussian.from_moments(0.5, 1.0))
    graph.set_prior(y, fg.Gaussian.from_moments(-1.0, 3.0))
    lines = [fg.LinearGaussian([1.0, -2.0], 0.3, 0.2), fg.LinearGaussian([1.0, 1.0], 0.5, 3.0)]
    graph.add_factors("either", fg.Switch(lines), s, x, y)
    result = fg.run(graph)
    assert result.status == "converged"
    weights, moments = [], []
    for line, field in zip(lines, (-0.4, 0.4), strict=True):
        alone = fg.FactorGraph()
        p, q = alone.add_variables("x", fg.Gaussian()), alone.add_variables("y", fg.Gaussian())
        alone.set_prior(p, fg.Gaussian.from_moments(0.5, 1.0))
        alone.set_prior(q, fg.Gaussian.from_moments(-1.0, 3.0))
        alone.add_factors("line", line, p, q)
        exact = fg.exact(alone)
        weights.append(exact.log_partition + field)
        moments.append([exact.marginals(p), exact.marginals(q)])
    shares = np.exp(weights - np.logaddexp(*weights))
    for number, variables in enumerate((x, y)):
        means, variances = np.array([moment[number] for moment in moments]).T
        mean = shares @ means
        assert result.marginals(variables) == pytest.approx([mean, shares @ (variances + (means - mean) ** 2)])
    assert result.marginals(s) == pytest.approx(shares)
    assert result.log_partition == pytest.approx(np.logaddexp(*weights))


@pytest.mark.parametrize("backend", ["numpy", "array-api-strict"])
def test_a_walk_that_switches_is_close_to_sums_over_all_modes(backend: str) -> None:
    """Eight steps, two modes: calm and jumping; the gap is that of the collapse of each mixture."""
    steps, seen = 8, np.array([0.1, 0.0, 0.2, 2.1, 2.0, 2.2, 1.9, 2.0])
    calm, jump, noise = 0.02, 4.0, 0.05
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), steps)
    mode = graph.add_variables("mode", fg.Categorical(["calm", "jump"]), steps - 1)
    graph.set_prior(mode, np.log([0.9, 0.1]))
    graph.set_prior(x[0], fg.Gaussian.from_moments(0.0, 1.0))
    graph.add_factors("walk", fg.Switch([fg.LinearGaussian([1.0, -1.0], v) for v in (calm, jump)]), mode, x[1:], x[:-1])
    graph.add_factors("seen", fg.LinearGaussian([1.0], noise, seen), x)
    result = fg.run(graph, backend=backend, damping=0.2)
    assert result.status == "converged"
    weights, means, variances, modes = [], [], [], list(itertools.product((0, 1), repeat=steps - 1))
    walk, difference = np.eye(steps), np.eye(steps) - np.eye(steps, k=-1)
    for chosen in modes:
        spread = np.array([1.0, *np.where(chosen, jump, calm)])
        precision = difference.T @ np.diag(1.0 / spread) @ difference
        covariance = np.linalg.inv(precision + walk / noise)
        mean = covariance @ (seen / noise)
        prior = np.linalg.inv(precision) + noise * walk
        log_likelihood = -0.5 * seen @ np.linalg.solve(prior, seen) - 0.5 * np.linalg.slogdet(2 * np.pi * prior)[1]
        weights.append(log_likelihood + np.log(np.where(chosen, 0.1, 0.9)).sum())
        means.append(mean)
        variances.append(np.diag(covariance))
    top = max(weights)
    shares = np.exp(np.array(weights) - top)
    log_partition = top + np.log(shares.sum())
    shares /= shares.sum()
    expected = shares @ np.array(means)
    np.testing.assert_allclose(result.mean(x), expected, atol=1e-3)
    variance = shares @ (np.array(variances) + (np.array(means) - expected) ** 2)
    np.testing.assert_allclose(result.marginals(x)[:, 1], variance, rtol=0.01)
    jumped = shares @ np.array(modes)
    np.testing.assert_allclose(result.marginals(mode)[:, 1], jumped, atol=1e-3)
    assert result.mode(mode).tolist() == ["calm", "calm", "jump", "calm", "calm", "calm", "calm"]
    # The prior of the first value is a density without its normalisation.
    assert result.log_partition == pytest.approx(log_partition + 0.5 * np.log(2.0 * np.pi), abs=1e-2)


def test_evidence_exact_relations_and_batches() -> None:
    graph = fg.FactorGraph()
    s, x, y = (
        graph.add_variables("s", fg.Spin()),
        graph.add_variables("x", fg.Gaussian()),
        graph.add_variables("y", fg.Gaussian()),
    )
    graph.set_prior(x, fg.Gaussian.from_moments(0.5, 1.0))
    graph.add_factors(
        "either", fg.Switch([fg.LinearGaussian([1.0, -1.0], 0.0), fg.LinearGaussian([1.0, -1.0], 1.0, 1.0)]), s, x, y
    )
    inference = fg.Inference(graph, batch=3)
    inference.observe(s, [-1, 1, 1])
    inference.observe(y, [2.0, 2.0, -1.0])
    result = inference.run()
    np.testing.assert_allclose(result.marginals(x), [[2.0, 0.0], [1.75, 0.5], [0.25, 0.5]], atol=1e-9)


def test_what_cannot_be_used_is_refused() -> None:
    graph = fg.FactorGraph()
    s, x = graph.add_variables("s", fg.Spin(), 3), graph.add_variables("x", fg.Gaussian(), 3)
    one = fg.LinearGaussian([1.0], 1.0)
    with pytest.raises(TypeError, match="relations must be LinearGaussian"):
        fg.Switch([])
    with pytest.raises(TypeError, match="factors 'f': Switch takes a discrete variable and then normal ones"):
        graph.add_factors("f", fg.Switch([one, one]), x, s)
    with pytest.raises(ValueError, match="3 relations for 2 states"):
        graph.add_factors("f", fg.Switch([one] * 3), s, x)
    with pytest.raises(ValueError, match="relation 1: there are 2 coefficients for 1 ports"):
        graph.add_factors("f", fg.Switch([one, fg.LinearGaussian([1.0, 1.0], 1.0)]), s, x)
    graph.add_factors("f", fg.Switch([one, one]), s, x)
    with pytest.raises(ValueError, match="only in sum mode"):
        fg.run(graph, mode="max")


def test_vectors_switch_too() -> None:
    """A point that goes on or stays: six steps against all modes, near to them; one step is exact."""
    go, stay = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 0.0]])
    noises = [0.05 * np.eye(2), np.diag([0.05, 0.3])]
    shares = np.array([0.6, 0.4])
    for seen, gap in (([0.0, 1.0], 1e-9), ([0.0, 1.0, 2.1, 3.0, 3.1, 3.0, 3.2], 0.1)):
        steps = len(seen) - 1

        def motion(count: int, seen: list[float] = seen) -> tuple[fg.FactorGraph, fg.Variables]:
            graph = fg.FactorGraph()
            x = graph.add_variables("x", fg.Gaussian(2), count)
            graph.set_prior(x[0], fg.Gaussian(2).from_moments([0.0, 0.0], np.eye(2)))
            graph.add_factors("seen", fg.LinearGaussian([[1, 0]], 0.05, seen), x)
            return graph, x

        graph, x = motion(steps + 1)
        mode = graph.add_variables("mode", fg.Categorical(["go", "stay"]), steps)
        graph.set_prior(mode, np.log(shares))
        lines = [fg.LinearGaussian([1, -a], noise) for a, noise in zip((go, stay), noises, strict=True)]
        graph.add_factors("motion", fg.Switch(lines), mode, x[1:], x[:-1])
        result = fg.run(graph, damping=0.2)
        assert result.status == "converged"
        weights, means, modes = [], [], list(itertools.product((0, 1), repeat=steps))
        for states in modes:
            alone, y = motion(steps + 1)
            for step, state in enumerate(states):
                alone.add_factors(f"step {step}", lines[state], y[step + 1], y[step])
            exact = fg.exact(alone)
            weights.append(exact.log_partition + np.log(shares)[list(states)].sum())
            means.append(exact.mean(y))
        total = np.logaddexp.reduce(weights)
        probability = np.exp(weights - total)
        np.testing.assert_allclose(result.mean(x), np.tensordot(probability, means, 1), atol=gap)
        np.testing.assert_allclose(result.marginals(mode)[:, 1], probability @ np.array(modes), atol=gap)
        assert result.log_partition == pytest.approx(total, abs=gap)


def test_one_switch_serves_blocks_of_any_size() -> None:
    """What a block learns of its variables stays its own."""
    lines = [fg.LinearGaussian([1, -1], 0.1), fg.LinearGaussian([1, 1], [[0.2, 0.1], [0.1, 0.2]])]
    switch, results = fg.Switch(lines), []
    for sizes in ((3,), (3, 2)):
        graph = fg.FactorGraph()
        for number, size in enumerate(sizes):
            s = graph.add_variables(f"s{number}", fg.Spin(), size)
            x, y = (graph.add_variables(f"{name}{number}", fg.Gaussian(2), size) for name in "xy")
            for variables in (x, y):
                graph.set_prior(variables, fg.Gaussian(2).from_moments([1.0, -1.0], np.eye(2)))
            graph.add_factors(f"switch {number}", switch, s, x, y)
        results.append(fg.run(graph).marginals(graph.variables("x0")))
    np.testing.assert_allclose(results[0], results[1])


# Exact answers of graphs that are normal, given some states.


def weather(steps: int = 3) -> fg.FactorGraph:
    """A hidden chain of modes, a vector that moves by them, a number that is seen through either of two lenses."""
    graph = fg.FactorGraph()
    mode = graph.add_variables("mode", fg.Categorical(["calm", "wind", "storm"]), steps)
    lens = graph.add_variables("lens", fg.Spin(), steps)
    x = graph.add_variables("x", fg.Gaussian(2), steps)
    y = graph.add_variables("y", fg.Gaussian(), steps)
    graph.add_factors("stays", fg.Table(np.log(0.1 + 0.7 * np.eye(3))), mode[1:], mode[:-1])
    graph.set_prior(lens[:2], 0.3)
    graph.set_prior(x[0], fg.Gaussian(2).from_moments([1.0, 0.0], [[1.0, 0.2], [0.2, 0.5]]))
    turns = [np.eye(2), np.array([[1.0, 0.5], [0.0, 1.0]]), np.array([[0.0, -1.0], [1.0, 0.0]])]
    moves = [fg.LinearGaussian([1, -a], (0.1 + k) * np.eye(2)) for k, a in enumerate(turns)]
    graph.add_factors("moves", fg.Switch(moves), mode[1:], x[1:], x[:-1])
    looks = [fg.LinearGaussian([1, [-1, 0]], 0.2, [0.0, 0.1, 0.2]), fg.LinearGaussian([1, [0, -1]], 0.4)]
    graph.add_factors("looks", fg.Switch(looks), lens, y, x)
    graph.observe(y, [1.0, 0.4, -0.3])
    graph.observe(lens[2], 1)
    return graph


def of_all_states(graph: fg.FactorGraph) -> tuple[np.ndarray, list[tuple[dict[str, np.ndarray], Any, fg.Variables]]]:
    """Log-weights of all joint states; these, and the exact answers given them, each worked out on a graph of its own."""
    mode, lens = graph.variables("mode"), graph.variables("lens")
    rows, logs = [], []
    table = np.log(0.1 + 0.7 * np.eye(3))
    for modes in itertools.product(range(3), repeat=mode.size):
        for lenses in itertools.product((-1, 1), repeat=lens.size - 1):
            signs = (*lenses, 1)
            log = sum(table[a, b] for a, b in itertools.pairwise(modes)) + 0.3 * sum(signs[:2])
            alone = fg.FactorGraph()
            x, y = alone.add_variables("x", fg.Gaussian(2), mode.size), alone.add_variables("y", fg.Gaussian(), mode.size)
            alone.set_prior(x[0], graph.variable_blocks["x"].prior[0])  # type: ignore[index]
            alone.observe(y, graph.variable_blocks["y"].values)
            for t in range(mode.size):
                if t:
                    alone.add_factors(f"m{t}", graph.factors("moves").factor.relations[modes[t]], x[t], x[t - 1])  # type: ignore[union-attr]
                if signs[t] > 0:
                    alone.add_factors(f"l{t}", fg.LinearGaussian([1, [0, -1]], 0.4), y[t], x[t])
                else:
                    alone.add_factors(f"l{t}", fg.LinearGaussian([1, [-1, 0]], 0.2, 0.1 * t), y[t], x[t])
            result = fg.exact(alone)
            rows.append(({"mode": np.array(modes), "lens": np.array(signs)}, result, x))
            logs.append(log + result.log_partition)
    return np.array(logs), rows


def test_mixtures_are_exact() -> None:
    graph = weather()
    result = fg.exact(graph)
    logs, rows = of_all_states(graph)
    total = np.logaddexp.reduce(logs)
    assert result.log_partition == pytest.approx(total)
    weights = np.exp(logs - total)
    x, mode, lens = (graph.variables(name) for name in ("x", "mode", "lens"))
    moments = np.array([row.marginals(of_row) for _, row, of_row in rows])
    mean = np.tensordot(weights, moments[:, :, 0], 1)
    apart = moments[:, :, 0] - mean
    spread = np.tensordot(weights, moments[:, :, 1:] + apart[..., :, None] * apart[..., None, :], 1)
    np.testing.assert_allclose(result.marginals(x)[:, 0], mean, atol=1e-10)
    np.testing.assert_allclose(result.marginals(x)[:, 1:], spread, atol=1e-10)
    np.testing.assert_allclose(result.mean(x), mean, atol=1e-10)
    for name, variables, states in (("mode", mode, range(3)), ("lens", lens, (-1, 1))):
        expected = np.stack([weights @ np.array([row[name] == state for row, *_ in rows]) for state in states], axis=1)
        np.testing.assert_allclose(result.marginals(variables), expected, atol=1e-10)
    assert list(result.mode(mode)) == [["calm", "wind", "storm"][k] for k in result.marginals(mode).argmax(axis=1)]
    assert result.factor_marginals("stays").sum() == pytest.approx(2.0)
    assert result.table(mode[:1]).shape == (1, 3)
    drawn = result.sample(4000, seed=0)
    assert np.abs(drawn["x"].mean(axis=0) - mean).max() < 5 * np.sqrt(np.einsum("tii->ti", spread).max() / 4000)
    assert np.mean(drawn["mode"] == "storm", axis=0) == pytest.approx(result.marginals(mode)[:, 2], abs=0.05)
    with pytest.raises(ValueError, match="the densities of 'x' are mixtures"):
        result.mode(x)
    with pytest.raises(ValueError, match="factors 'moves' switch"):
        result.factor_marginals("moves")


def test_the_best_state_and_values_together() -> None:
    graph = weather()
    result = fg.exact(graph, mode="max")
    best = -np.inf
    _, rows = of_all_states(graph)
    table = np.log(0.1 + 0.7 * np.eye(3))
    for states, row, of_row in rows:
        log = sum(table[a, b] for a, b in itertools.pairwise(states["mode"])) + 0.3 * states["lens"][:2].sum()
        alone = fg.exact(row._graph, mode="max")
        if log + alone.log_partition > best:
            best, found, values = log + alone.log_partition, states, row.mean(of_row)
    assert result.log_partition == pytest.approx(best)
    np.testing.assert_allclose(result.mode(graph.variables("x")), values)
    assert list(result.mode(graph.variables("lens"))) == list(found["lens"])


def test_belief_propagation_is_near_to_the_mixture() -> None:
    graph = weather()
    exact, result = fg.exact(graph), fg.run(graph, damping=0.3)
    assert result.status == "converged"
    for name in ("x", "mode"):
        np.testing.assert_allclose(result.marginals(graph.variables(name)), exact.marginals(graph.variables(name)), atol=0.4)


def test_too_many_states_and_other_factors_are_refused() -> None:
    with pytest.raises(fg.TooLargeError, match=r"the variables that switch have .* joint states, more than 4096"):
        fg.exact(many_modes())
    graph = fg.FactorGraph()
    s, x = graph.add_variables("s", fg.Spin(), 3), graph.add_variables("x", fg.Gaussian(), 3)
    graph.add_factors("link", fg.Likelihood(lambda v, sign: -((v - sign) ** 2)), x, s)
    with pytest.raises(
        TypeError, match="factors 'link' have discrete and normal variables, and are no linear relation in each"
    ):
        fg.exact(graph)


def many_modes() -> fg.FactorGraph:
    graph = fg.FactorGraph()
    s, x = graph.add_variables("s", fg.Spin(), 20), graph.add_variables("x", fg.Gaussian(), 20)
    graph.add_factors("either", fg.Switch([fg.LinearGaussian([1.0], 1.0), fg.LinearGaussian([1.0], 2.0)]), s, x)
    return graph


def test_states_that_are_ruled_out_count_nothing() -> None:
    graph = fg.FactorGraph()
    s, x = graph.add_variables("s", fg.Spin(), 2), graph.add_variables("x", fg.Gaussian(), 2)
    graph.add_factors("equal", fg.Table([[0.0, -np.inf], [-np.inf, 0.0]]), s[0], s[1])
    graph.add_factors("either", fg.Switch([fg.LinearGaussian([1.0], 1.0, -1.0), fg.LinearGaussian([1.0], 1.0, 1.0)]), s, x)
    graph.add_factors("near", fg.LinearGaussian([1.0, -1.0], 1.0), x[0], x[1])
    result = fg.exact(graph)
    assert len(result.weights) == 2  # type: ignore[union-attr]
    assert result.mean(x) == pytest.approx([0.0, 0.0], abs=1e-12)
    graph.observe(s, [1, 1])
    assert (fg.exact(graph).mean(x) > 0.9).all()
    graph.observe(s, [1, -1])
    with pytest.raises(fg.ContradictionError):
        fg.exact(graph)
