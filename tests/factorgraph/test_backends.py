"""The backend seam: tuned forms equal the reference, nothing hidden crosses to the host, errors are clear."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from scipy import special

import factorgraph as fg
from factorgraph.backends import Backend
from factorgraph.backends.numpy_backend import NumpyBackend
from factorgraph.factors.spin_products import spin_products
from factorgraph.variables.spin import spin_centre, spin_variance, update_spins


class Reference(Backend):
    """The reference form, on NumPy arrays."""

    name = "reference"
    xp = np

    def take(self, array: Any, index: Any, axis: int) -> Any:
        return array[(slice(None),) * axis + (index,)] if isinstance(index, slice) else np.take(array, index, axis=axis)

    def erfcx(self, x: Any) -> Any:
        return special.erfcx(x)


def inputs(rng: np.random.Generator, label: str, shape: tuple[int, ...]) -> np.ndarray:
    values = {"random": 1.0, "extreme": 100.0, "infinite": 1.0, "zero": 0.0}[label] * rng.normal(size=shape)
    if label == "infinite":
        values[rng.random(shape) < 0.3] = -np.inf
    return values


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("label", ["random", "extreme", "infinite", "zero"])
def test_numpy_forms_equal_the_reference(dtype: str, label: str, rng: np.random.Generator) -> None:
    tuned, plain = NumpyBackend(dtype), Reference(dtype)
    tolerance = {"rtol": 1e-12, "atol": 1e-12} if dtype == "float64" else {"rtol": 2e-6, "atol": 2e-6}
    x = inputs(rng, label, (3, 50)).astype(dtype)
    y = inputs(rng, label, (50,)).astype(dtype)
    slots = rng.integers(0, 50, size=(4, 20))
    places, edges = rng.integers(0, 50, size=30), rng.integers(0, 50, size=30)
    pairs: list[tuple[str, Any]] = [
        ("take", lambda b: b.take(x, places, 1)),
        ("gather_slots", lambda b: b.gather_slots(x, slots, 1)),
        ("sum_slots", lambda b: b.sum_slots(y, slots, 0)),
        ("sum_slots", lambda b: b.sum_slots(x, slots, 1)),
        ("sum_slots", lambda b: b.sum_slots(x, slots[:0], 1)),
        ("log_sum_exp", lambda b: b.log_sum_exp(x, 0)),
        ("subtract_largest", lambda b: b.subtract_largest(x.copy())),
        ("largest_magnitude", lambda b: b.largest_magnitude(x)),
        ("add", lambda b: b.apply("add", x, x)),
        ("subtract", lambda b: b.apply("subtract", 1.0, x, out=x.copy())),
        ("multiply", lambda b: b.apply("multiply", x, 0.5, out=x.copy())),
        ("tanh", lambda b: b.apply("tanh", x, out=x.copy())),
        ("elementwise", lambda b: b.elementwise(lambda a, _: (a * 2, a + 1), x)[0]),
        ("erfcx", lambda b: b.erfcx(np.abs(x[np.isfinite(x)]))),
    ]
    if label != "infinite":
        pairs.append(("gather_subtract", lambda b: b.gather_subtract(x, places, 2 * x, edges, 1)))
    for step in (1.0, 0.4):
        for relax in ("relax", "relax_infinite"):
            for index in (slice(10, 40), edges[:1]):

                def moved(b: Backend, step: float = step, relax: str = relax, index: Any = index) -> Any:
                    array = np.ones_like(x)
                    change = getattr(b, relax)(array, index, b.take(x, index, 1), step, 1)
                    return np.concatenate([array, np.resize(change, array.shape)])

                pairs.append((relax, moved))
    with np.errstate(all="ignore"):
        for name, call in pairs:
            np.testing.assert_allclose(call(tuned), call(plain), **tolerance, err_msg=name)


@pytest.mark.parametrize("shape", [(200_000,), (400, 500), (1, 200_000)])
def test_elementwise_functions_in_pieces_equal_those_at_once(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """To the bit; with numbers, with arrays that broadcast and with arrays that are overwritten."""
    tuned, plain = NumpyBackend("float64"), Reference("float64")

    def same(function: Any, *given: Any) -> list[Any]:
        arrays = [[x.copy() if isinstance(x, np.ndarray) else x for x in given] for _ in range(2)]
        found, expected = tuned.elementwise(function, *arrays[0]), plain.elementwise(function, *arrays[1])
        assert len(found) == len(expected)
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        return [next((place for place, array in enumerate(arrays[0]) if np.shares_memory(array, f)), None) for f in found]

    x = 3 * rng.normal(size=shape)
    narrow = x[..., :1] if x.ndim > 1 else x[:1]
    assert same(spin_variance, np.tanh(x)) == [None]
    assert same(spin_centre, x, 7, 1.0) == [None]
    for coupling in (x, narrow, x[:1], narrow[:1]):
        assert same(spin_products, x, coupling, None) == [None]
        assert same(spin_products, x, coupling, np.exp(-2 * coupling)) == [None]
    assert same(spin_products, narrow, x, None) == [None]
    assert same(update_spins, x, x[::-1], 2 * x, np.tanh(x), np.tanh(x), 0.9, 0.3, 0.5) == [0, 1, 3, 4]


@pytest.mark.parametrize("mode", ["sum", "max"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("sizes", [(3, 2), (2, 3, 2), (2, 2, 2, 3, 2)])
def test_table_messages_in_chunks_equal_the_definition(
    mode: str, shared: bool, sizes: tuple[int, ...], rng: np.random.Generator
) -> None:
    count = 5000
    table = rng.normal(size=(*sizes, 1 if shared else count))
    weights = [rng.normal(size=(size, count)) for size in sizes]
    found = NumpyBackend("float64").table_marginals(table, weights, range(len(sizes)), mode)
    for port, message in enumerate(found):
        joint = np.broadcast_to(table, (*sizes, count))
        for other, weight in enumerate(weights):
            if other != port:
                joint = joint + weight.reshape((1,) * other + (-1,) + (1,) * (len(sizes) - other - 1) + (count,))
        axes = tuple(a for a in range(len(sizes)) if a != port)
        expected = joint.max(axis=axes) if mode == "max" else special.logsumexp(joint, axis=axes)
        np.testing.assert_allclose(message, expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_spin_products_are_exact_where_hyperbolic_tangents_round_to_one(dtype: str) -> None:
    backend = NumpyBackend(dtype)
    fields = np.array([25.0, 25.0, -25.0, 1e-3, 300.0, np.inf, -np.inf], dtype=dtype)
    coupling = np.array([9.0, -9.0, 2.0, 8.0, 5.0, 3.0, 7.0], dtype=dtype)
    expected = np.array([9.0, -9.0, -2.0, 1e-3, 5.0, 3.0, -7.0])
    for odds in (np.exp(-2 * coupling), None):
        (found,) = backend.elementwise(spin_products, fields, coupling, odds)
        np.testing.assert_allclose(found, expected, rtol=3e-4, atol=1e-6)


@pytest.fixture
def host_reads() -> Iterator[Counter[str]]:
    """Counts what makes a GPU wait: a device array turned into a Python number, a truth value or an iterator."""
    import array_api_strict._array_object as library  # noqa: TID251

    counts: Counter[str] = Counter()
    originals = {}
    for name in ("__float__", "__bool__", "__int__", "__index__", "__complex__", "__iter__", "__dlpack__"):
        original = originals[name] = getattr(library.Array, name)

        def counted(self: Any, *args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if not caller.startswith(("array_api_strict", "factorgraph.backends")):
                counts[_name] += 1
            return _original(self, *args, **kwargs)

        setattr(library.Array, name, counted)
    yield counts
    for name, original in originals.items():
        setattr(library.Array, name, original)


def test_iterations_do_not_wait_for_the_device(
    host_reads: Counter[str], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (4, 4))
    y = graph.add_variables("y", fg.Categorical(3), 4)
    graph.add_factors("rows", fg.Ising(0.3), x[:-1], x[1:])
    graph.add_factors("mixed", fg.Table(rng.normal(size=(2, 3))), x[0], y)
    graph.add_factors("hard", fg.Potts(-np.inf), y[:-1], y[1:])
    graph.observe(x[3, 3], 1)
    inference = fg.Inference(graph, fg.Flooding(), backend="array-api-strict", damping=0.3)
    inference.step()
    host_reads.clear()
    for _ in range(5):
        inference.step()
    assert sum(host_reads.values()) == 0, host_reads
    transfers: list[tuple[int, ...]] = []
    original = inference.backend.to_host
    monkeypatch.setattr(inference.backend, "to_host", lambda array: transfers.append(array.shape) or original(array))
    counts = []
    for check_every in (20, 10, 5):
        transfers.clear()
        inference.run(20, tolerance=0, check_every=check_every)
        counts.append(len(transfers))
    assert np.diff(counts).tolist() == [1, 2]  # one for each check
    assert sum(host_reads.values()) == 0, host_reads


def test_cupy_gives_one_clear_error_where_it_cannot_run() -> None:
    try:
        fg.get_backend("cupy")
        pytest.skip("CuPy runs here")
    except fg.BackendUnavailableError as error:
        message = str(error)
    assert "backend 'cupy' cannot run" in message
    assert "use backend='numpy'" in message


def test_auto_takes_numpy_where_there_is_no_gpu_and_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="factorgraph"):
        backend = fg.get_backend("auto")
    assert backend.name in ("cupy", "numpy")
    assert backend.name == "cupy" or "backend 'auto' uses numpy" in caplog.text


def test_backends_are_found_by_name() -> None:
    assert set(fg.backend_names()) == {"auto", "numpy", "cupy", "array-api-strict", "compiled"}
    backend = fg.get_backend("numpy", "float32")
    assert fg.get_backend(backend) is backend
    with pytest.raises(ValueError, match="computes in float32"):
        fg.get_backend(backend, "float64")
