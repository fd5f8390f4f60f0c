"""Message passing on binary perceptrons against what statistical physics says of large ones."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import log_ndtr

import factorgraph as fg
from examples.committee_machine import learn
from nets import Network
from nets.state_evolution import committee_overlaps, generalisation_error, perceptron_overlaps


def perceptron(patterns: np.ndarray, labels: np.ndarray, method: str) -> tuple[fg.Variables, fg.Inference]:
    network = Network((len(patterns), 1), patterns.shape[1], method)
    inference = fg.Inference(network.graph, network.training_schedule(), dtype="float32")
    inference.observe(network.input, patterns)
    inference.observe(network.output, labels[None])
    return network.weights[0], inference


def overlaps(alpha: float, size: int, iterations: int, method: str, seed: int) -> np.ndarray:
    """Overlap with the teacher and mean squared magnetisation, ``(iterations, 2)``."""
    rng = np.random.default_rng(seed)
    patterns = rng.choice([-1, 1], size=(size, int(alpha * size)))
    teacher = rng.choice([-1, 1], size=size)
    weights, inference = perceptron(patterns, np.where(teacher @ patterns >= 0, 1, -1), method)
    found = []
    for _ in range(iterations):
        inference.step()
        mean = np.tanh(inference.state.belief(weights)[0])
        found.append((mean @ teacher / size, np.mean(mean**2)))
    return np.array(found)


@pytest.mark.parametrize("alpha", [0.4, 1.0])
def test_amp_follows_state_evolution(alpha: float) -> None:
    """Each iteration's overlap, and by Bayes-optimality the squared magnetisation too, over five teachers."""
    runs = np.stack([overlaps(alpha, 1501, 10, "amp", seed) for seed in range(5)])
    theory = perceptron_overlaps(alpha, 10)
    mean, error = runs.mean(axis=0), runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    # Four standard errors, and corrections of the order of 1 / sqrt(N) to the limit of many inputs.
    for column in (0, 1):
        assert (np.abs(mean[:, column] - theory) < 4 * error[:, column] + 0.6 / np.sqrt(1501)).all()


def test_mean_field_does_not_and_bpi_loses_less() -> None:
    """Without the reaction of the sweep before, sweeps overshoot."""
    theory = perceptron_overlaps(1.0, 10)[-1]
    found = {method: overlaps(1.0, 1001, 10, method, 0)[-1, 0] for method in ("mf", "bpi", "amp")}
    assert found["mf"] < 0.6 * theory
    assert abs(found["amp"] - theory) < 0.06


def stores(seed: int, control: Callable[[fg.Inference, fg.Variables, int], None], limit: int) -> bool:
    """Whether 325 random labels of 501 inputs are satisfied within a number of sweeps, each after a control."""
    rng = np.random.default_rng(seed)
    patterns = rng.choice([-1, 1], size=(501, 325))
    labels = rng.choice([-1, 1], size=325)
    weights, inference = perceptron(patterns, labels, "amp")
    for iteration in range(limit):
        control(inference, weights, iteration)
        inference.step()
        if (np.where(inference.state.belief(weights)[0] >= 0, 1, -1) @ patterns * labels > 0).all():
            return True
    return False


def test_amp_stores_random_labels_by_growing_reinforcement() -> None:
    """At 0.65 patterns a weight, of a capacity of 0.833: most of ten instances."""

    def reinforce(inference: fg.Inference, weights: fg.Variables, iteration: int) -> None:
        inference.posterior_as_prior(weights, 1.0 - 0.99**iteration)

    assert sum(stores(seed, reinforce, 600) for seed in range(10)) >= 7


def test_amp_stores_random_labels_by_focusing_on_replicas() -> None:
    """The same with seven replicas whose coupling grows, in a third of the sweeps: most of five instances."""

    def focus(inference: fg.Inference, weights: fg.Variables, iteration: int) -> None:
        inference.focus(weights, 7, 0.01 * iteration)

    assert sum(stores(seed, focus, 200) for seed in range(5)) >= 4


def test_state_evolution_equals_its_integrals() -> None:
    q = 0.3
    (found,) = perceptron_overlaps(0.7, 1, start=q)

    def normal(z: float) -> float:
        return float(np.exp(-z * z / 2) / np.sqrt(2 * np.pi))

    def information(z: float) -> float:
        u = z * np.sqrt(q / (1 - q))
        return normal(z) * normal(u) ** 2 / float(np.exp(log_ndtr(u)))

    qhat = 2 * 0.7 / (1 - q) * quad(information, -12, 12)[0]
    expected, _ = quad(lambda z: normal(z) * np.tanh(qhat + np.sqrt(qhat) * z) ** 2, -12, 12)
    assert found == pytest.approx(expected, abs=1e-9)
    assert generalisation_error(1.0) == 0.0
    assert generalisation_error(0.0) == 0.5


def test_a_better_answer_exists_before_it_is_found() -> None:
    """Between 1.245 and 1.493 patterns a weight perfect recovery is possible, but iterations from nothing do not reach it."""
    assert perceptron_overlaps(1.35, 300)[-1] < 0.9
    assert perceptron_overlaps(1.35, 300, start=0.999)[-1] > 0.999
    assert perceptron_overlaps(1.6, 300)[-1] > 0.999


