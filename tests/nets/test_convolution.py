"""Convolutions: the perceptron block on gathered columns, against layers without views and against one block for each place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import factorgraph as fg
from nets.perceptron import Perceptron
from nets.windows import windows

CHANNELS, SIDE, FILTERS, PATTERNS = 2, 5, 3, 4
METHODS = [("mf", "first-order"), ("bpi", "first-order"), ("bpi", "exact"), ("amp", "first-order"), ("bp", "exact")]


def images(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Values of data, or fields of spins, of all pixels."""
    return rng.normal(size=(CHANNELS * SIDE * SIDE, PATTERNS)) * (1.0 if kind == "data" else 0.5)


def build(factor: Any, kind: str, places: np.ndarray, apart: bool) -> fg.FactorGraph:
    """One block on all windows, or one for each place, with the filters, the pixels and the outputs in common."""
    graph = fg.FactorGraph()
    w = graph.add_variables("w", fg.Spin(), (FILTERS, len(places)))
    x = graph.add_variables("x", fg.Data() if kind == "data" else fg.Spin(), (CHANNELS * SIDE * SIDE, PATTERNS))
    z = graph.add_variables("z", fg.Spin(), (FILTERS, places.shape[1], PATTERNS))
    if not apart:
        graph.add_factors("conv", factor(), w, x.gather(places), z)
    for place in range(places.shape[1] if apart else 0):
        graph.add_factors(f"place {place}", factor(), w, x.gather(places[:, place]), z[:, place])
    return graph


@pytest.mark.parametrize("kind", ["data", "spins"])
@pytest.mark.parametrize(("method", "cavity"), METHODS)
@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 0)])
def test_a_convolution_is_a_block_at_each_place(
    backend: str, method: str, cavity: str, kind: str, stride: int, padding: int, rng: np.random.Generator
) -> None:
    """Two iterations of all messages at once, the second with Onsager terms and cavities; beliefs agree to 1e-6."""
    places, _ = windows((CHANNELS, SIDE, SIDE), 3, stride, padding)
    fields = {"w": 0.5 * rng.normal(size=(FILTERS, len(places))), "z": rng.normal(size=(FILTERS, places.shape[1], PATTERNS))}
    pixels = images(kind, rng)
    found = []
    for apart in (False, True):
        graph = build(lambda: Perceptron(method, cavity), kind, places, apart)
        inference = fg.Inference(graph, fg.Flooding(), backend=backend)
        for name, field in fields.items():
            inference.set_prior(graph.variables(name), field)
        if kind == "data":
            inference.observe(graph.variables("x"), pixels)
        else:
            inference.set_prior(graph.variables("x"), pixels)
        inference.step()
        inference.step()
        names = ("w", "z") if kind == "data" else ("w", "z", "x")
        found.append([inference.state.belief(graph.variables(name)) for name in names])
    for one, many in zip(*found, strict=True):
        np.testing.assert_allclose(one, many, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["data", "spins"])
