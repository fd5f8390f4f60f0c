"""The kernels' texts: named as their NumPy twins, equal to them in float64, and fit for a GPU's compiler."""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import inspect
import re
import shutil
import subprocess
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

import factorgraph as fg
from factorgraph.backends import Backend, KernelBackend
from factorgraph.backends.kernel_backend import parameters_of
from factorgraph.backends.kernels import text
from factorgraph.backends.numpy_backend import NumpyBackend
from factorgraph.factors import spin_products
from factorgraph.factors.bound import BoundFactor
from factorgraph.factors.table_source import table_source
from factorgraph.inference.executors import fused
from factorgraph.variables import spin
from nets.channels import argmax, sign, tails


@pytest.fixture(params=["compiled", pytest.param("cupy", marks=pytest.mark.gpu)])
def kernels(request: pytest.FixtureRequest) -> str:
    """Each backend that runs kernels."""
    if request.param == "compiled" and shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernels with")
    return str(request.param)


def names_in(source: str) -> set[str]:
    return set(re.findall(r"^(?:DEVICE void|KERNEL) (\w+)\(", source, flags=re.MULTILINE))


def test_every_kernel_has_a_numpy_twin_of_its_name_and_signature() -> None:
    names = names_in(text("elementwise.cu")) | names_in(text("reductions.cu"))
    own = {name for name, value in vars(KernelBackend).items() if callable(value) and hasattr(Backend, name)}
    own = {name for name in own if not name.startswith("__")} - {"elementwise", "settle"}
    assert names == own
    for name in names:
        signatures = {str(inspect.signature(getattr(kind, name))) for kind in (Backend, NumpyBackend, KernelBackend)}
        assert len(signatures) == 1, name
    for name in names_in(text("elementwise.cu")):
        given = [n for kind, n in parameters_of(text("elementwise.cu"), name) if kind == "T"]
        twin = list(inspect.signature(getattr(NumpyBackend, name)).parameters)[1:]
        assert given == twin or name == "difference", name  # `new` is a word of C++


def with_all_kernels(backend: Backend) -> Backend:
    """A backend that also does by kernels what NumPy does better on the CPU."""
    names = names_in(text("elementwise.cu")) | names_in(text("reductions.cu"))
    return type("WithAllKernels", (type(backend),), {name: vars(KernelBackend)[name] for name in names})(backend.dtype_name)


MARKED = {  # the file of some kernels, beside the modules of their twins
    "spin.cu": (spin,),
    "spin_products.cu": (spin_products,),
    "channels.cu": (tails, sign, argmax),
}


def marked_functions(*modules: Any) -> dict[str, Any]:
    return {name: f for module in modules for name, f in vars(module).items() if hasattr(f, "device_source")}


@pytest.mark.parametrize("file", MARKED)
def test_every_marked_function_has_a_kernel_of_its_name_and_signature(file: str) -> None:
    source = Path(MARKED[file][0].__file__).with_name(file).read_text(encoding="utf-8")
    functions = marked_functions(*MARKED[file])
    assert names_in(source) == set(functions)
    for name, function in functions.items():
        *given, last = inspect.signature(function).parameters
        assert last == "backend"
        parameters = [n for kind, n in parameters_of(source, name) if kind != "int"]
        assert parameters[: len(given)] == given, name
        results = [kind for kind, _ in parameters_of(source, name)][-1]
        assert results == "T&" or len(parameters) == len(given), name


