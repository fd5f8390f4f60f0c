"""Vectors with normal beliefs: against dense linear algebra, in part observed, without noise, read and refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.backends import get_backend, small_matrices
from factorgraph.inference import Inference
from factorgraph.inference.executors import passes
from factorgraph.testing import check_factor, check_variable
from tests.factorgraph.vectors import ALONG, MOTION, Dense, assert_as_dense, chain, covariances, random_tree


@pytest.mark.parametrize("rank", [None, 1])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6])
def test_trees_are_exact(d: int, rank: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By depth and in few rounds, with noise in all directions and in one, components missing; and `exact`."""
    graph = random_tree(d, d, 10, rank)
    assert_as_dense(graph, fg.run(graph))
    assert_as_dense(graph, fg.exact(graph))
    monkeypatch.setattr(passes, "_MANY_STAGES", 1)
    inference = Inference(graph)
    assert inference._passes.contraction is not None
    assert_as_dense(graph, inference.run())


@pytest.mark.parametrize("d", [1, 3])
def test_cycles_have_exact_means(d: int) -> None:
    graph = random_tree(10 + d, d, 12, cycle=True)
    result = fg.run(graph, damping=0.3, tolerance=1e-11)
    assert result.status == "converged"
    dense = Dense(graph)
    x = graph.variables("x")
    assert result.mean(x) == pytest.approx(dense.moments(x)[:, 0], abs=1e-8)
    assert_as_dense(graph, fg.exact(graph))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_backends_batches_and_modes_agree(backend: str, dtype: str) -> None:
    graph = random_tree(3, 3, 8, 1)
    y = graph.variables("y")
    values = np.random.default_rng(1).normal(size=(2, 8, 1))
    values[1, 2:5] = np.nan
    tolerance = 1e-8 if dtype == "float64" else 2e-3
    for mode in ("sum", "max"):
        inference = Inference(graph, batch=2, backend=backend, dtype=dtype, mode=mode)
        inference.observe(y, values)
        result = inference.run()
        for number in range(2):
            graph.observe(y, values[number])
            x = graph.variables("x")
            assert result.marginals(x)[number] == pytest.approx(Dense(graph).moments(x), rel=tolerance, abs=tolerance)
            assert result.log_partition[number] == pytest.approx(fg.exact(graph, mode=mode).log_partition, rel=tolerance)


def test_max_mode_gives_the_density_at_the_mode() -> None:
    graph = random_tree(0, 2, 6)
    result = fg.run(graph, mode="max")
    best = {name: result.mode(graph.variables(name)) for name in graph.variable_blocks}
    log_density = 0.0
    for block in graph.factor_blocks.values():
        values = [np.moveaxis(best[port.name][port.index], 0, -1) for port in block.ports]
        log_density += block.bound.factor.log_potential(*values).sum()  # type: ignore[union-attr]
    prior = graph.variable_blocks["x"].prior[0]  # type: ignore[index]
    log_density += prior[0] @ best["x"][0] - 0.5 * best["x"][0] @ prior[1:] @ best["x"][0]
    assert result.log_partition == pytest.approx(log_density)


def test_exact_relations_carry_certainty() -> None:
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(3, 3))
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(3), 4)
    graph.add_factors("step", fg.LinearGaussian([1, -matrix], 0.0, 1.0), x[1:], x[:-1])
    graph.observe(x[0], [1.0, 2.0, 3.0])
    result = fg.run(graph)
    expected = [np.array([1.0, 2.0, 3.0])]
    for _ in range(3):
        expected.append(matrix @ expected[-1] + 1.0)
    assert result.mean(x) == pytest.approx(np.array(expected))
    assert result.marginals(x)[:, 1:] == pytest.approx(np.zeros((4, 3, 3)))
    graph.observe(x[3], expected[3] + 1.0)
    with pytest.raises(fg.ContradictionError):
        fg.run(graph)


