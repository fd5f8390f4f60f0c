"""Chains of vectors: in few rounds, in any units, known exactly, from a flat start or a wide prior."""

from __future__ import annotations

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.inference import Inference
from factorgraph.inference.executors import passes
from tests.factorgraph.vectors import ALONG, MOTION, assert_as_dense, chain


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize("noise", [ALONG, ALONG + 0.1 * np.eye(2)], ids=["rank 1", "rank 2"])
@pytest.mark.parametrize("transition", [MOTION, np.array([[1.0, 1.0], [0.0, 0.0]])], ids=["regular", "singular"])
def test_long_chains_take_few_rounds(transition: np.ndarray, noise: np.ndarray, prior: bool) -> None:
    """Also from a flat start, where nothing but the measurements fixes the states."""
    graph = chain(200, transition, noise, prior)
    inference = Inference(graph)
    contraction = inference._passes.contraction
    assert contraction is not None
    assert len(contraction.rounds) < 40
    assert_as_dense(graph, inference.run())


@pytest.mark.parametrize("scale", [(1e6, 1e-6), (1e-5, 1e5), (1e7, 1e7)])
def test_units_do_not_matter(scale: tuple[float, float]) -> None:
    """Components of very different size, as metres and radians."""
    plain, scaled = chain(100, MOTION, ALONG), chain(100, MOTION, ALONG, scale=scale)
    expected = fg.run(plain).marginals(plain.variables("x"))
    expected[:, 0] *= scale
    expected[:, 1:] *= np.outer(scale, scale)
    for found in (fg.run(scaled), fg.exact(scaled)):
        assert found.marginals(scaled.variables("x")) == pytest.approx(expected, rel=1e-7)


def test_states_known_exactly() -> None:
    """In the midst of a chain, whole or in part; the rounds give way to the passes where they must."""
    for value in ([1.0, -0.5], [np.nan, 0.5]):
        graph = chain(150, MOTION, ALONG + 0.1 * np.eye(2))
        graph.observe(graph.variables("x")[70], value)
        assert_as_dense(graph, fg.run(graph))


def test_what_no_message_can_say_is_refused_by_name() -> None:
    """Known start, noise along one direction: the next state lies on a line that is no axis. `exact` has it."""
    graph = chain(4, MOTION, ALONG, prior=False)
    graph.observe(graph.variables("x")[0], [0.0, 0.0])
    with pytest.raises(ValueError, match=r"factors 'step': exact relations and evidence fix sums of the components"):
        fg.run(graph)
    assert_as_dense(graph, fg.exact(graph))


def test_long_chains_on_each_backend(backend: str) -> None:
    """Rounds, with measurements hung on them that are missing in part."""
    rng = np.random.default_rng(0)
    graph = chain(150, MOTION, ALONG)
    y = graph.add_variables("y", fg.Gaussian(2), 150)
    graph.add_factors("also", fg.LinearGaussian([1, -1], 0.5), y, graph.variables("x"))
    seen = rng.normal(size=(150, 2))
    seen[rng.random((150, 2)) < 0.5] = np.nan
    graph.observe(y, seen)
    assert_as_dense(graph, Inference(graph, backend=backend).run())


def test_best_values_are_the_means_also_where_noise_is_singular() -> None:
    for n in (4, 150):
        graph = chain(n, MOTION, ALONG)
        x = graph.variables("x")
        assert fg.run(graph, mode="max").mode(x) == pytest.approx(fg.run(graph).mean(x))


@pytest.mark.parametrize("variance", [1e8, 1e12])
def test_a_wide_prior_costs_no_digits(variance: float) -> None:
    graph = chain(150, MOTION, ALONG + 0.1 * np.eye(2), prior=False)
    x = graph.variables("x")
    flat = fg.run(graph).marginals(x)
    graph.set_prior(x[0], fg.Gaussian(2).from_moments([0.0, 0.0], variance * np.eye(2)))
    found = fg.run(graph)
    assert found.mean(x) == pytest.approx(fg.exact(graph).mean(x), rel=1e-10, abs=1e-10)
    assert found.marginals(x) == pytest.approx(flat, rel=100 / variance, abs=100 / variance + 1e-10)


@pytest.mark.parametrize("noise", [1e-6, 1e-10])
def test_sharp_relations_beside_others_cost_exact_answers_no_digits(noise: float) -> None:
    graph = chain(20, MOTION, noise * (ALONG + np.eye(2)))
    x = graph.variables("x")
    assert fg.exact(graph).mean(x) == pytest.approx(fg.run(graph).mean(x), rel=1e-12)


@pytest.mark.parametrize("unit", [3e5, 1e6])
def test_exact_answers_do_not_depend_on_units(unit: float) -> None:
    plain, scaled = (chain(20, MOTION, ALONG + 0.1 * np.eye(2), scale=scale) for scale in ((1, 1), (unit, 1 / unit)))
    expected = fg.exact(plain).mean(plain.variables("x"))
    assert fg.exact(scaled).mean(scaled.variables("x")) / [unit, 1 / unit] == pytest.approx(expected, rel=1e-8)


def test_what_rounds_cannot_say_on_the_way_goes_by_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the third vector one component is known exactly and the other by the first two alone."""
    monkeypatch.setattr(passes, "_MANY_STAGES", 0)
    monkeypatch.setattr(passes, "_ENTRIES_OF_A_STAGE", 10**9)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(2), 3)
    graph.add_factors("sum", fg.LinearGaussian([1.0, 1.0, [[1.0, 1.0], [1.0, -1.0]]], 0.0), x[[0]], x[[1]], x[[2]])
    graph.add_factors("known", fg.LinearGaussian([[[1.0, 0.0]]], 0.0, 1.0), x[[2]])
    graph.set_prior(x[:2], fg.Gaussian(2).from_moments([0.0, 0.0], np.eye(2)))
    inference = fg.Inference(graph, fg.Tree())
    assert inference._passes.contraction is not None
    np.testing.assert_allclose(inference.run().mean(x), fg.exact(graph).mean(x), atol=1e-12)
