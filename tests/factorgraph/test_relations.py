"""Forests of linear relations in a logarithmic number of rounds, against passes depth by depth and dense algebra."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from scipy.linalg import solveh_banded

import factorgraph as fg
from factorgraph.inference.executors import passes
from factorgraph.inference.executors.contracting_relations import RelationContracting
from factorgraph.testing import check_factor
from factorgraph.variables.normal_relations import NormalRelations

BACKENDS = ("numpy", "array-api-strict", "compiled")


def forest(rng: np.random.Generator, n: int, shape: str, exact: float = 0.0) -> tuple[fg.FactorGraph, fg.Variables]:
    """A chain, a comb or a random tree of transitions either way round, some without noise, some states measured."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), n)
    below = np.arange(1, n)
    above = {"chain": below - 1, "comb": np.maximum(below - 2, 0), "tree": (rng.random(n - 1) * below).astype(int)}[shape]
    slopes = rng.uniform(0.3, 1.5, n - 1) * rng.choice([-1, 1], n - 1)
    noise = 10.0 ** rng.uniform(-3, 2, n - 1) * (rng.random(n - 1) >= exact)
    ports = (x[below], x[above]) if rng.random() < 0.5 else (x[above], x[below])
    graph.add_factors("steps", fg.LinearGaussian([1.0, -slopes], noise, rng.normal(size=n - 1)), *ports)
    seen = np.flatnonzero(rng.random(n) < 0.5)
    graph.add_factors("seen", fg.LinearGaussian([2.0], rng.uniform(0.1, 2, seen.size), rng.normal(size=seen.size)), x[seen])
    graph.set_prior(x[0], fg.Gaussian.from_moments(1.0, 2.0))
    return graph, x


def both_ways(graph: fg.FactorGraph, monkeypatch: pytest.MonkeyPatch, evidence: Any = None, **settings: Any) -> list[fg.Result]:
    """By rounds, which is made sure of, and depth by depth on NumPy."""
    results, written = [], []
    write = RelationContracting.write

    def spy(self: RelationContracting) -> bool:
        written.append(write(self))
        return written[-1]

    monkeypatch.setattr(RelationContracting, "write", spy)
    monkeypatch.setattr(passes, "_ENTRIES_OF_A_STAGE", 10**9)
    for stages in (0, 10**9):
        monkeypatch.setattr(passes, "_MANY_STAGES", stages)
        inference = fg.Inference(graph, fg.Tree(), **settings)
        settings["backend"] = "numpy"
        if evidence is not None:
            inference.observe(*evidence)
        results.append(inference.run())
    monkeypatch.setattr(RelationContracting, "write", write)
    assert written[:1] == [True]
    return results


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("shape", ["chain", "comb", "tree"])
@pytest.mark.parametrize("evidence", ["none", "some", "sets"])
def test_rounds_equal_the_passes(shape: str, mode: str, evidence: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        graph, x = forest(rng, 30, shape, exact=0.3 if evidence == "none" else 0.0)
        settings: dict[str, Any] = {"mode": mode, "backend": backend, "batch": 3 if evidence == "sets" else None}
        seen = [4, 11, 12, 29]
        values = None if evidence == "none" else (x[seen], rng.normal(size=(3, 4) if evidence == "sets" else 4))
        ours, theirs = both_ways(graph, monkeypatch, values, **settings)
        for found, wanted in (
            (ours.marginals(x), theirs.marginals(x)),
            (ours.factor_marginals("steps"), theirs.factor_marginals("steps")),
            (ours.log_partition, theirs.log_partition),
            (ours.mode(x), theirs.mode(x)),
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-9)


def test_a_long_chain_equals_banded_algebra() -> None:
    n, rng = 100_000, np.random.default_rng(0)
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), n)
    graph.add_factors("steps", fg.LinearGaussian([1.0, -0.9], 0.3), x[1:], x[:-1])
    seen, values = rng.random(n) < 0.5, rng.normal(size=n)
    graph.add_factors("seen", fg.LinearGaussian([1.0], 0.7, values[seen]), x[seen])
    graph.set_prior(x[0], fg.Gaussian.from_moments(0.0, 10.0))
    diagonal = np.where(seen, 1 / 0.7, 0.0)
    diagonal[1:] += 1 / 0.3
    diagonal[:-1] += 0.81 / 0.3
    diagonal[0] += 0.1
    wanted = solveh_banded(np.stack([np.full(n, -0.9 / 0.3), diagonal]), np.where(seen, values / 0.7, 0.0))
    for mode in ("sum", "max"):
        result = fg.Inference(graph, fg.Tree(), mode=mode).run()
        np.testing.assert_allclose(result.marginals(x)[:, 0], wanted, rtol=0, atol=1e-12)
        np.testing.assert_allclose(result.mode(x), wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.marginals(x)[:, 0] @ (diagonal * wanted), wanted @ (diagonal * wanted))