def test_sums_differences_and_equality_need_no_matrices() -> None:
    rng = np.random.default_rng(4)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(3), 3)
    for i in range(2):
        graph.set_prior(x[i], fg.Gaussian(3).from_moments(rng.normal(size=3), covariances(rng, 1, 3)[0]))
    graph.add_factors("sum", fg.LinearGaussian([1, 1, -1], 0.0), x[0], x[1], x[2])
    copy = graph.add_variables("copy", fg.Gaussian(3))
    graph.add_factors("same", fg.LinearGaussian([1, -1], 0.0), x[2], copy)
    first = graph.add_variables("first", fg.Gaussian())
    graph.add_factors("selected", fg.LinearGaussian([[1, 0, 0], -1], 0.0), copy, first)
    assert_as_dense(graph, fg.run(graph))


def test_factor_marginals_are_joint() -> None:
    graph = random_tree(5, 2, 6)
    dense = Dense(graph)
    for result in (fg.run(graph), fg.exact(graph)):
        found = result.factor_marginals("step")
        block = graph.factors("step")
        for f in range(block.count):
            numbers = np.concatenate([2 * int(port.index[f]) + np.arange(2) for port in block.ports])
            assert found[f, 0] == pytest.approx(dense.mean[numbers])
            assert found[f, 1:] == pytest.approx(dense.covariance[np.ix_(numbers, numbers)])


def test_exact_results_are_drawn_from_and_read() -> None:
    graph = random_tree(6, 2, 6)
    result = fg.exact(graph)
    drawn = result.sample(20_000, seed=0)
    x = graph.variables("x")
    moments = result.marginals(x)
    assert drawn["x"].shape == (20_000, 6, 2)
    error = np.sqrt(np.einsum("nii->ni", moments[:, 1:]) / 20_000)
    assert (np.abs(drawn["x"].mean(axis=0) - moments[:, 0]) < 5 * error).all()
    assert np.cov(drawn["x"][:, 3].T) == pytest.approx(moments[3, 1:], rel=0.1, abs=0.05)
    assert result.covariance(x[2], x[4]).shape == (2, 2)
    assert result.covariance(x[2]) == pytest.approx(moments[2, 1:])
    assert list(fg.run(graph).table(x[:1]).columns[:3]) == ["mean 0", "mean 1", "covariance 0 0"]


def test_states_are_saved_adopted_and_released(tmp_path: Path) -> None:
    graph = random_tree(7, 2, 6)
    y = graph.variables("y")
    inference = Inference(graph)
    before = inference.run().marginals(graph.variables("x"))
    inference.state.save(tmp_path / "state.npz")
    inference.unobserve(y[2])
    inference.observe(y[3], [7.0])
    assert np.abs(inference.run().marginals(graph.variables("x")) - before).max() > 1e-3
    other = Inference(graph)
    other.state.load(tmp_path / "state.npz")
    assert other.run().marginals(graph.variables("x")) == pytest.approx(before)
    other.adopt(inference)
    changed = inference.run().marginals(graph.variables("x"))
    assert other.run().marginals(graph.variables("x")) == pytest.approx(changed)
    assert pickle.loads(pickle.dumps(fg.Gaussian(3))) == fg.Gaussian(3) != fg.Gaussian(2)
    assert isinstance(fg.Gaussian(), fg.Gaussian)


def test_many_small_blocks_run_as_one() -> None:
    rng = np.random.default_rng(8)
    apart, together = fg.FactorGraph(), fg.FactorGraph()
    matrices, noise = rng.normal(size=(5, 2, 2)), covariances(rng, 5, 2)
    for graph in (apart, together):
        x = graph.add_variables("x", fg.Gaussian(2), 6)
        graph.set_prior(x[0], fg.Gaussian(2).from_moments([1.0, 2.0], np.eye(2)))
        if graph is together:
            graph.add_factors("step", fg.LinearGaussian([1, -matrices], noise), x[1:], x[:-1])
        else:
            for i in range(5):
                graph.add_factors(f"step {i}", fg.LinearGaussian([1, -matrices[i]], noise[i]), x[i + 1], x[i])
    assert len(Inference(apart).layout.groups) == 1
    assert fg.run(apart).marginals(apart.variables("x")) == pytest.approx(fg.run(together).marginals(together.variables("x")))