def values(rng: np.random.Generator, label: str, shape: tuple[int, ...]) -> np.ndarray:
    scale = {"random": 2.0, "large": 60.0, "small": 1e-4, "zero": 0.0, "infinite": 2.0}[label]
    found = scale * rng.normal(size=shape)
    if label == "infinite":
        found[rng.random(shape) < 0.2], found[rng.random(shape) < 0.2] = -np.inf, np.inf
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("label", ["random", "large", "small", "zero", "infinite"])
def test_operations_equal_numpy_in_float64(kernels: str, dtype: str, label: str, rng: np.random.Generator) -> None:
    device = with_all_kernels(fg.get_backend(kernels, dtype))
    a, b = (values(rng, label, (40, 5)).astype(dtype) for _ in range(2))
    finite = np.nan_to_num(a, posinf=3.0, neginf=-3.0)
    below = np.where(a == np.inf, 0.0, a)  # log-weights: no +inf
    slots, places = rng.integers(0, 40, size=(3, 7)), rng.integers(0, 40, size=20)
    tables = rng.normal(size=(3, 2, 4, 6)).astype(dtype)
    tables[rng.random(tables.shape) < (0.3 if label == "infinite" else 0.0)] = -np.inf
    weights = [values(rng, "random" if label == "infinite" else label, (n, 6)).astype(dtype) for n in (3, 2, 4)]
    calls: dict[str, Any] = {
        "log_add_exp": lambda k, to: [k.log_add_exp(to(below), to(np.minimum(b, 50)))],
        "difference": lambda k, to: [k.difference(to(a), to(b))],
        "hold": lambda k, to: [k.hold(to(a * dtype_of(dtype)(1e11)))],
        "erfcx": lambda k, to: [k.erfcx(to(np.abs(a)))],
        "add_product": lambda k, to: [k.add_product(to(finite), to(b[:1]), to(finite)), k.add_product(to(b), to(b), to(b))],
        "sum_slots": lambda k, to: [
            k.sum_slots(to(finite), k.index_array(slots), 0),
            k.sum_slots(to(finite.T), k.index_array(slots), 1),
        ],
        "add_at": lambda k, to: [
            added(k, to(finite), places, to(b[:20])),
            added(k, to(finite.T), places, to(b.T[:, :20]), axis=1),
        ],
        "gather_subtract": lambda k, to: [
            k.gather_subtract(to(finite), k.index_array(places), to(finite), slice(3, 23), 0),
            k.gather_subtract(to(finite.T), slice(0, 20), to(finite.T), k.index_array(places), 1),
        ],
        "log_sum_exp": lambda k, to: [k.log_sum_exp(to(below), 0), k.log_sum_exp(to(below), 1)],
        "subtract_largest": lambda k, to: [k.subtract_largest(to(below))],
        "table_marginals": lambda k, to: [
            *k.table_marginals(to(tables), [to(w) for w in weights], [2, 0], "sum"),
            *k.table_marginals(to(tables[..., :1]), [to(w) for w in weights], [1], "sum"),
            *k.table_marginals(to(tables), [to(w) for w in weights], [0, 1, 2], "max"),
        ],
    }
    assert set(calls) == names_in(text("elementwise.cu")) | names_in(text("reductions.cu"))
    compare(device, dtype, label, calls)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("label", ["random", "large", "small", "zero", "infinite"])
def test_functions_of_spins_equal_numpy_in_float64(kernels: str, dtype: str, label: str, rng: np.random.Generator) -> None:
    a, b = (values(rng, label, (40, 5)).astype(dtype) for _ in range(2))
    row = np.clip(values(rng, "random", (5,)), -3, 3).astype(dtype)
    finite = np.nan_to_num(a, posinf=3.0, neginf=-3.0)
    plate = finite, finite[::-1], b, np.tanh(finite), np.tanh(finite)
    given: dict[str, list[tuple[Any, ...]]] = {
        "spin_products": [(a, b, None), (a, row, np.exp(-2 * row)), (a[0], row[:1], np.exp(-2 * row[:1]))],
        "spin_maxima": [(a, b)],
        "relax_spin_mean": [(np.tanh(b), a, 0.3), (np.tanh(b), a, 0.0)],
        "spin_centre": [(a, 7, 1.0), (a, 2, 0.1), (a, 3, 30.0)],
        "spin_variance": [(np.tanh(a),)],
        "update_spins": [
            (*plate, *controls) for controls in ((None, 0.0, 0.8), (0.9, 0.0, 0.8), (0.9, 0.3, 0.5), (None, 0.3, 0.0))
        ],
    }
    functions = marked_functions(spin, spin_products)
    assert set(given) == set(functions)

    def call(function: Any, cases: list[tuple[Any, ...]]) -> Any:
        def on_arrays(k: Backend, to: Any) -> list[Any]:
            arrays = ([to(x) if isinstance(x, np.ndarray) else x for x in case] for case in cases)
            return [result for case in arrays for result in k.elementwise(function, *case)]

        return on_arrays

    calls = {name: call(functions[name], cases) for name, cases in given.items()}
    compare(fg.get_backend(kernels, dtype), dtype, label, calls)


