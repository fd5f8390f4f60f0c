"""Noisy-or and noisy-max against their tables, and at widths whose tables nobody could write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from factorgraph.testing import check_factor


def laws(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random probabilities in the last axis."""
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize(("causes", "effect"), [(2, 2), (3, 4)])
@pytest.mark.parametrize("each", [False, True])
def test_noisy_max_equals_enumeration(width: int, causes: int, effect: int, each: bool, rng: np.random.Generator) -> None:
    links = laws(rng, *((3,) if each else ()), width, causes, effect)
    leak = laws(rng, *((3,) if each else ()), effect)
    types = fg.Categorical(causes), fg.Categorical(effect)
    check_factor(fg.NoisyMax(links, leak), *types, widths=[width, 1])
    links[..., 0, :] = np.eye(effect)[0]  # the first state of a cause does nothing, and there is no leak
    check_factor(fg.NoisyMax(links), *types, widths=[width, 1])


@pytest.mark.parametrize("strengths", [[0.9], [0.3, 1.0, 0.0], [[0.2, 0.4], [0.0, 1.0], [0.7, 0.1]]])
@pytest.mark.parametrize("leak", [0.0, 0.05])
def test_noisy_or_equals_enumeration(strengths: Any, leak: float) -> None:
    width = np.shape(strengths)[-1]
    check_factor(fg.NoisyOr(strengths, leak), fg.Categorical(2), fg.Categorical(2), widths=[width, 1])


def test_the_law_is_that_of_the_definition(rng: np.random.Generator) -> None:
    """By drawing what each cause does, for a noisy-max; by the product, for a noisy-or."""
    links, leak = laws(rng, 2, 3, 3), laws(rng, 3)
    states = np.array([2, 1])
    acts = [
        rng.choice(3, p=leak, size=200_000),
        *(rng.choice(3, p=links[i, state], size=200_000) for i, state in enumerate(states)),
    ]
    found = np.bincount(np.max(acts, axis=0), minlength=3) / 200_000
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Categorical(3), 2), graph.add_variables("y", fg.Categorical(3))
    graph.add_factors("max", fg.NoisyMax(links, leak), x, y)
    graph.observe(x, states)
    np.testing.assert_allclose(fg.run(graph).marginals(y), found, atol=0.006)

    strengths = rng.random(4)
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Categorical(2), 4), graph.add_variables("y", fg.Categorical(2))
    graph.add_factors("or", fg.NoisyOr(strengths, 0.1), x, y)
    graph.observe(x, [1, 0, 1, 1])
    expected = 0.9 * np.prod(1 - strengths[[0, 2, 3]])
    np.testing.assert_allclose(fg.run(graph).marginals(y)[0], expected)
    np.testing.assert_allclose(fg.exact(graph).marginals(y)[0], expected)


def test_hundreds_of_causes(rng: np.random.Generator) -> None:
    """Without evidence the effect's probability is a product; with it, Bayes' rule for each cause by itself."""
    number = 400
    strengths, priors = 0.02 * rng.random(number), 0.2 * rng.random(number)
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Categorical(2), number), graph.add_variables("y", fg.Categorical(2))
    graph.add_factors("or", fg.NoisyOr(strengths, 0.01), x, y)
    with np.errstate(divide="ignore"):
        graph.set_prior(x, np.log(np.stack([1 - priors, priors], axis=1)))
    none = 0.99 * np.prod(1 - priors * strengths)
    np.testing.assert_allclose(fg.run(graph).marginals(y), [none, 1 - none], atol=1e-12)
    graph.observe(y, 1)
    without = none / (1 - priors * strengths)  # the product over all others
    expected = priors * (1 - without * (1 - strengths)) / (1 - none)
    np.testing.assert_allclose(fg.run(graph).marginals(x)[:, 1], expected, atol=1e-12)
    with pytest.raises(ValueError, match=r"NoisyOr of 400 causes has .* joint states; in max mode, when it is a table"):
        fg.run(graph, mode="max")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fg.NoisyOr([0.5, 1.2]), r"strengths must be probabilities, from 0 to 1, not \[0.5, 1.2\]"),
        (lambda: fg.NoisyOr(0.5), r"strengths must be \(d,\) or \(F, d\)"),
        (lambda: fg.NoisyOr([0.5]), r"strengths have shape \(1,\); expected \(2,\), or \(1, 2\)"),
        (lambda: fg.NoisyMax([[[0.5, 0.5]] * 2]), r"links have shape \(1, 2, 2\); expected \(2, 2, 2\), or \(1, 2, 2, 2\)"),
        (lambda: fg.NoisyOr([0.5, 0.5], leak=-0.1), "leak must be probabilities"),
        (lambda: fg.NoisyMax(np.full((2, 2, 2), 0.5), [0.2, 0.3, 0.5]), r"leak has shape \(3,\); expected \(2,\) or \(1, 2\)"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str) -> None:
    graph = fg.FactorGraph()
    x, y = graph.add_variables("x", fg.Categorical(2), 2), graph.add_variables("y", fg.Categorical(2))
    with pytest.raises(ValueError, match=message):
        graph.add_factors("noisy", make(), x, y)
    with pytest.raises(TypeError, match="NoisyOr takes categorical variables, but port 1 has Spin"):
        graph.add_factors("noisy", fg.NoisyOr([0.5, 0.5]), x, graph.add_variables("s", fg.Spin()))
