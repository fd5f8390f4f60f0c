"""Evidence kept on the device, plates updated at once, and running out of memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from nets import Network


def network(backend: str, **controls: Any) -> tuple[Network, fg.Inference]:
    net = Network((4, 5, 3), 6, "mf")
    inference = fg.Inference(net.graph, net.training_schedule(), backend=backend, **controls)
    for weights in net.weights:
        inference.set_prior(weights, np.random.default_rng(0).normal(size=weights.shape))
    return net, inference


def test_rows_are_observed_as_their_values_are(backend: str, rng: np.random.Generator) -> None:
    X, y = rng.normal(size=(20, 4)), rng.integers(3, size=20)
    net, inference = network(backend)
    inputs, labels = inference.observations(net.input, X), inference.observations(net.output, y)
    assert len(inputs) == 20
    rows = rng.permutation(20)[:6]
    beliefs = []
    for by_rows in (True, False):
        net, inference = network(backend)
        inference.observe(net.input, inputs[rows] if by_rows else X[rows].T)
        inference.observe(net.output, labels[rows] if by_rows else y[rows])
        inference.step()
        beliefs.append(inference.state.belief(net.weights[0]))
        np.testing.assert_array_equal(inference.state.pool(net.output).evidence.values, y[rows])
        np.testing.assert_array_equal(inference.state.pool(net.input).evidence.values, X[rows].T.reshape(-1))
        assert inference.run(1, tolerance=0).mode(net.output).tolist() == y[rows].tolist()
    np.testing.assert_allclose(beliefs[0], beliefs[1], rtol=1e-12)


def test_observations_say_what_is_wrong_with_them() -> None:
    net, inference = network("numpy")
    with pytest.raises(ValueError, match=r"observations of 'input' have shape \(4, 20\); expected \(n, 4\)"):
        inference.observations(net.input, np.zeros((4, 20)))
    with pytest.raises(ValueError, match=r"'output'.*7 is not a state"):
        inference.observations(net.output, np.full(20, 7))
    with pytest.raises(ValueError, match=r"'input'.*finite"):
        inference.observations(net.input, np.full((20, 4), np.nan))
    with pytest.raises(TypeError, match="must be numbers"):
        inference.observations(net.output, np.array(["a"] * 20))
    observations = inference.observations(net.input, np.zeros((20, 4)))
    with pytest.raises(ValueError, match="takes 6 rows at a time"):
        observations[:5]
    with pytest.raises(IndexError):
        observations[np.arange(17, 23)]
    with pytest.raises(ValueError, match="rows of 'input' can be observed by all of that block"):
        inference.observe(net.output, observations[:6])
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 3)
    graph.add_factors("f", fg.Ising(1.0), x[:-1], x[1:])
    with pytest.raises(ValueError, match="whole plate of block factors"):
        fg.Inference(graph).observations(x, np.zeros((20,)))


@pytest.mark.parametrize("reinforcement", [0.0, 0.2])
@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_a_plate_updated_at_once_equals_single_steps(
    backend: str, reinforcement: float, strength: float, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Posterior as prior, reinforcement and damping, over batches of two sweeps."""
    X, y = rng.normal(size=(18, 4)), rng.integers(3, size=18)
    found = []
    for at_once in (True, False):
        if not at_once:
            monkeypatch.setattr(fg.Spin, "update", fg.VariableType.update)
        net, inference = network(
            backend,
            damping={"weights1": fg.Damping(strength, "mean"), "weights2": fg.Damping(strength, "mean")},
            reinforcement={"weights1": reinforcement},
        )
        for start in (0, 6, 12):
            for weights in net.weights:
                inference.posterior_as_prior(weights, 0.9)
            inference.observe(net.input, X[start : start + 6].T)
            inference.observe(net.output, y[start : start + 6])
            inference.step()
            inference.step()
        state = inference.state
        found.append(
            [state.belief(w) for w in net.weights] + [state.backend.to_host(state.plate(w).means()) for w in net.weights]
        )
        found[-1] += [state.backend.to_host(state.plate(w).settle_prior()) for w in net.weights]
        found[-1] += [state.backend.to_host(state.plate(w).variances()) for w in net.weights]
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


def test_running_out_of_memory_names_what_is_needed_and_what_lowers_it(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (1000, 1000))
    graph.add_factors("rows", fg.Ising(0.1), x[:, :-1], x[:, 1:])
    backend = fg.get_backend("numpy")

    def fail(shape: tuple[int, ...]) -> None:
        raise MemoryError("Unable to allocate 7 GiB")

    monkeypatch.setattr(backend, "zeros", fail)
    # 3 million numbers of variables and 2 million of messages, 8 bytes each, for 1,000 sets; 24 bytes of indices a message.
    with pytest.raises(MemoryError, match=r"need about 38,1\d\d MiB; use dtype='float32', a smaller batch than 1000"):
        fg.Inference(graph, fg.Flooding(), backend=backend, batch=1000)
    net = Network((4, 5, 3), 6)
    with pytest.raises(MemoryError, match="plates of fewer patterns"):
        fg.Inference(net.graph, net.training_schedule(), backend=backend)