def compare(device: Backend, dtype: str, label: str, calls: dict[str, Any]) -> None:
    """Results of calls on a backend, and in float64 on NumPy."""
    plain = NumpyBackend("float64")
    tolerance = {"rtol": 1e-11, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-5, "atol": 2e-6}
    with np.errstate(all="ignore"):
        for name, call in calls.items():
            found = [device.to_host(array) for array in call(device, device.asarray)]
            expected = call(plain, lambda x: np.array(x, dtype=np.float64))
            for mine, theirs in zip(found, expected, strict=True):
                scale = 60.0 if label == "large" and dtype == "float32" else 1.0  # errors of sums of large terms
                np.testing.assert_allclose(mine, theirs, rtol=tolerance["rtol"], atol=scale * tolerance["atol"], err_msg=name)


def added(backend: Backend, array: Any, places: np.ndarray, values: Any, axis: int = 0) -> Any:
    backend.add_at(array, backend.index_array(places), values, axis)
    return array


def dtype_of(name: str) -> Any:
    return np.float64 if name == "float64" else np.float32


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_channels_equal_numpy_in_float64(kernels: str, dtype: str, rng: np.random.Generator) -> None:
    device, plain = fg.get_backend(kernels, dtype), NumpyBackend("float64")
    omega = np.concatenate([rng.normal(size=(6, 50)) * scale for scale in (1e-3, 1.0, 15.0)], axis=1).astype(dtype)
    variance = rng.uniform(0.1, 30.0, size=omega.shape).astype(dtype)
    field = np.where(rng.random(omega.shape) < 0.3, np.inf, 3.0) * rng.choice([-1, 0.5, 1], size=omega.shape)
    label = (np.arange(6)[:, None] == rng.integers(6, size=omega.shape[1])).astype(dtype)
    rtol = 1e-9 if dtype == "float64" else 3e-4

    def run(backend: Backend, function: Any, *arrays: Any) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            return [backend.to_host(r) for r in backend.elementwise(function, *(backend.asarray(array) for array in arrays))]

    tail = run(plain, sign.sign_forward, omega, variance)
    for name, arrays in (
        ("sign_forward", (omega, variance)),
        ("sign_backward", (*tail, field)),
        ("inverse_mills", (omega,)),
        ("argmax_backward", (omega, variance, label)),
        ("argmax_exact_backward", (omega, variance, label)),
        ("class_wins", (omega, variance)),
        ("log_shares", (variance,)),
    ):
        function = next(vars(part)[name] for part in (tails, sign, argmax) if name in vars(part))
        for mine, theirs in zip(run(device, function, *arrays), run(plain, function, *arrays), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=1e-12 if dtype == "float64" else 2e-6, err_msg=name)


