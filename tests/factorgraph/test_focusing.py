"""Focusing with replicas against graphs in which the replicas are there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import factorgraph as fg


def replicated(kind: fg.DiscreteType, table: np.ndarray, priors: np.ndarray, replicas: int, strength: float) -> np.ndarray:
    """Marginals of the first replica, after many sweeps over all replicas of a ring and their centre."""
    graph = fg.FactorGraph()
    size = len(priors)
    x = graph.add_variables("x", kind, (replicas, size))
    centre = graph.add_variables("centre", kind, (size,))
    attraction = 2 * strength * np.eye(len(kind.states))
    for r in range(replicas):
        graph.set_prior(x[r], priors)
        graph.add_factors(f"ring{r}", fg.Table(table), x[r], x[r, (np.arange(size) + 1) % size])
        graph.add_factors(f"pull{r}", fg.Table(attraction), x[r], centre)
    return fg.run(graph, fg.Flooding(), max_iterations=5000, tolerance=1e-12).marginals(x)[0]


@pytest.mark.parametrize(("replicas", "strength"), [(2, 0.3), (3, 0.5), (7, 0.2), (3, 0.0), (1, 1.0)])
@pytest.mark.parametrize("kind", [fg.Spin(), fg.Categorical(3), fg.Levels((-1, 0, 1))], ids=repr)
def test_one_replica_feels_what_the_others_would_say(
    kind: fg.DiscreteType, replicas: int, strength: float, backend: str
) -> None:
    """The fixed point is that of the graph with all replicas, which are alike."""
    rng = np.random.default_rng(0)
    states = len(kind.states)
    priors = rng.normal(size=(5, *kind.param_shape))
    table = 0.5 * rng.normal(size=(states, states))
    graph = fg.FactorGraph()
    x = graph.add_variables("x", kind, (5,))
    other = graph.add_variables("other", kind, (2,))  # shares the pool, and is not focused
    graph.set_prior(x, priors)
    graph.set_prior(other, priors[:2])
    graph.add_factors("ring", fg.Table(table), x, x[(np.arange(5) + 1) % 5])
    inference = fg.Inference(graph, fg.Flooding(), backend=backend, dtype="float64")
    for _ in range(100):
        inference.focus(x, replicas, strength)
        inference.step()
    expected = replicated(kind, table, priors, replicas, strength)
    params = np.moveaxis(inference.state.belief(x), 0, -1)
    np.testing.assert_allclose(kind.marginals(params, fg.get_backend("numpy", "float64")).T, expected, atol=1e-9)
    np.testing.assert_array_equal(inference.state.belief(other), priors[:2])


def test_a_posterior_holds_no_message_of_the_centre(tmp_path: Path) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (3,))
    graph.add_factors("bonds", fg.Ising(0.4), x[:-1], x[1:])
    graph.set_prior(x, [0.5, 0.1, -0.2])
    plain, focused = (fg.Inference(graph, fg.Flooding()) for _ in range(2))
    for _ in range(3):
        focused.step()
        plain.step()
    focused.focus(x, 3, 0.5)
    before = focused.state.belief(x)
    np.testing.assert_array_equal(before, plain.state.belief(x))  # it acts from the next message on
    focused.step()
    assert (np.abs(focused.state.belief(x) - plain.state.belief(x)) > 1e-3).any()
    focused.state.save(tmp_path / "state.npz")
    other = fg.Inference(graph, fg.Flooding())
    other.state.load(tmp_path / "state.npz")
    for inference in (focused, other):
        inference.focus(x, 3, 0.7)
        inference.step()
    np.testing.assert_array_equal(focused.state.belief(x), other.state.belief(x))
    focused.focus(x, 1, 0.0)
    for _ in range(20):
        focused.step()
        plain.step()
    np.testing.assert_allclose(focused.state.belief(x), plain.state.belief(x), atol=1e-12)


@pytest.mark.parametrize("part", [False, True])
def test_the_centre_hears_the_posterior_without_itself(backend: str, part: bool) -> None:
    """Posterior as prior and focusing in turn: each time the centre hears the evidence alone, not what it said before."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (3,))
    if part:
        graph.add_variables("y", fg.Spin(), (2,))  # shares the pool
    graph.add_factors("silent", fg.Ising(0.0), x[:-1], x[1:])
    inference = fg.Inference(graph, fg.Flooding(), backend=backend, dtype="float64")
    evidence = np.array([2.0, 0.3, -0.7])
    inference.set_prior(x, evidence)
    inside = np.tanh(0.8) * np.tanh(2 * np.arctanh(np.tanh(0.8) * np.tanh(evidence)))
    for _ in range(4):
        inference.posterior_as_prior(x)
        np.testing.assert_allclose(inference.state.belief(x), evidence, rtol=1e-12)
        inference.focus(x, 3, 0.8)
        inference.step()
        np.testing.assert_allclose(inference.state.belief(x), evidence + np.arctanh(inside), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("strength", [1e-6, 1.0, 40.0])
def test_what_the_centre_of_spins_says_is_exact_and_finite(dtype: str, strength: float) -> None:
    """Against the general form, by states; a strong coupling says at most its own strength."""
    backend = fg.get_backend("numpy", dtype)
    fields = np.array([0.0, 1e-6, -0.5, 3.0, -30.0, 500.0], dtype=dtype)
    for replicas in (1, 2, 3, 8):
        said = fg.Spin().from_centre(fields, replicas, strength, backend)
        double = fields.astype(np.float64)
        general = fg.DiscreteType.from_centre(fg.Spin(), double, replicas, strength, fg.get_backend("numpy", "float64"))
        assert said.dtype == fields.dtype
        np.testing.assert_allclose(said, general, rtol=1e-5 if dtype == "float32" else 1e-9, atol=1e-7)


def test_what_cannot_be_focused() -> None:
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Gaussian(), (3,)), graph.add_variables("y", fg.Spin())
    graph.set_prior(x, fg.Gaussian.from_moments(0.0, np.ones(3)))
    graph.add_factors("walk", fg.LinearGaussian([1, -1], noise_variance=1.0), x[1:], x[:-1])
    inference = fg.Inference(graph, fg.Flooding())
    with pytest.raises(NotImplementedError, match="no finite set of values"):
        inference.focus(x, 2, 0.5)
    for wrong in ((0, 0.5), (2, -1.0), (1.5, 0.1)):
        with pytest.raises(ValueError, match="focus takes at least 1 replica"):
            inference.focus(y, *wrong)  # type: ignore[arg-type]
