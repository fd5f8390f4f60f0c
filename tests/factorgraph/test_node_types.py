"""Built-in and custom node types against enumeration; and that the checks find planted faults."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.factors.spin_products import spin_maxima, spin_products
from factorgraph.testing import Enumeration, check_factor, check_variable


@pytest.mark.parametrize(
    "kind", [fg.Spin(), fg.Categorical(1), fg.Categorical(2), fg.Categorical(5), fg.Levels((0.5, -2, 0))], ids=repr
)
def test_variable_types_equal_enumeration(kind: fg.VariableType) -> None:
    check_variable(kind)


@pytest.mark.parametrize(
    "coupling", [0.4, [0.3, -2.0, 0.0], [15.0, -40.0, 1e-9], [np.inf, -np.inf, 1.0]], ids=["shared", "each", "strong", "hard"]
)
def test_ising_equals_enumeration(coupling: object) -> None:
    check_factor(fg.Ising(coupling), fg.Spin(), fg.Spin())


@pytest.mark.parametrize("states", [1, 2, 5])
@pytest.mark.parametrize("coupling", [1.3, [0.3, -2.0, 30.0], [-np.inf, 1.0, 0.0]], ids=["shared", "each", "hard"])
def test_potts_equals_enumeration(states: int, coupling: object) -> None:
    if states == 1 and not np.isfinite(coupling).all():
        pytest.skip("two variables of one state cannot differ")
    check_factor(fg.Potts(coupling), fg.Categorical(states), fg.Categorical(states))


@pytest.mark.parametrize("sizes", [(3,), (2, 3), (2, 3, 4), (2, 2, 3, 2)])
@pytest.mark.parametrize("zeros", [0.0, 0.4])
def test_tables_of_any_arity_equal_enumeration(sizes: tuple[int, ...], zeros: float, rng: np.random.Generator) -> None:
    table = 3 * rng.normal(size=(3, *sizes))
    table[rng.random(table.shape) < zeros] = -np.inf
    table[(slice(None), *([0] * len(sizes)))] = 0.5
    check_factor(fg.Table(table), *(fg.Categorical(q) for q in sizes))
    check_factor(fg.Table(table[0]), *(fg.Categorical(q) for q in sizes))


def test_tables_mix_spins_and_categorical_variables(rng: np.random.Generator) -> None:
    check_factor(fg.Table(rng.normal(size=(3, 2, 4))), fg.Spin(), fg.Categorical(4))


def test_tables_from_a_function_of_the_states() -> None:
    check_factor(fg.Table(lambda x, y: 0.7 * x * y), fg.Spin(), fg.Spin())
    check_factor(fg.Table(lambda x, y: -np.abs(x - y)), fg.Categorical(3), fg.Categorical(3))


class Agreement(fg.Factor):
    """The second form: the log of the local sum over two spins that like to agree."""

    arity = 2

    def __init__(self, strength: Any) -> None:
        self.strength = np.asarray(strength, dtype=float)

    def parameters(self, types: Sequence[fg.VariableType], count: int) -> dict[str, np.ndarray]:
        return {"strength": np.atleast_1d(self.strength)}

    def log_partition(self, incoming: Any, parameters: Any, semiring: fg.Semiring) -> Any:
        strength = parameters["strength"]
        x, y = (fg.Spin().log_weights(field, semiring.backend) for field in incoming)
        x_down, x_up, y_down, y_up = x[0, ...], x[1, ...], y[0, ...], y[1, ...]
        return semiring.add(
            strength + semiring.add(x_down + y_down, x_up + y_up), -strength + semiring.add(x_down + y_up, x_up + y_down)
        )


class WideParity(fg.Factor):
    """The first form with a plural port: an even number of spins at -1."""

    plural: ClassVar[tuple[int, ...]] = (0,)

    def log_potential(self, *spins: np.ndarray) -> np.ndarray:
        return np.where(np.prod(np.broadcast_arrays(*spins), axis=0) > 0, 0.0, -np.inf)


class FastParity(WideParity):
    """The third form: the same, from products of means."""

    def messages(self, incoming: Any, parameters: Any, ports: Any, semiring: fg.Semiring) -> list[Any]:
        fields, xp = incoming[0], semiring.xp
        outgoing = []
        for slot in range(fields.shape[0]):
            others = [fields[i, ...] for i in range(fields.shape[0]) if i != slot]
            sign = xp.sign(others[0])
            for other in others[1:]:
                sign = sign * xp.sign(other)
            message = others[0]
            for other in others[1:]:
                (message,) = (
                    semiring.backend.elementwise(spin_maxima, message, other)
                    if semiring.mode == "max"
                    else semiring.backend.elementwise(spin_products, message, other, None)
                )
            outgoing.append(message)
        return [xp.stack(outgoing)]


def test_custom_factors_in_all_three_forms_equal_enumeration() -> None:
    check_factor(Agreement([0.5, -1.0, 2.0]), fg.Spin(), fg.Spin())
    check_factor(WideParity(), fg.Spin(), widths=[4])
    check_factor(FastParity(), fg.Spin(), widths=[4])


@pytest.mark.parametrize("parity", [WideParity(), FastParity()], ids=["tabulated", "fast"])
def test_plural_ports_on_a_tree_equal_enumeration(backend: str, parity: fg.Factor) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 7)
    graph.set_prior(x, np.linspace(-1, 1, 7))
    graph.add_factors("checks", parity, x[np.array([[0, 1, 2], [2, 3, 4], [4, 5, 6]])])
    graph.observe(x[5], -1)
    exact, result = Enumeration(graph), fg.run(graph, backend=backend)
    assert result.status == "exact"
    np.testing.assert_allclose(result.marginals(x), exact.marginals(x), atol=1e-10)
    assert result.log_partition == pytest.approx(exact.log_partition, abs=1e-10)


class Grade(fg.DiscreteType):
    """A custom variable type: three numbers as states, log-weights as natural parameters."""

    states = np.array([10, 30, 20])
    param_shape = (3,)

    def log_weights(self, params: Any, backend: fg.Backend) -> Any:
        return params

    def from_log_weights(self, log_weights: Any, backend: fg.Backend) -> Any:
        return log_weights


def test_custom_variable_type_works_in_a_graph() -> None:
    graph = fg.FactorGraph()
    kind = Grade()
    check_variable(kind)
    x = graph.add_variables("x", kind, 3)
    graph.add_factors("f", fg.Table(lambda a, b: -((a - b) ** 2) / 200), x[:-1], x[1:])
    graph.set_prior(x[0], [1.0, -np.inf, 2.0])
    graph.observe(x[2], 20)
    exact, result = Enumeration(graph), fg.run(graph)
    np.testing.assert_allclose(result.marginals(x), exact.marginals(x), atol=1e-10)
    assert fg.run(graph, mode="max").mode(x)[2] == 20
    for answer in (result, fg.exact(graph)):
        np.testing.assert_allclose(answer.mean(x), exact.marginals(x) @ kind.states, atol=1e-10)


class TestFaultsAreFound:
    def test_a_wrong_message(self) -> None:
        class Wrong(fg.Ising):
            def messages(self, incoming: Any, parameters: Any, ports: Any, semiring: Any) -> Any:
                return [1.001 * m for m in super().messages(incoming, parameters, ports, semiring)]

        with pytest.raises(AssertionError, match=r"message to port 0 at .* enumeration gives"):
            check_factor(Wrong(0.5), fg.Spin(), fg.Spin())

    def test_a_message_that_fails_only_at_zero_probability(self) -> None:
        class Fragile(fg.Ising):
            def messages(self, incoming: Any, parameters: Any, ports: Any, semiring: Any) -> Any:
                xp = semiring.xp
                found = super().messages(incoming, parameters, ports, semiring)
                return [xp.where(xp.isfinite(incoming[1 - p]), m, xp.zeros_like(m)) for p, m in zip(ports, found, strict=True)]

        with pytest.raises(AssertionError, match="zero-probability input"):
            check_factor(Fragile(0.5), fg.Spin(), fg.Spin())

    def test_a_wrong_sum_in_max_mode(self) -> None:
        class SumOnly(Agreement):
            def log_partition(self, incoming: Any, parameters: Any, semiring: fg.Semiring) -> Any:
                return super().log_partition(incoming, parameters, fg.Semiring(semiring.backend, "sum"))

        with pytest.raises(AssertionError, match="mode 'max'"):
            check_factor(SumOnly(0.5), fg.Spin(), fg.Spin())

    def test_a_numpy_call_where_the_namespace_is_another(self) -> None:
        class HostOnly(fg.Ising):
            def messages(self, incoming: Any, parameters: Any, ports: Any, semiring: Any) -> Any:
                coupling = np.tanh(parameters["coupling"])
                return [np.arctanh(coupling * np.tanh(incoming[1 - p])) for p in ports]

        with pytest.raises(Exception, match=r"(?i)device|array|numpy"):
            check_factor(HostOnly(0.5), fg.Spin(), fg.Spin())

    def test_a_variable_type_with_wrong_weights(self) -> None:
        class Skewed(Grade):
            def from_log_weights(self, log_weights: Any, backend: fg.Backend) -> Any:
                return 0.9 * super().from_log_weights(log_weights, backend)

        with pytest.raises(AssertionError, match="log_weights of from_log_weights"):
            check_variable(Skewed())


@pytest.mark.parametrize("kind", [fg.Spin(), fg.Levels((0.5, -2, 0)), fg.Levels((-1, 0, 1))], ids=repr)
def test_means_and_variances_are_those_of_the_marginals(kind: Any, rng: np.random.Generator) -> None:
    host = fg.get_backend("numpy", "float64")
    params = rng.normal(size=(*kind.param_shape, 50)) * 2.0
    probabilities, states = kind.marginals(params, host), kind.states.astype(float)[:, None]
    mean = (probabilities * states).sum(axis=0)
    np.testing.assert_allclose(kind.expectation(kind.mean(params, host), host), mean, rtol=1e-12)
    variance = (probabilities * (states - mean) ** 2).sum(axis=0)
    np.testing.assert_allclose(kind.variance(kind.mean(params, host), host), variance, rtol=1e-9)


class TestPotentialsThatCannotBeTabulated:
    """A function of single states is the natural first try; the error shows what to write in its place."""

    @pytest.mark.parametrize(
        "potential",
        [lambda a, b: 0.0 if a == b else -1.0, lambda a, b: float(a * b), lambda a, b: math.exp(a) * b, lambda a: a],
        ids=["if", "float", "math", "too few arguments"],
    )
    def test_the_error_shows_the_fix(self, potential: Any) -> None:
        class Own(fg.Factor):
            def log_potential(self, *states: np.ndarray) -> np.ndarray:
                return potential(*states)  # type: ignore[no-any-return]

        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Categorical(3), 4)
        with pytest.raises((ValueError, TypeError), match=r"'f': .*broadcast \(shapes \(3, 1, 1\), \(1, 3, 1\)\).*np\.where\("):
            graph.add_factors("f", Own(), x[:3], x[1:])
        assert not graph.factor_blocks

    def test_the_fix_that_it_shows_works(self) -> None:
        class Own(fg.Factor):
            def log_potential(self, *states: np.ndarray) -> np.ndarray:
                a, b = states
                return np.where(a == b, 0.0, -1.0)

        graph = fg.FactorGraph()
        x = graph.add_variables("x", fg.Categorical(3), 2)
        graph.add_factors("f", Own(), x[:1], x[1:])
        assert fg.run(graph).log_partition == pytest.approx(np.log(3 + 6 * np.exp(-1.0)))


class _Misshapen(fg.Factor):
    """Potentials with an axis too many, or for another number of factors."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def log_potential(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.zeros(self.shape)