@pytest.mark.parametrize(("alpha", "start"), [(0.0, 0.0), (1.0, 1.0), (1.0, -0.1)])
def test_state_evolution_refuses_what_makes_no_sense(alpha: float, start: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        perceptron_overlaps(alpha, 1, start)


def test_state_evolution_of_a_committee_of_one_is_the_perceptrons() -> None:
    overlaps, errors = committee_overlaps(0.8, 1, 8)
    np.testing.assert_allclose(overlaps, perceptron_overlaps(0.8, 8), rtol=1e-12)
    np.testing.assert_allclose(errors, generalisation_error(overlaps), atol=2e-3)  # the quadrature's, at a kink
    for wrong in ((0.0, 3), (1.0, 2)):
        with pytest.raises(ValueError, match=r"must be above 0|odd number"):
            committee_overlaps(*wrong, 5)


def test_a_committee_follows_state_evolution() -> None:
    """Masked perceptrons under an exact majority, over five teachers: each iteration's overlap."""
    runs = np.stack([learn(1.0, 1503, 8, np.random.default_rng(seed)) for seed in range(5)])
    theory, _ = committee_overlaps(1.0, 3, 8)
    error = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    assert (np.abs(runs.mean(axis=0) - theory) < 4 * error + 0.6 / np.sqrt(1503)).all()


def entropy(alpha: float) -> float:
    """Log of the number of weight vectors that agree with a teacher on all patterns, for each weight, in theory."""
    points, weights = np.polynomial.hermite_e.hermegauss(201)
    weights = weights / weights.sum()
    q = perceptron_overlaps(alpha, 200)[-1]
    u = np.sqrt(q / (1 - q)) * points
    qhat = 2 * alpha / (1 - q) * weights @ np.exp(-u * u - np.log(2 * np.pi) - log_ndtr(u))
    energy = 2 * alpha * weights @ (np.exp(log_ndtr(u)) * log_ndtr(u))
    free = np.log(2) - qhat / 2 + weights @ np.log(np.cosh(qhat + np.sqrt(qhat) * points))
    return float(free - q * qhat / 2 + energy)


@pytest.mark.parametrize("alpha", [0.3, 0.6, 1.0])
def test_the_number_of_solutions_is_that_of_theory(alpha: float) -> None:
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        patterns = rng.choice([-1, 1], size=(1001, int(alpha * 1001)))
        labels = np.where(rng.choice([-1, 1], size=1001) @ patterns >= 0, 1, -1)
        _, inference = perceptron(patterns, labels, "amp")
        found.append(inference.run(60, tolerance=0.0).log_partition / 1001)
    assert abs(np.mean(found) - entropy(alpha)) < 4 * np.std(found, ddof=1) / np.sqrt(3) + 0.01


def test_the_number_of_solutions_of_tiny_networks_is_near_enumeration() -> None:
    """
    A perceptron of 15 inputs and a 5-3-1 network, six patterns, by all 2^15 and 2^18 weights.

    The logarithms of their numbers are 6.4 and 9.2 on average, of 10.4 and 12.5 for all weights. Hidden units may be exchanged,
    so that messages of the network stay alike, and know only that each label halves the weights: mean gaps 0.14 and 0.86.
    """
    hidden = np.array(list(product([-1, 1], repeat=15)))
    outer = np.array(list(product([-1, 1], repeat=3)))
    gaps: dict[tuple[int, ...], list[float]] = {(15, 1): [], (5, 3, 1): []}
    for seed in range(10):
        rng = np.random.default_rng(seed)
        for sizes, found in gaps.items():
            patterns = rng.choice([-1, 1], size=(sizes[0], 6)) if len(sizes) > 2 else rng.normal(size=(15, 6))
            outputs = np.sign(hidden @ patterns) if len(sizes) == 2 else None
            if outputs is None:
                units = np.sign(np.einsum("akn,nm->akm", hidden.reshape(-1, 3, 5), patterns))
                outputs = np.sign(np.einsum("bk,akm->abm", outer, units)).reshape(-1, 6)
            labels = outputs[rng.integers(len(outputs))].astype(int)
            network = Network(sizes, 6, "amp")
            damping = {weights.name: fg.Damping(0.6, "mean") for weights in network.weights}
            inference = fg.Inference(network.graph, network.training_schedule(), damping=damping)
            inference.observe(network.input, patterns)
            inference.observe(network.output, labels[None])
            number = (outputs == labels).all(axis=1).sum()
            found.append(abs(inference.run(300, tolerance=0.0).log_partition - np.log(number)))
    assert np.mean(gaps[15, 1]) < 0.25
    assert np.mean(gaps[5, 3, 1]) < 1.2


def test_real_outputs_have_no_bethe_free_energy() -> None:
    network = Network((3, 2, 1), 4, activation="relu")
    inference = fg.Inference(network.graph, network.prediction_schedule())
    inference.observe(network.input, np.ones((3, 4)))
    with pytest.raises(NotImplementedError, match="between spins alone"):
        _ = inference.run(1, tolerance=0.0).log_partition


def test_onsager_terms_count_solutions_as_true_cavities_do() -> None:
    """Without either each pattern hears its own message, and the number comes out too large."""
    rng = np.random.default_rng(0)
    patterns = rng.choice([-1, 1], size=(301, 180))
    labels = np.where(rng.choice([-1, 1], size=301) @ patterns >= 0, 1, -1)
    found = {}
    for method in ("amp", "bp", "bpi"):
        network = Network((301, 1), 180, method)
        damping = {"weights1": fg.Damping(0.3, "mean")}
        inference = fg.Inference(network.graph, network.training_schedule(), damping=damping)
        inference.observe(network.input, patterns)
        inference.observe(network.output, labels[None])
        found[method] = inference.run(60, tolerance=0.0).log_partition / 301
    assert abs(found["amp"] - found["bp"]) < 0.005
    assert found["bpi"] > found["amp"] + 0.1