def problem(name: str, rng: np.random.Generator) -> tuple[fg.FactorGraph, list[fg.Variables], fg.Schedule | None]:
    """Graphs that a fused program takes."""
    graph = fg.FactorGraph()
    spins = graph.add_variables("spins", fg.Spin(), 60)
    states = graph.add_variables("states", fg.Categorical(3), (5, 6))
    graph.set_prior(spins, rng.normal(size=60))
    graph.set_prior(states, rng.normal(size=(5, 6, 3)))
    schedule: fg.Schedule | None = fg.Flooding()
    if name in ("pairs", "sweep"):
        graph.add_factors("strong", fg.Ising(12.0 * rng.normal(size=59)), spins[:-1], spins[1:])
        graph.add_factors("weak", fg.Ising(0.3), spins[:30], spins[30:])
        graph.add_factors("rows", fg.Potts(rng.normal(size=25)), states[:, :-1], states[:, 1:])
        graph.add_factors("columns", fg.Potts(0.4), states[:-1], states[1:])
    if name == "sweep":
        schedule = fg.RandomOrder(seed=1)
    if name == "tables":
        a, b = np.array([rng.choice(30, 2, replace=False) for _ in range(40)]).T
        flat = states[np.unravel_index(np.arange(30), (5, 6))]
        graph.add_factors("own", fg.Table(2 * rng.normal(size=(40, 3, 2, 3))), flat[a], spins[:40], flat[b])
        graph.add_factors("shared", fg.Table(rng.normal(size=(2, 2))), spins[:-1], spins[1:])
        graph.add_factors("steep", fg.Table(-400.0 * rng.random(size=(20, 3, 3))), flat[:20], flat[10:])
    if name == "parity":
        checks = np.array([rng.choice(60, 6, replace=False) for _ in range(30)])
        graph.add_factors("checks", fg.Parity(), spins[checks])
        graph.add_factors("triples", fg.Parity(rng.normal(size=20)), spins[np.arange(60).reshape(20, 3)])
    if name == "counts":
        scopes = np.array([rng.choice(60, 4, replace=False) for _ in range(25)])
        graph.add_factors("clauses", fg.Or(rng.choice([-1, 1], size=(25, 4))), spins[scopes])
        graph.add_factors("half", fg.Cardinality(lambda count: -0.3 * (count - 2.0) ** 2), spins[scopes[::-1]])
        graph.add_factors("outputs", fg.And(), spins[scopes[:5, :3]], spins[scopes[:5, 3]])
        graph.add_factors("same", fg.Equality(), spins[:5], spins[20:25], spins[40:45])
        graph.add_factors("alike", fg.Equality(), states[0], states[4])
    if name == "hub":
        graph.add_factors("spokes", fg.Ising(0.1), spins[0], spins[1:])
        graph.add_factors("again", fg.Ising(-0.1), spins[0], spins[1:])
    if name == "tree":
        graph.add_factors("chain", fg.Ising(rng.normal(size=59)), spins[:-1], spins[1:])
        schedule = None
    return graph, [spins, states], schedule


PLAIN: dict[str, Any] = {}
DAMPED = {"damping": 0.3, "reinforcement": 0.02}
BATCH = {"batch": 3, "damping": "auto"}
BY_VARIABLE = {"damping": {"spins": np.linspace(0, 0.5, 60)}}


