"""Factors of many variables: against enumeration where that is possible, and at sizes where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.backends.base import Backend
from factorgraph.factors.bound import BoundFactor, to_device
from factorgraph.semiring import Semiring
from factorgraph.testing import Enumeration, check_factor

SPIN = fg.Spin()
LITERALS = np.array([[1, -1, 1, -1, -1], [1, 1, 1, 1, 1], [-1, -1, -1, -1, -1]])


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize(
    "factor",
    [
        fg.Parity(),
        fg.Parity(-np.inf),
        fg.Parity([0.7, -1.5, 30.0]),
        fg.Parity([np.inf, 0.0, 1.0]),
        fg.Or(),
        fg.And(),
        fg.ExactlyOne(),
        fg.AtMost(0),
        fg.AtMost(2),
        fg.Cardinality(lambda count: -0.3 * count**2),
        fg.Cardinality(lambda count: np.where(count % 2 == 0, 1.0, -np.inf)),
    ],
    ids=repr,
)
def test_factors_of_many_spins_equal_enumeration(factor: fg.Factor, width: int) -> None:
    check_factor(factor, SPIN, widths=[width])


@pytest.mark.parametrize("width", [2, 5])
@pytest.mark.parametrize("kind", [fg.Or, fg.And, fg.ExactlyOne, lambda literals: fg.AtMost(1, literals)])
def test_literals_equal_enumeration(kind: type, width: int) -> None:
    check_factor(kind(LITERALS[:, :width]), SPIN, widths=[width])
    check_factor(kind(LITERALS[0, :width]), SPIN, widths=[width])


@pytest.mark.parametrize("kind", [fg.Or, fg.And])
@pytest.mark.parametrize("width", [1, 4])
def test_logical_factors_with_an_output_equal_enumeration(kind: type, width: int) -> None:
    check_factor(kind(LITERALS[:, :width]), SPIN, SPIN, widths=[width, 1])


def test_cardinality_with_a_row_for_each_factor_equals_enumeration(rng: np.random.Generator) -> None:
    rows = 5 * rng.normal(size=(3, 5))
    rows[0, 1:3] = -np.inf
    check_factor(fg.Cardinality(rows), SPIN, widths=[4])
    check_factor(fg.Cardinality(rows, LITERALS[:, :4]), SPIN, widths=[4])


@pytest.mark.parametrize("states", [1, 4])
@pytest.mark.parametrize("width", [1, 3])
def test_max_equals_enumeration(states: int, width: int) -> None:
    check_factor(fg.Max(), fg.Categorical(states), fg.Categorical(states), widths=[width, 1])


@pytest.mark.parametrize("kind", [SPIN, fg.Categorical(3)], ids=repr)
@pytest.mark.parametrize("ports", [2, 5])
def test_equality_equals_enumeration(kind: fg.VariableType, ports: int) -> None:
    check_factor(fg.Equality(), *[kind] * ports)


def test_sparse_tables_equal_enumeration(rng: np.random.Generator) -> None:
    types = fg.Categorical(3), SPIN, fg.Categorical(4)
    rows = np.array([[0, 1, 3], [0, -1, 3], [2, 1, 0], [1, 1, 1], [2, -1, 2]])
    check_factor(fg.SparseTable(rows), *types)
    check_factor(fg.SparseTable(rows, rng.normal(size=5)), *types)
    weights = rng.normal(size=(3, 5))
    weights[1, 2:] = -np.inf
    check_factor(fg.SparseTable(rows, weights), *types)
    check_factor(fg.SparseTable(rows[:1]), *types)


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("evidence", [0, 2])
def test_a_tree_of_many_kinds_of_factors_equals_enumeration(
    backend: str, mode: str, evidence: int, rng: np.random.Generator
) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", SPIN, 12)
    c = graph.add_variables("c", fg.Categorical(3), 4)
    graph.set_prior(x, rng.normal(size=12))
    graph.set_prior(c, rng.normal(size=(4, 3)))
    parity = graph.add_factors("parity", fg.Parity(), x[np.array([[0, 1, 2], [2, 3, 4]])])
    clause = graph.add_factors("or", fg.Or([[1, -1, 1]]), x[[[4, 5, 6]]])
    graph.add_factors("and", fg.And(), x[[[6, 7]]], x[[8]])
    graph.add_factors("one", fg.ExactlyOne(), x[[[8, 9, 10, 11]]])
    graph.add_factors("mixed", fg.Table(rng.normal(size=(2, 3))), x[11], c[0])
    graph.add_factors("max", fg.Max(), c[[[0, 1]]], c[[2]])
    graph.add_factors("same", fg.Equality(), c[2], c[3])
    graph.observe(x[[1, 5][:evidence]], [1, -1][:evidence])
    exact, result = Enumeration(graph), fg.run(graph, mode=mode, backend=backend)
    assert result.status == "exact"
    for block in (x, c):
        np.testing.assert_allclose(result.marginals(block), exact.marginals(block, mode), atol=1e-10)
    for factors in (parity, clause):
        np.testing.assert_allclose(result.factor_marginals(factors), exact.factor_marginals(factors, mode), atol=1e-10)
    expected = exact.log_partition if mode == "sum" else exact.log_maximum
    assert result.log_partition == pytest.approx(expected, abs=1e-10)
    if mode == "max":
        states = {name: result.mode(block) for name, block in (("x", x), ("c", c))}
        assert exact.log_weight(states) == pytest.approx(exact.log_maximum, abs=1e-10)


def test_certainty_passes_through_a_hard_factor_and_is_taken_back(backend: str) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", SPIN, 5)
    graph.add_factors("checks", fg.Parity(), x[np.array([[0, 1, 2], [2, 3, 4]])])
    graph.set_prior(x, [0.1, 0.2, 0.3, 0.4, 0.5])
    inference = fg.Inference(graph, fg.Flooding(), backend=backend)
    before = inference.run().mean(x)
    inference.observe(x[[0, 1, 3]], [1, -1, 1])
    np.testing.assert_array_equal(inference.run(keep_messages=True).mean(x), [1, -1, -1, 1, -1])
    inference.unobserve(x[[0, 1, 3]])
    np.testing.assert_allclose(inference.run(keep_messages=True).mean(x), before, atol=1e-12)


class TestWideFactors:
    """One factor on more spins than can be enumerated, against what is known in closed form."""

    def test_a_count_of_independent_spins_is_binomial(self) -> None:
        from scipy.stats import binom

        width, field = 300, 0.2
        graph = fg.FactorGraph()
        x = graph.add_variables("x", SPIN, width)
        graph.set_prior(x, field)
        graph.add_factors("range", fg.Cardinality(lambda n: np.where((n >= 170) & (n < 190), 0.0, -np.inf)), x[None])
        result = fg.run(graph)
        p = 1 / (1 + np.exp(-2 * field))
        chance = binom.cdf(189, width, p) - binom.cdf(169, width, p)
        assert result.log_partition == pytest.approx(np.log(chance) + width * np.log(2 * np.cosh(field)), abs=1e-9)
        with_one = binom.cdf(188, width - 1, p) - binom.cdf(168, width - 1, p)
        np.testing.assert_allclose(result.marginals(x)[:, 1], p * with_one / chance, rtol=1e-9)

    def test_a_long_parity_is_a_product_of_means(self, rng: np.random.Generator) -> None:
        width = 1001
        graph = fg.FactorGraph()
        x = graph.add_variables("x", SPIN, width)
        fields = rng.normal(size=width) + 5.0
        graph.set_prior(x, fields)
        graph.add_factors("check", fg.Parity(), x[None])
        result = fg.run(graph)
        product = np.prod(np.tanh(fields))
        expected = (np.tanh(fields) + product / np.tanh(fields)) / (1 + product)
        np.testing.assert_allclose(result.mean(x), expected, rtol=1e-10)

    def test_a_long_clause(self) -> None:
        graph = fg.FactorGraph()
        x = graph.add_variables("x", SPIN, 5000)
        graph.add_factors("clause", fg.Or(), x[None])
        graph.add_factors("few", fg.AtMost(1), x[None])  # a loop: the two clauses together say exactly one
        graph.observe(x[:4999], -1)
        assert fg.run(graph, fg.Flooding()).mean(x[4999]) == 1.0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda g, x, c: g.add_factors("f", fg.Or(), c), r"Or takes spins, but port 0 has Categorical"),
        (lambda g, x, c: g.add_factors("f", fg.Or(2), x), r"literals of Or must be \+1 or -1"),
        (lambda g, x, c: g.add_factors("f", fg.Or([[1, 1]]), x), r"literals has shape \(1, 2\)"),
        (lambda g, x, c: g.add_factors("f", fg.ExactlyOne(), x[:3], x[3]), r"ExactlyOne takes one port"),
        (lambda g, x, c: fg.AtMost(-1), r"AtMost needs a whole number"),
        (lambda g, x, c: g.add_factors("f", fg.Cardinality([0.0, 1.0]), x), r"log_potentials has shape \(2,\)"),
        (lambda g, x, c: g.add_factors("f", fg.Cardinality([-np.inf] * 5), x), r"all -inf|are -inf"),
        (lambda g, x, c: g.add_factors("f", fg.Max(), x[:3], x[3]), r"Max takes categorical"),
        (lambda g, x, c: g.add_factors("f", fg.Equality(), x[0]), r"at least two"),
        (lambda g, x, c: g.add_factors("f", fg.Equality(), x[0], c[0]), r"compares variables of one type"),
        (lambda g, x, c: g.add_factors("f", fg.SparseTable([[0, 3]]), c[0], c[1]), r"port 1: 3 is not a state"),
        (lambda g, x, c: g.add_factors("f", fg.SparseTable([[0, 1], [0, 1]]), c[0], c[1]), r"1 rows that occur more than once"),
        (lambda g, x, c: g.add_factors("f", fg.SparseTable([0, 1]), c[0], c[1]), r"configurations has shape"),
        (lambda g, x, c: g.add_factors("f", fg.Parity(np.nan), x), r"NaN"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(build: object, message: str) -> None:
    graph = fg.FactorGraph()
    x, c = graph.add_variables("x", SPIN, 4), graph.add_variables("c", fg.Categorical(3), 4)
    with pytest.raises((ValueError, TypeError), match=message):
        build(graph, x, c)  # type: ignore[operator]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fields_on_loops_of_parity_checks_do_not_overflow(backend: str, dtype: str) -> None:
    """Agreement feeds on itself around loops: each iteration may double the fields."""
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 8)
    graph.add_factors("checks", fg.Parity(), x[np.array([np.roll(np.arange(8), -shift)[:3] for shift in range(8)])])
    graph.set_prior(x, 1.0)
    result = fg.run(
        graph, fg.Flooding(), max_iterations=1500 if backend == "numpy" else 300, tolerance=0, backend=backend, dtype=dtype
    )
    np.testing.assert_array_equal(result.mean(x), 1.0)
    assert np.isfinite(result.belief(x)).all()


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize(
    "make",
    [
        lambda width: fg.Or(),
        lambda width: fg.And(),
        lambda width: fg.ExactlyOne(),
        lambda width: fg.AtMost(1),
        lambda width: fg.AtMost(width),
        lambda width: fg.Cardinality(np.where(np.arange(width + 1) == width // 2, 0.0, -np.inf)),
        lambda width: fg.Cardinality(np.where(np.arange(width + 1) % 2, 0.0, -np.inf)),
    ],
)
def test_counting_factors_know_whether_messages_can_be_infinite(make: Any, width: int, rng: np.random.Generator) -> None:
    """From the table: some spin has one value only, whatever the others are."""
    bound = BoundFactor(make(width), [fg.Spin()], [width], 1)
    table = bound.enumerated()[..., 0]
    forced = [np.isneginf(np.moveaxis(table, axis, 0).reshape(2, -1).max(axis=1)).any() for axis in range(width)]
    assert bound.can_be_hard(bound.parameters()) == any(forced)


@pytest.mark.parametrize("mode", ["sum", "max"])
def test_many_states_of_a_potts_pair_need_no_table(mode: str) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Categorical(20_000), 2)
    graph.add_factors("alike", fg.Potts(2.0), x[0], x[1])
    weights = -np.arange(20_000) / 5000
    graph.set_prior(x, weights)
    found = fg.run(graph, mode=mode).log_partition
    if mode == "max":
        assert found == pytest.approx(2.0, abs=1e-12)
    else:
        each, both = np.exp(weights).sum(), np.exp(2 * weights).sum()
        assert found == pytest.approx(np.log(each**2 + np.expm1(2.0) * both), abs=1e-10)


@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0, 2000.0])
@pytest.mark.parametrize("zeros", [0.0, 0.3, 0.97])
def test_convolutions_by_blocks_equal_the_plain_form(scale: float, zeros: float, rng: np.random.Generator) -> None:
    left, right = scale * rng.normal(size=(201, 2, 3)), scale * rng.normal(size=(333, 2, 3))
    left[rng.random(left.shape) < zeros], right[rng.random(right.shape) < zeros] = -np.inf, -np.inf
    right[:100] = -np.inf
    backend = fg.get_backend("numpy", "float64")
    with np.errstate(all="ignore"):
        for start, stop in ((0, 533), (200, 333)):
            for a, b in ((left, right), (right, left)):
                plain = Backend.log_convolve(backend, a, b, start, stop, "sum")
                np.testing.assert_allclose(backend.log_convolve(a, b, start, stop, "sum"), plain, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", [0.3, 30.0, 3000.0])
@pytest.mark.parametrize(
    "factor",
    [
        fg.Cardinality(lambda count: -((count - 70.0) ** 2) / 9),
        fg.Cardinality(lambda count: np.where(count % 3 == 0, 0.0, -np.inf)),
        fg.AtMost(90),
    ],
    ids=repr,
)
def test_wide_counts_equal_the_plain_form(factor: fg.Factor, scale: float, dtype: str, rng: np.random.Generator) -> None:
    bound = BoundFactor(factor, [SPIN], [300], 2)
    parameters = bound.parameters()
    fields = scale * rng.normal(size=(300, 2))
    fields[:60, 1] = np.inf
    with np.errstate(all="ignore"):
        found = []
        for backend, name in ((fg.get_backend("numpy", dtype), dtype), (fg.get_backend("array-api-strict"), "float64")):
            semiring = Semiring(backend, "sum")
            given, device = backend.asarray(fields), to_device(parameters, backend)
            messages = bound.messages([given], device, [0], semiring)[0]
            found.append((backend.to_host(messages), backend.to_host(bound.log_partition([given], device, semiring)), name))
    rounding = np.finfo(dtype).eps * 300 * scale * 30
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-12, atol=rounding)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-12, atol=rounding)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_observed_syndromes_make_no_message_certain(backend: str, dtype: str, rng: np.random.Generator) -> None:
    """Evidence on one variable of each check leaves its messages finite and exact; more evidence may not."""
    graph = fg.FactorGraph()
    bits, syndrome = graph.add_variables("bits", fg.Spin(), 7), graph.add_variables("syndrome", fg.Spin(), 3)
    graph.add_factors("checks", fg.Parity(), fg.concatenate(bits[[[0, 1, 2], [2, 3, 4], [4, 5, 6]]], syndrome[:, None]))
    graph.set_prior(bits, 2.0 * rng.normal(size=7))
    graph.observe(syndrome, [-1, 1, -1])
    inference = fg.Inference(graph, backend=backend, dtype=dtype)
    for places in ([], [0], [0, 1], [0, 1, 5, 6]):
        graph.observe(bits[places], -1)
        inference.observe(bits[places], -1)
        found, expected = inference.run(), Enumeration(graph)
        # The first check has two free bits, then one: what that is follows.
        assert inference.state.pools[0].hard == (len(places) > 1)
        np.testing.assert_allclose(found.marginals(bits), expected.marginals(bits), atol=1e-10 if dtype == "float64" else 1e-5)
        assert found.log_partition == pytest.approx(expected.log_partition, rel=1e-10 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("field", [149.0, 151.0, 169.0, 171.0, 400.0])
def test_strong_fields_beside_evidence_lose_nothing(backend: str, field: float) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 5)
    graph.add_factors("check", fg.Parity(), x[None])
    graph.observe(x[0], -1)
    graph.set_prior(x, [0.0, field, -field, 0.7, 0.0])
    found = fg.Inference(graph, backend=backend, dtype="float64")
    found.run()
    belief = found.state.belief(x)
    # Two spins of fields h and -h: their product has the field log(cosh(0) / cosh(2 h)) / 2, which is near -(h - log(2) / 2).
    pair = -(field - 0.5 * np.log(2.0))
    assert belief[4] == pytest.approx(-np.arctanh(np.tanh(0.7) * np.tanh(pair)), rel=1e-12)
    assert belief[3] == pytest.approx(0.7, rel=1e-12)
    assert belief[1] == pytest.approx(field, rel=1e-12)