def test_what_is_wrong_is_named() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(2), 3)
    with pytest.raises(ValueError, match=r"factors 'a': noise_variance must be symmetric"):
        graph.add_factors("a", fg.LinearGaussian([1, -1], [[1, 0.5], [0, 1]]), x[1:], x[:-1])
    with pytest.raises(ValueError, match=r"noise_variance must have no negative direction; its smallest eigenvalue is -1"):
        graph.add_factors("a", fg.LinearGaussian([1, -1], [[1, 2], [2, 1]]), x[1:], x[:-1])
    with pytest.raises(ValueError, match=r"coefficient 1 has shape \(2, 3\); .* a matrix \(2, 2\)"):
        graph.add_factors("a", fg.LinearGaussian([1, np.ones((2, 3))], 1.0), x[1:], x[:-1])
    with pytest.raises(ValueError, match=r"noise_variance has shape \(3,\); expected a number, a covariance \(2, 2\)"):
        graph.add_factors("a", fg.LinearGaussian([1, -1], np.ones(3)), x[1:], x[:-1])
    with pytest.raises(ValueError, match=r"offset has shape \(3,\)"):
        graph.add_factors("a", fg.LinearGaussian([1, -1], 1.0, np.ones(3)), x[1:], x[:-1])
    with pytest.raises(ValueError, match="must be finite"):
        graph.add_factors("a", fg.LinearGaussian([1, np.nan], 1.0), x[1:], x[:-1])
    with pytest.raises(ValueError, match="a row has only coefficients of 0"):
        graph.add_factors("a", fg.LinearGaussian([[[1, 0], [0, 0]]], 1.0), x)
    with pytest.raises(
        ValueError, match=r"observed values of 'x': inf is not a finite number; write NaN for a component that is not observed"
    ):
        graph.observe(x, np.inf)
    with pytest.raises(ValueError, match=r"observed values of 'x' have shape \(3,\); expected \(3, 2\)"):
        graph.observe(x, np.ones(3))
    with pytest.raises(ValueError, match="prior of 'x': its precision is not symmetric"):
        graph.set_prior(x, [[0, 0], [1, 1], [0, 1]])
    with pytest.raises(ValueError, match="covariance must be positive definite; observe what is certain"):
        fg.Gaussian(2).from_moments([0, 0], [[1, 1], [1, 1]])
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 2\) and \(\.\.\., 2, 2\)"):
        fg.Gaussian(2).from_moments([0, 0, 0], np.eye(2))
    for dimension in (0, 1.5, True):
        with pytest.raises(ValueError, match="the dimension of a vector must be a whole number of at least 1"):
            fg.Gaussian(dimension)
    improper = chain(3, MOTION, ALONG, prior=False)
    improper.add_variables("loose", fg.Gaussian(2))
    with pytest.raises(fg.ImproperModelError, match=r"look at 'loose'\[[01]\]"):
        fg.exact(improper)