@pytest.mark.parametrize("name", ["pairs", "sweep", "tables", "parity", "counts", "hub", "tree"])
@pytest.mark.parametrize(
    ("mode", "controls", "many_threads"),
    [
        *((mode, controls, None) for mode in ("sum", "max") for controls in (DAMPED, BATCH)),
        ("sum", DAMPED, 0),
        ("max", BATCH, 0),
        ("max", PLAIN, None),  # what has no mode once
        ("sum", BY_VARIABLE, None),
    ],
)
def test_fused_programs_equal_numpy(
    kernels: str, name: str, mode: str, controls: dict[str, Any], many_threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where kernels are compiled for the sizes of each call, as those of large problems are."""
    if many_threads is not None:
        monkeypatch.setattr(fused, "_MANY_THREADS", many_threads)
        monkeypatch.setattr(type(fg.get_backend(kernels)), "specialises_from", many_threads)
    controls = {**controls, "reinforcement": 0.0} if name == "tree" else controls
    many = fused._MANY_EDGES
    monkeypatch.setattr(fused, "_MANY_EDGES", 8 if name == "hub" else many)
    found = []
    for backend in ("numpy", kernels):
        graph, blocks, schedule = problem(name, np.random.default_rng(5))
        inference = fg.Inference(graph, schedule, backend=backend, mode=mode, **controls)
        if mode == "sum" and name not in ("parity", "counts"):
            inference.observe(blocks[0][3:5], [1, -1])
        if "batch" in controls:
            inference.set_prior(blocks[0][:10], np.random.default_rng(6).normal(size=(3, 10)))
        runs = [inference.run(12, tolerance=0), inference.run(12, tolerance=0)]
        assert bool(inference.state.fused) == (backend == kernels)
        np.testing.assert_array_equal(runs[0].belief(blocks[0]), runs[1].belief(blocks[0]))  # to the bit
        changes = [change for change in (pool.change for pool in inference.state.pools) if change is not None]
        changes = [inference.backend.to_host(change) for change in changes]
        found.append(([runs[0].belief(block) for block in blocks], inference.state.residuals, changes))
    mine, theirs = found[1], found[0]
    for a, b in zip(mine[0], theirs[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(mine[1], theirs[1], rtol=1e-6, atol=1e-9)
    for a, b in zip(mine[2], theirs[2], strict=True):
        np.testing.assert_allclose(a[:-1], b[:-1], rtol=1e-6, atol=1e-9)


def written_out(source: str) -> int:
    """The largest number of rounds of nested loops that a text asks to be written out."""
    largest, active, pending, rounds = 1, [1], 1, None
    for token in re.findall(r"#pragma unroll(?: 1\b)?|for \([^;]*;[^;]*<\s*\d+;|for \([^)]*\)|[{};]", source):
        if token.startswith("#pragma"):
            rounds = 1 if token.endswith("1") else 0
        elif token.startswith("for"):
            bound = re.search(r"<\s*(\d+)\s*;", token)
            pending *= int(bound[1]) if rounds == 0 and bound else 1
            rounds = None
        elif token == "{":
            active.append(active[-1] * pending)
            largest, pending = max(largest, active[-1]), 1
        elif token == "}":
            active.pop()
        else:
            largest, pending = max(largest, active[-1] * pending), 1
    return largest


@pytest.mark.parametrize(
    ("factor", "types", "widths"),
    [
        (fg.Parity(), [fg.Spin()], [200]),
        (fg.Table(np.zeros((32, 32))), [fg.Categorical(32)] * 2, [1, 1]),
        (fg.Table(np.zeros((16, 16, 16))), [fg.Categorical(16)] * 3, [1, 1, 1]),
        (fg.Equality(), [fg.Categorical(40)] * 40, [1] * 40),
    ],
    ids=["parity", "square", "cube", "equality"],
)
@pytest.mark.parametrize("mode", ["sum", "max"])
def test_no_text_is_too_long_to_compile(factor: fg.Factor, types: list[Any], widths: list[int], mode: str) -> None:
    """Compilers for GPUs take minutes over loops of some thousand rounds written out."""
    factor.bind(types, widths, 1)
    bound = BoundFactor(factor, types, widths, 1)
    body = bound.device_messages(mode)
    assert body is not None
    source = fused.edge_source(bound, body, range(len(types)), ("potentials", "table", "coupling", "odds"))
    assert written_out(source) <= 1000
    assert written_out("#pragma unroll\nfor (int i = 0; i < 40; ++i)\n#pragma unroll\nfor (int j = 0; j < 50; ++j) {}") == 2000


def test_a_fused_program_is_bound_once_and_again_where_an_array_is_replaced(kernels: str) -> None:
    graph, (spins, _), schedule = problem("pairs", np.random.default_rng(0))
    inference = fg.Inference(graph, schedule, backend=kernels)
    inference.step()
    first = inference.state.fused[False]
    inference.step()
    assert inference.state.fused[False] is first
    inference.observe(spins[7], 1)
    inference.step()
    assert inference.state.fused[False] is not first
    assert inference.state.belief(spins)[7] == np.inf
    copied = inference.state.copy()
    before = inference.state.belief(spins)
    inference.step()
    inference.state = copied  # a copy has arrays of its own
    np.testing.assert_array_equal(inference.state.belief(spins), before)


def test_steady_iterations_allocate_nothing(kernels: str) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), (100, 100))
    graph.add_factors("rows", fg.Ising(0.3), x[:-1], x[1:])
    graph.add_factors("columns", fg.Ising(-0.2), x[:, :-1], x[:, 1:])
    inference = fg.Inference(graph, fg.Flooding(), backend=kernels, damping=0.2)
    for _ in range(3):  # bound, recorded
        inference.step()
    if kernels == "cupy":
        pool = inference.backend.xp.get_default_memory_pool()
        gc.collect()  # what other tests left
        used = pool.used_bytes()
        for _ in range(5):
            inference.step()
        assert pool.used_bytes() == used
        return
    tracemalloc.start()
    try:
        for _ in range(5):
            inference.step()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000  # bytes; an array of messages has 160,000


def test_the_arrays_of_a_state_go_with_it(kernels: str) -> None:
    """At once: on a GPU, arrays that wait for the garbage collector are memory that is not there."""
    graph, _, schedule = problem("pairs", np.random.default_rng(0))
    inference = fg.Inference(graph, schedule, backend=kernels)
    inference.step()
    state = weakref.ref(inference.state)
    gc.disable()
    try:
        del inference
        assert state() is None
    finally:
        gc.enable()


def test_hard_factors_and_types_without_a_text_are_left_to_array_operations(kernels: str) -> None:
    graph = fg.FactorGraph()
    x = graph.add_variables("x", fg.Spin(), 6)
    graph.add_factors("equal", fg.Ising(np.inf), x[:-1], x[1:])
    graph.set_prior(x[0], 1.0)
    inference = fg.Inference(graph, fg.Flooding(), backend=kernels)
    np.testing.assert_allclose(inference.run().mean(x), np.tanh(1.0))
    assert not inference.state.fused


def all_sources() -> list[tuple[str, str]]:
    """Every kernel that the package can launch, one for each factor type and form, as (dtype, source)."""
    found: list[tuple[str, str]] = []

    for dtype in ("float32", "float64"):
        backend = fg.get_backend("compiled", dtype)
        original = type(backend).launcher
        sources: set[str] = set()

        def record(
            self: Any, source: str, name: str, count: int, arguments: Any, _to: Any = sources, _o: Any = original
        ) -> Any:
            _to.add(source)
            return _o(self, source, name, count, arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(backend), "launcher", record)
            for name in ("pairs", "tables", "parity", "counts", "tree"):
                for mode in ("sum", "max"):
                    graph, _, schedule = problem(name, np.random.default_rng(5))
                    fg.Inference(graph, schedule, backend=backend, mode=mode).step()
            ones = backend.asarray(np.ones((3, 4)))
            with np.errstate(all="ignore"):
                tail = backend.elementwise(sign.sign_forward, ones, ones)
                backend.elementwise(sign.sign_backward, *tail, ones)
                backend.elementwise(argmax.argmax_backward, ones, ones, ones)
                backend.elementwise(argmax.argmax_exact_backward, ones, ones, ones)
                argmax.argmax_forward(ones, ones, backend)
            backend.log_sum_exp(ones, 0)
        found += [(dtype, source) for source in sorted(sources)]
    return found


def test_the_texts_compile_for_gpus(tmp_path: Path) -> None:
    """For the oldest architecture that CuPy's wheels serve and for current ones; by NVRTC, as CuPy does, or by nvcc."""
    nvrtc = find_nvrtc()
    if nvrtc is None and shutil.which("nvcc") is None:
        pytest.skip("no compiler for GPUs here: neither NVRTC (pip install nvidia-cuda-nvrtc-cu12) nor nvcc")
    if shutil.which("g++") is None:
        pytest.skip("no g++ to collect the kernels with")
    by_type: dict[str, list[str]] = {}
    for dtype, source in all_sources():
        by_type.setdefault(dtype, []).append(source)
    for dtype, sources in by_type.items():
        # One translation unit: each text in a namespace of its own.
        joined = fg.get_backend("compiled", dtype).prelude
        for number, source in enumerate(sources):
            last = "sequence" if "KERNEL sequence(" in source else "edge_update"
            body = source.replace(f"KERNEL {last}(", f"KERNEL {last}_{number}(")
            joined += f"\nnamespace n{number} {{\n{body}\n}}\n"
        for architecture in ("75",) if dtype == "float32" else ("100",):
            if nvrtc is not None:
                compile_by_nvrtc(nvrtc, joined, architecture)
            else:
                path = tmp_path / f"{dtype}.cu"
                path.write_text(joined, encoding="utf-8")
                options = ["-std=c++17", f"-arch=sm_{architecture}", "-ptx", "-Xcicc", "-O0"]  # whether it compiles, no more
                command = ["nvcc", *options, str(path), "-o", str(tmp_path / "out.ptx")]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr


def find_nvrtc() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*/lib/libnvrtc.so.1[0-9]")):
            for builtins in path.parent.glob("libnvrtc-builtins.so.*"):  # which NVRTC looks for by name alone
                ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(path))
    return None