@pytest.mark.parametrize("case", ["a coefficient of 0", "evidence beside an exact relation", "nothing known"])
def test_what_has_no_relation_goes_by_depth(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 12
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), n)
    slopes, noise = np.full(n - 1, -0.5), np.full(n - 1, 1.0)
    if case == "a coefficient of 0":
        slopes[5] = 0.0
    if case == "evidence beside an exact relation":
        noise[4:8] = 0.0
        graph.observe(x[6], 1.0)
    graph.add_factors("steps", fg.LinearGaussian([1.0, slopes], noise), x[1:], x[:-1])
    if case != "nothing known":
        graph.set_prior(x[0], fg.Gaussian.from_moments(1.0, 1.0))
    found = []
    for stages in (0, 10**9):
        monkeypatch.setattr(passes, "_MANY_STAGES", stages)
        monkeypatch.setattr(passes, "_ENTRIES_OF_A_STAGE", 10**9)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if case == "nothing known" else "error", fg.ImproperWarning)
            found.append(fg.Inference(graph, fg.Tree()).run().marginals(x))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)
    assert np.isnan(found[0]).any() == (case == "nothing known")


def test_relations_are_closed_under_summing_out(rng: np.random.Generator) -> None:
    """Turning twice is nothing; three in a row are the same from either side; messages go through two as through one."""
    relations = NormalRelations(fg.get_backend("numpy", "float64"))
    one, two, three = (
        np.concatenate(
            [rng.normal(size=(2, 50)), rng.exponential(size=(1, 50)), rng.normal(size=(1, 50)), rng.exponential(size=(1, 50))]
        )
        for _ in range(3)
    )
    x, y = (np.stack([rng.normal(size=50), rng.exponential(size=50)]) for _ in range(2))
    np.testing.assert_allclose(relations.turned(relations.turned(one)), one, rtol=1e-9, atol=1e-12)
    left = relations.product(relations.product(one, x, two), y, three)
    right = relations.product(one, x, relations.product(two, y, three))
    np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)
    z = np.stack([rng.normal(size=50), rng.exponential(size=50)])
    through = relations.through(one, x + relations.through(two, z))
    np.testing.assert_allclose(relations.through(relations.product(one, x, two), z), through, rtol=1e-9, atol=1e-12)
    back = relations.turned(relations.product(relations.turned(two), x, relations.turned(one)))
    np.testing.assert_allclose(back, relations.product(one, x, two), rtol=1e-9, atol=1e-12)