def test_elimination(backend: str) -> None:
    """Random systems, some of them singular; scales of rows and columns do not matter."""
    library = get_backend(backend, "float64")
    rng = np.random.default_rng(0)
    matrices, rights = rng.normal(size=(4, 4, 6)), rng.normal(size=(4, 2, 6))
    matrices[:, :, 1] = np.outer(matrices[:, 0, 1], matrices[0, :, 1])
    rights[:, :, 1] = matrices[:, :, 1] @ rng.normal(size=(4, 2))  # has solutions
    matrices[2, :, 2], rights[2, :, 2] = 0.0, 1.0  # has none
    matrices[:, :, 3] *= np.outer([1e9, 1, 1e-9, 1], [1, 1e8, 1, 1e-8])
    found = small_matrices.eliminate(library.asarray(matrices), library.asarray(rights), library.xp)
    values, left, known = (library.to_host(part) for part in (found.values, found.left, found.found))
    for item in range(6):
        if item == 2:
            assert np.abs(left[:, :, item]).max() > 0.1
            continue
        scale = np.abs(matrices[:, :, item]) @ np.abs(values[:, :, item])
        assert np.abs(matrices[:, :, item] @ values[:, :, item] - rights[:, :, item]).max() <= 1e-12 * scale.max()
        assert known[:, item].sum() == (1 if item == 1 else 4)
        if item != 1:
            assert library.to_host(found.log_determinant)[item] == pytest.approx(np.linalg.slogdet(matrices[:, :, item])[1])


@pytest.mark.parametrize("d", [None, 1, 2, 3, 6])
def test_beliefs_follow_the_normal_distribution(d: int | None) -> None:
    check_variable(fg.Gaussian(d) if d else fg.Gaussian())


CHECKED = [
    (fg.LinearGaussian([[[1.0, 0.5], [0.3, -1]], [0.7, -0.2]], [[1.0, 0.3], [0.3, 0.8]], [0.1, -0.2]), [2, None]),
    (fg.LinearGaussian([[1.0, 0.5, -0.4]], [1.0, 0.5, 0.8]), [3]),
    (fg.Switch([fg.LinearGaussian([1, -1], 0.8), fg.LinearGaussian([1, 0.5], 1.3, 0.4)]), ["s", None, None]),
    (fg.Switch([fg.LinearGaussian([[0.5, -1]], 0.8), fg.LinearGaussian([[1, 0.5]], 1.3, 0.4)]), ["s", 2]),
    (fg.Likelihood(lambda x, y: y * x - np.exp(0.3 * x), data=[[1.0, 0, 2]]), [None]),
    (fg.Likelihood(lambda x, s: -np.log1p(np.exp(-s * x))), [None, "s"]),
    (fg.Nonlinear(lambda v: 0.5 * v[0] - v[1], 0.7, method="sigma-points"), [2]),
]


@pytest.mark.parametrize(("factor", "kinds"), CHECKED, ids=lambda value: repr(value)[:20])
def test_factors_have_the_moments_of_what_they_multiply(factor: fg.Factor, kinds: list[Any]) -> None:
    check_factor(factor, *(fg.Spin() if kind == "s" else fg.Gaussian(kind) if kind else fg.Gaussian() for kind in kinds))


class TooSure(fg.LinearGaussian):
    """Forgets half of the noise."""

    def log_potential(self, *values: np.ndarray) -> np.ndarray:
        return 2.0 * super().log_potential(*values)


class WrongShares(fg.Switch):
    """Takes the one relation for the other."""

    def log_potential(self, *values: np.ndarray) -> np.ndarray:
        return super().log_potential(-values[0], *values[1:])


def test_wrong_moments_are_told() -> None:
    with pytest.raises(AssertionError, match=r"log_partition at \(0,\) is .*; integration gives"):
        check_factor(TooSure([[1.0, 0.5]], 1.0), fg.Gaussian(2))
    lines = [fg.LinearGaussian([1.0], 0.8), fg.LinearGaussian([1.0], 1.3, 0.9)]
    with pytest.raises(AssertionError, match="integration gives"):
        check_factor(WrongShares(lines), fg.Spin(), fg.Gaussian())
    with pytest.raises(ValueError, match="at most 3 numbers"):
        check_factor(fg.LinearGaussian([1, 1], 1.0), fg.Gaussian(2), fg.Gaussian(2))