def compile_by_nvrtc(nvrtc: ctypes.CDLL, source: str, architecture: str) -> None:
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None) == 0
    options = (ctypes.c_char_p * 2)(b"--std=c++17", f"--gpu-architecture=sm_{architecture}".encode())
    status = nvrtc.nvrtcCompileProgram(program, 2, options)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    assert status == 0, log.value.decode()


def test_erfcx_is_within_its_stated_errors() -> None:
    x = np.concatenate([np.linspace(0, 20, 20001), np.logspace(1, 10, 1000)])
    for dtype, error in (("float32", 2.9e-7), ("float64", 1.1e-15)):
        given = x.astype(dtype)
        exact = special.erfcx(given.astype(np.float64))
        assert np.abs(NumpyBackend(dtype).erfcx(given) / exact - 1).max() <= error


@pytest.mark.parametrize("batch", [None, 3])
def test_a_variable_of_many_factors_adds_all_of_them_up(kernels: str, batch: int | None) -> None:
    graph = fg.FactorGraph()
    hub = graph.add_variables("hub", fg.Categorical(3), 2)
    leaves = graph.add_variables("leaves", fg.Categorical(3), (2, 200))
    rng = np.random.default_rng(5)
    graph.add_factors("pairs", fg.Table(0.1 * rng.normal(size=(400, 3, 3))), hub[np.repeat([0, 1], 200)], leaves.reshape(-1))
    graph.set_prior(leaves, rng.normal(size=(2, 200, 3)))
    answers = []
    for backend in ("numpy", kernels):
        inference = fg.Inference(graph, fg.Flooding(), backend=backend, dtype="float64", batch=batch)
        if batch is not None:
            for number in range(batch):
                inference.observe(leaves[0, : 10 * number], 0, sets=number)
        answers.append(inference.run(tolerance=1e-12).marginals(hub))
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-12)


def test_factors_too_large_for_registers_have_no_kernel() -> None:
    assert table_source([16, 16], [False, False], "sum") is not None
    assert table_source([16, 16, 17], [False] * 3, "sum") is None  # too many entries
    assert table_source([65], [False], "sum") is None  # too many states