class RandomWalk(fg.Factor):
    """A user's own: the second variable is the first with noise of variance 1."""

    wrong = 1.0

    def log_potential(self, *states: np.ndarray) -> np.ndarray:
        return -0.5 * (states[1] - states[0]) ** 2

    def messages(self, incoming: Any, parameters: Any, ports: Any, semiring: Any) -> list[Any]:
        found = []
        for port in ports:
            h, precision = incoming[1 - port][0, ...], incoming[1 - port][1, ...]
            certain = precision == semiring.xp.inf
            shrink = 1.0 / (1.0 + semiring.xp.where(certain, precision * 0 + 1.0, precision))
            found.append(
                semiring.xp.stack(
                    [
                        semiring.xp.where(certain, h, h * shrink),
                        semiring.xp.where(certain, h * 0 + 1.0, precision * shrink),
                    ]
                )
            )
        return found

    def relation(self, incoming: Any, parameters: Any, ports: Any, semiring: Any) -> Any:
        return semiring.backend.asarray(np.array([[1.0], [0.0], [self.wrong], [0.0], [0.0]]))


def test_a_factor_of_ones_own_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 100)
    graph.add_factors("walk", RandomWalk(), x[:-1], x[1:])
    graph.set_prior(x[0], fg.Gaussian.from_moments(3.0, 0.5))
    ours, _ = both_ways(graph, monkeypatch)
    np.testing.assert_allclose(ours.marginals(x), np.stack([np.full(100, 3.0), 0.5 + np.arange(100)], axis=1), rtol=1e-10)