def test_parts_of_a_graph_have_exact_answers_of_their_own() -> None:
    """Two chains that do not touch: the parts' factors are some of a block's."""
    pytest.importorskip("pymetis")
    rng = np.random.default_rng(9)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(2), (2, 5))
    graph.set_prior(x, fg.Gaussian(2).from_moments([1.0, 0.0], np.eye(2)))
    steps = fg.LinearGaussian([1, -rng.normal(size=(8, 2, 2))], covariances(rng, 8, 2), rng.normal(size=(8, 2)))
    graph.add_factors("steps", steps, x[:, 1:].reshape(8), x[:, :-1].reshape(8))
    parts = fg.partition(graph, 2)
    assert sum(fg.exact(part.graph).log_partition for part in parts) == pytest.approx(fg.exact(graph).log_partition)


def test_cycles_that_do_not_settle_are_told() -> None:
    """A proper model that is not walk-summable: messages grow, which is told in words; `exact` has the answer."""
    n = 12
    i, j = np.triu_indices(n, 1)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(2), n)
    graph.add_factors("pairs", fg.LinearGaussian([1, 1], 4.0), x[i], x[j])
    precision = (1 - 0.25 * (n - 1)) * np.eye(2)
    graph.set_prior(x, np.stack([np.vstack([[value, -value], precision]) for value in np.linspace(-1, 1, n)]))
    with pytest.warns(fg.ConvergenceWarning, match=r"messages grow without end .*fg\.exact"):
        result = fg.run(graph, max_iterations=2000)
    assert result.status == "diverged"
    assert fg.exact(graph).mean(x) == pytest.approx(Dense(graph).moments(x)[:, 0])


@pytest.mark.parametrize("n", [6, 150])
def test_steps_have_inputs(n: int) -> None:
    """Factors of three variables of two types, by depth and in rounds; known and unknown inputs, noise each its own."""
    rng = np.random.default_rng(0)
    graph = fg.FactorGraph()
    x, u = graph.add_variables("x", fg.Gaussian(2), n), graph.add_variables("u", fg.Gaussian(), n - 1)
    graph.set_prior(x[0], fg.Gaussian(2).from_moments([0.0, 0.0], np.eye(2)))
    graph.set_prior(u, fg.Gaussian.from_moments(0.5, 2.0))
    graph.observe(u[::2], rng.normal(size=len(u[::2])))
    steps = fg.LinearGaussian([1, -0.9 * np.eye(2), [1.0, 0.5]], covariances(rng, n - 1, 2))
    graph.add_factors("steps", steps, x[1:], x[:-1], u)
    graph.add_factors("seen", fg.LinearGaussian([[1, 0.3]], 1.0, np.sin(np.arange(n))), x)
    inference = Inference(graph)
    assert (inference._passes.contraction is not None) == (n > 130)
    assert_as_dense(graph, inference.run())


def test_beliefs_without_a_mean_are_told() -> None:
    """Nothing fixes the speed of a single state; `exact` refuses by name."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(2), 3)
    graph.add_factors("seen", fg.LinearGaussian([[1, 0]], 0.1, [1.0, 2.0, 3.0]), x)
    with pytest.warns(fg.ImproperWarning, match=r"the belief about x\[0\] is improper"):
        assert np.isnan(fg.run(graph).mean(x)).all()


def test_relations_without_noise_cannot_be_integrated() -> None:
    with pytest.raises(ValueError, match="cannot be integrated: no point of the grid is possible, as for relations"):
        check_factor(fg.LinearGaussian([1], np.diag([1.0, 0.0])), fg.Gaussian(2))


def test_exact_results_are_pickled() -> None:
    graph = random_tree(1, 2, 6)
    result = fg.exact(graph)
    again = pickle.loads(pickle.dumps(result))
    x = again._graph.variables("x")
    assert again.marginals(x) == pytest.approx(result.marginals(graph.variables("x")))
    assert again.covariance(x[0], x[3]) == pytest.approx(result.covariance(graph.variables("x")[0], graph.variables("x")[3]))