@pytest.mark.parametrize("shape", [(3, 2, 2, 1), (2, 2, 4)])
def test_potentials_of_a_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 4)
    with pytest.raises(ValueError, match=r"'pair'.*log-potentials have shape"):
        graph.add_factors("pair", _Misshapen(*shape), x[:-1], x[1:])


class _Same(fg.Factor):
    """Two spins that are equal, by its messages alone: nothing is said of infinite ones."""

    arity = 2

    def messages(self, incoming: Any, parameters: Any, ports: Any, semiring: Any) -> list[Any]:
        return [incoming[1 - port] for port in ports]


def test_messages_of_a_users_factor_may_be_infinite() -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 4)
    graph.add_factors("ring", _Same(), x, x[[1, 2, 3, 0]])
    graph.observe(x[0], -1)
    result = fg.run(graph, fg.Flooding(), max_iterations=10, tolerance=0.0)
    assert result.mean(x).tolist() == [-1.0] * 4


@pytest.mark.parametrize("base", [fg.Factor, fg.BlockFactor, fg.Ising])
def test_a_factor_type_with_the_old_name_of_bind_is_refused_when_it_is_made(base: type) -> None:
    with pytest.raises(TypeError, match=r"_Old\.check: .*it is now called bind"):
        type("_Old", (base,), {"check": lambda self, types, widths, count: None})