def test_a_wrong_relation_is_told() -> None:
    class Wrong(RandomWalk):
        wrong = 1.5

    check_factor(RandomWalk(), fg.Gaussian(), fg.Gaussian())
    with pytest.raises(AssertionError, match="message to port 0 by its relation"):
        check_factor(Wrong(), fg.Gaussian(), fg.Gaussian())
    with pytest.raises(NotImplementedError, match="Ising is no relation of two variables"):
        fg.Ising(1.0).relation([], {}, (0, 1), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sets", [None, 2])
def test_a_walk_with_known_and_unknown_inputs(backend: str, sets: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, n = np.random.default_rng(0), 40
    graph = fg.FactorGraph()
    x, u = graph.add_variables("x", fg.Gaussian(), n), graph.add_variables("u", fg.Gaussian(), n - 1)
    graph.add_factors("steps", fg.LinearGaussian([-0.9, 1.0, -2.0], 0.3, rng.normal(size=n - 1)), x[:-1], x[1:], u)
    graph.add_factors("seen", fg.LinearGaussian([1.0], 0.5, rng.normal(size=n // 2)), x[::2])
    graph.set_prior(u, fg.Gaussian.from_moments(1.0, 0.2))
    known = np.arange(0, n - 1, 3)
    evidence = u[known], rng.normal(size=(known.size,) if sets is None else (sets, known.size))
    ours, theirs = both_ways(graph, monkeypatch, evidence, backend=backend, batch=sets)
    for block in (x, u):
        np.testing.assert_allclose(ours.marginals(block), theirs.marginals(block), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(ours.factor_marginals("steps"), theirs.factor_marginals("steps"), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(ours.log_partition, theirs.log_partition, rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sets", [None, 2])
@pytest.mark.parametrize("seed", range(3))
def test_sums_of_three_shared_variables_are_narrowed(
    seed: int, sets: int | None, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A random tree of factors that bring two new variables each, which later factors hang on."""
    rng, count = np.random.default_rng(seed), 25
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), 1 + 2 * count)
    above = (rng.random(count) * (1 + 2 * np.arange(count))).astype(int)
    scopes = np.stack([1 + 2 * np.arange(count), above, 2 + 2 * np.arange(count)])
    slopes = rng.uniform(0.5, 1.5, (2, count)) * rng.choice([-1, 1], (2, count))
    factor = fg.LinearGaussian([slopes[0], 1.0, slopes[1]], rng.uniform(0.1, 2.0, count), rng.normal(size=count))
    graph.add_factors("sums", factor, *x[scopes])
    graph.set_prior(x, fg.Gaussian.from_moments(rng.normal(size=x.size), rng.uniform(0.5, 2.0, x.size)))
    seen = np.array([3, 10, 24])
    evidence = x[seen], rng.normal(size=seen.size if sets is None else (sets, seen.size))
    ours, theirs = both_ways(graph, monkeypatch, evidence, backend=backend, batch=sets)
    np.testing.assert_allclose(ours.marginals(x), theirs.marginals(x), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(ours.factor_marginals("sums"), theirs.factor_marginals("sums"), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(ours.log_partition, theirs.log_partition, rtol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sets", [None, 2])
@pytest.mark.parametrize("shape", ["chain", "tree"])
def test_approximate_messages_hang_on_rounds(
    shape: str, sets: int | None, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts and a measured curve at each state: the fixed point is that of passes by depth."""
    rng = np.random.default_rng(0)
    graph, x = forest(rng, 12, shape)
    counts, curve = np.arange(0, 12, 2), np.arange(1, 12, 2)
    poisson = fg.Likelihood(lambda x, count: count * x - np.exp(x), [rng.poisson(2.0, counts.size)])
    graph.add_factors("counts", poisson, x[counts])
    bend = fg.Nonlinear(lambda x, y: x + 0.3 * np.sin(x) - y, 0.2, [rng.normal(size=curve.size)])
    graph.add_factors("curve", bend, x[curve])
    evidence = x[[4, 11]], rng.normal(size=2 if sets is None else (sets, 2))
    monkeypatch.setattr(passes, "_MANY_STAGES", 0)
    monkeypatch.setattr(passes, "_ENTRIES_OF_A_STAGE", 10**9)
    results = []
    for way in ("rounds", "depth"):
        inference = fg.Inference(graph, fg.Tree(), backend=backend if way == "rounds" else "numpy", batch=sets)
        inference.observe(*evidence)
        results.append(inference.run(tolerance=1e-9, max_iterations=300))
        assert ("program" in vars(inference._passes)) == (way == "depth")
        monkeypatch.setattr(passes, "_MANY_STAGES", 10**9)
    ours, theirs = results
    assert set(np.ravel(ours.status)) == set(np.ravel(theirs.status)) == {"converged"}
    np.testing.assert_allclose(ours.marginals(x), theirs.marginals(x), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(ours.log_partition, theirs.log_partition, rtol=1e-7)


def test_long_chains_with_counts_converge_in_few_iterations() -> None:
    """4,000 weakly driven states: by depth, an iteration would have 8,000 stages."""
    rng, n = np.random.default_rng(1), 4000
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), n)
    graph.add_factors("walk", fg.LinearGaussian([1.0, -1.0], 0.002), x[1:], x[:-1])
    graph.set_prior(x[0], fg.Gaussian.from_moments(0.0, 1.0))
    truth = np.cumsum(rng.normal(size=n) * np.sqrt(0.002))
    graph.add_factors("counts", fg.Likelihood(lambda x, c: c * x - np.exp(x), [rng.poisson(np.exp(truth))]), x)
    result = fg.run(graph)
    assert result.status == "converged"
    assert result.iterations <= 20
    mean, variance = np.moveaxis(result.marginals(x), -1, 0)
    assert np.mean((mean - truth) ** 2 / variance) == pytest.approx(1.0, abs=0.25)


def test_sites_that_are_reinforced_go_by_depth() -> None:
    graph, x = forest(np.random.default_rng(0), 70, "chain")
    graph.add_factors("counts", fg.Likelihood(lambda x, c: c * x - np.exp(x), [np.ones(70)]), x)
    assert fg.Inference(graph, fg.Tree())._passes.contraction is not None
    assert fg.Inference(graph, fg.Tree(), reinforcement=0.1)._passes.contraction is None
    assert fg.Inference(graph, fg.Sweep())._passes.contraction is None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sets", [None, 2])
@pytest.mark.parametrize("method", ["linearise", "sigma-points"])
def test_approximate_relations_are_chosen_before_rounds(
    method: str, sets: int | None, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bent walk and measured curves: after a first pass by depth, the fixed point is that of passes by depth."""
    rng, n = np.random.default_rng(2), 12
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Gaussian(), n)
    graph.set_prior(x[0], fg.Gaussian.from_moments(1.0, 0.5))
    walk = fg.Nonlinear(lambda new, old: new - old - 0.3 * np.sin(old), 0.05, method=method)
    graph.add_factors("walk", walk, x[1:], x[:-1])
    measured = rng.normal(1.5, 0.3, size=n)
    graph.add_factors("seen", fg.Nonlinear(lambda v, y: v + 0.5 * np.sin(v) - y, 0.1, [measured], method=method), x)
    evidence = x[8], 1.4 if sets is None else np.array([1.4, 1.6])
    monkeypatch.setattr(passes, "_MANY_STAGES", 0)
    monkeypatch.setattr(passes, "_ENTRIES_OF_A_STAGE", 10**9)
    rounds: list[int] = []
    write = RelationContracting.write
    monkeypatch.setattr(RelationContracting, "write", lambda self: rounds.append(1) or write(self))
    results = []
    for way in (backend, "numpy"):
        inference = fg.Inference(graph, fg.Tree(), backend=way, batch=sets)
        inference.observe(*evidence)
        results.append(inference.run(tolerance=1e-9, max_iterations=300))
        monkeypatch.setattr(passes, "_MANY_STAGES", 10**9)
    ours, theirs = results
    assert len(rounds) == np.max(ours.iterations) - 1
    assert set(np.ravel(ours.status)) == set(np.ravel(theirs.status)) == {"converged"}
    np.testing.assert_allclose(ours.marginals(x), theirs.marginals(x), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ours.log_partition, theirs.log_partition, rtol=1e-6)


def test_a_bent_path_in_the_plane_is_tracked_by_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors that turn as they go, seen as distances to four beacons; the means are the most probable path."""
    rng, n = np.random.default_rng(3), 24
    graph = fg.FactorGraph()
    place = graph.add_variables("place", fg.Gaussian(2), n)

    def turned(old: np.ndarray) -> list[np.ndarray]:
        return [old[0] + 0.1 * np.cos(old[1]), old[1] + 0.1]

    truth = [np.array([0.0, 0.0])]
    for _ in range(n - 1):
        truth.append(np.array(turned(truth[-1])) + 0.03 * rng.normal(size=2))
    path = np.array(truth)
    graph.set_prior(place[0], fg.Gaussian(2).from_moments([0.0, 0.0], 0.1 * np.eye(2)))
    graph.add_factors("turn", fg.Nonlinear(turned, 0.03**2 * np.eye(2), explicit=True), place[1:], place[:-1])
    beacons = np.array([[-5.0, 4.0], [6.0, -3.0], [-4.0, -5.0], [5.0, 6.0]])
    for number, beacon in enumerate(beacons):
        seen = np.hypot(*(path - beacon).T) + 0.1 * rng.normal(size=n)
        distance = fg.Nonlinear(lambda p, left, low, y: np.hypot(p[0] - left, p[1] - low) - y, 0.01, [*beacon, seen])
        graph.add_factors(f"distance {number}", distance, place)
    monkeypatch.setattr(passes, "_MANY_STAGES", 0)
    monkeypatch.setattr(passes, "_ENTRIES_OF_A_STAGE", 10**9)
    inference = fg.Inference(graph)
    assert inference._passes.contraction is not None
    result = inference.run(max_iterations=100)
    assert result.status == "converged"
    monkeypatch.setattr(passes, "_MANY_STAGES", 10**9)
    by_depth = fg.Inference(graph, fg.Tree()).run(max_iterations=100)
    np.testing.assert_allclose(result.mean(place), by_depth.mean(place), atol=1e-5)
    assert np.sqrt(np.mean((result.mean(place) - path) ** 2)) < 0.1