@pytest.mark.parametrize(("method", "cavity"), METHODS)
def test_a_convolution_is_the_dense_layer_with_the_unrolled_mask(
    backend: str, method: str, cavity: str, kind: str, rng: np.random.Generator
) -> None:
    """One iteration: what the unrolled weights are told adds up to what the filters are."""
    places, _ = windows((CHANNELS, SIDE, SIDE), 3, 2, 1)
    (taps, number), J = places.shape, CHANNELS * SIDE * SIDE
    prior, above = 0.5 * rng.normal(size=(FILTERS, taps)), rng.normal(size=(FILTERS, number, PATTERNS))
    pixels = images(kind, rng)
    mask, unrolled = np.zeros((number, J), bool), np.zeros((FILTERS, number, J))
    for place in range(number):
        inside = places[:, place] >= 0
        mask[place, places[inside, place]] = True
        unrolled[:, place, places[inside, place]] = prior[:, inside]

    def run(graph: fg.FactorGraph, w: np.ndarray, z: np.ndarray) -> tuple[list[np.ndarray], fg.Inference]:
        inference = fg.Inference(graph, fg.Flooding(), backend=backend)
        inference.set_prior(graph.variables("w"), w)
        inference.set_prior(graph.variables("z"), z)
        inference.observe(graph.variables("x"), pixels) if kind == "data" else inference.set_prior(graph.variables("x"), pixels)
        inference.step()
        names = ("w", "z") if kind == "data" else ("w", "z", "x")
        return [inference.state.belief(graph.variables(name)) for name in names], inference

    ours, _ = run(build(lambda: Perceptron(method, cavity), kind, places, False), prior, above)
    dense = fg.FactorGraph()
    w = dense.add_variables("w", fg.Spin(), (FILTERS * number, J))
    x = dense.add_variables("x", fg.Data() if kind == "data" else fg.Spin(), (J, PATTERNS))
    z = dense.add_variables("z", fg.Spin(), (FILTERS * number, PATTERNS))
    dense.add_factors("layer", Perceptron(method, cavity, mask=np.tile(mask, (FILTERS, 1))), w, x, z)
    theirs, _ = run(dense, unrolled.reshape(FILTERS * number, J), above.reshape(FILTERS * number, PATTERNS))
    told = (theirs[0].reshape(FILTERS, number, J) - unrolled) * mask
    expected = prior.copy()
    for place in range(number):
        inside = places[:, place] >= 0
        expected[:, inside] += told[:, place, places[inside, place]]
    np.testing.assert_allclose(ours[0], expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(ours[1].reshape(FILTERS * number, PATTERNS), theirs[1], rtol=1e-6, atol=1e-8)
    if kind == "spins":
        np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("method", "cavity"), METHODS)
def test_places_outside_say_nothing_in_any_sweep(backend: str, method: str, cavity: str, rng: np.random.Generator) -> None:
    """One place of three is outside in all columns: as if its weights and it were not there."""
    fields = rng.normal(size=(FILTERS, 3)), rng.normal(size=(2, PATTERNS)), rng.normal(size=(FILTERS, PATTERNS))
    found = []
    for padded in (True, False):
        graph = fg.FactorGraph()
        w = graph.add_variables("w", fg.Spin(), (FILTERS, 3))
        x = graph.add_variables("x", fg.Spin(), (2, PATTERNS))
        z = graph.add_variables("z", fg.Spin(), (FILTERS, PATTERNS))
        block = Perceptron(method, cavity)
        graph.add_factors("layer", block, *((w, x.gather([0, 1, -1])) if padded else (w[:, :2], x)), z)
        inference = fg.Inference(graph, fg.Flooding(), backend=backend)
        for block_of, field in zip((w, x, z), fields, strict=True):
            inference.set_prior(block_of, field)
        for _ in range(4):
            inference.step()
        found.append([inference.state.belief(block_of) for block_of in (w, x, z)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("method", "cavity"), METHODS)
def test_constants_are_inputs_that_are_seen(backend: str, method: str, cavity: str, rng: np.random.Generator) -> None:
    """Constant inputs above hidden units, in several sweeps: as spins that are observed to be +1."""
    fields = rng.normal(size=(FILTERS, 5)), rng.normal(size=(3, PATTERNS)), rng.normal(size=(FILTERS, PATTERNS))
    found = []
    for constants in (2, 0):
        graph = fg.FactorGraph()
        w = graph.add_variables("w", fg.Spin(), (FILTERS, 5))
        x = graph.add_variables("x", fg.Spin(), (5 - constants, PATTERNS))
        z = graph.add_variables("z", fg.Spin(), (FILTERS, PATTERNS))
        graph.add_factors("layer", Perceptron(method, cavity, constants=constants), w, x, z)
        inference = fg.Inference(graph, fg.Flooding(), backend=backend)
        inference.set_prior(w, fields[0])
        inference.set_prior(x[:3], fields[1])
        inference.set_prior(z, fields[2])
        if not constants:
            inference.observe(x[3:], 1)
        for _ in range(3):
            inference.step()
        found.append([inference.state.belief(one) for one in (w, x[:3], z)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
